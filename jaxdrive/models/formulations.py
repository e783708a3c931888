"""Which way of computing an operation is the fastest, by platform and shape.

All ways of an operation give the same numbers, up to the order of sums. "stock" is XLA's own, and
the only one on platforms without measurements. For the others `formulations.json` holds times that
`python -m benchmarks.formulations` measured. Nothing is measured on a user's machine.
"""

import dataclasses
import functools
import hashlib
import importlib.resources
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

STOCK = "stock"
# By operation, what the numbers of its shape mean. Positions are the pixels of all results.
OPERATIONS: Mapping[str, tuple[str, ...]] = {
    "conv_input_gradient": ("kernel", "stride", "positions", "inputs", "outputs"),
    "depthwise": ("positions", "channels"),
    "pointwise": ("positions", "inputs", "outputs"),
    "max_pool": ("size", "stride", "positions", "channels"),
}
TABLE = "formulations.json"


@dataclasses.dataclass(frozen=True)
class Platform:
    """Where a network is computed.

    Attributes:
      name: As JAX names it: "cpu", "gpu", "tpu".
      native: Whether the native convolutions compute what they can (`jaxdrive/native`). They have
        to be loaded, and only "cpu" has them.
    """

    name: str
    native: bool = False


@dataclasses.dataclass(frozen=True)
class Measured:
    """The times of one operation at one shape.

    Attributes:
      shape: Numbers in the order that `OPERATIONS` gives; all positive.
      milliseconds: By way, of the processor.
    """

    shape: tuple[int, ...]
    milliseconds: Mapping[str, float]

    @property
    def fastest(self) -> str:
        """The way with the least time."""
        return min(self.milliseconds, key=self.milliseconds.__getitem__)


def choose(platform: Platform, operation: str, shape: Sequence[int]) -> str:
    """The way to compute an operation.

    Args:
      platform: Where it is computed.
      operation: One of `OPERATIONS`.
      shape: Numbers in the order that `OPERATIONS` gives; all positive.

    Returns:
      The fastest way at the nearest measured shape; distances are between logarithms.
    """
    rows = _rows(platform.name).get(operation, ())
    if not rows:
        return STOCK
    return min(rows, key=lambda row: _distance(row.shape, shape)).fastest


def _distance(one: Sequence[int], other: Sequence[int]) -> float:
    return sum(math.log(a / b) ** 2 for a, b in zip(one, other, strict=True))


@functools.cache
def _rows(platform: str) -> Mapping[str, tuple[Measured, ...]]:
    """By operation, what was measured on a platform."""
    operations = json.loads(_text())["platforms"].get(platform, {})
    return {
        operation: tuple(Measured(tuple(row["shape"]), row["milliseconds"]) for row in rows)
        for operation, rows in operations.items()
    }


def _text() -> str:
    return importlib.resources.files(__package__).joinpath(TABLE).read_text()


def describe(platform: Platform) -> dict[str, Any]:
    """What a checkpoint keeps: the platform, and a digest of the table if it has measurements."""
    digest = hashlib.sha256(_text().encode()).hexdigest()[:16] if _rows(platform.name) else None
    return {"platform": platform.name, "table": digest}
