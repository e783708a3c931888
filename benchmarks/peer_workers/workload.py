"""What every peer trains: one network and one batch, as plain data that each worker can read.

Workers run in environments of their own, some without jaxdrive, so this file imports NumPy alone.
The numbers come from our configurations, see `configured.py`.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A convolution with a bias and a ReLU.

    Attributes:
      channels: Output channels.
      size: Height and width of the kernel.
      stride: Of both directions.
    """

    channels: int
    size: int
    stride: int


@dataclasses.dataclass(frozen=True)
class Workload:
    """A network with several heads, each of which learns from its own batch.

    Attributes:
      name: Of the row group in the table.
      height: Of the images, which have 3 channels of uint8.
      width: Of the images.
      rows: Images in the batch of one head.
      heads: Names of the outputs, one number each.
      scalars: Names of the scalar inputs, which join the features.
      convolutions: The backbone, whose last map is flattened; empty where it is Xception.
      padding: Of these convolutions, "valid" or "same".
      blocks: Of Xception, {name: (channels, end)} as in jaxdrive/models/xception.py; else empty.
      common: Widths of the dense layers that all heads share.
      head: Widths of the dense layers of each head, before the output.
      momentum: Of Xception's moving averages, the share that is kept.
      epsilon: Of Xception's batch normalisation.
      learning_rate: Of Adam.
      dtype: What the backbone computes in, "float32" or "bfloat16".
    """

    name: str
    height: int
    width: int
    rows: int
    heads: tuple[str, ...]
    scalars: tuple[str, ...]
    convolutions: tuple[Convolution, ...]
    padding: str
    blocks: Mapping[str, tuple[Sequence[int], str]]
    common: tuple[int, ...]
    head: tuple[int, ...]
    momentum: float
    epsilon: float
    learning_rate: float
    dtype: str

    @property
    def images(self) -> int:
        """Images that one update sees."""
        return self.rows * len(self.heads)

    def to_json(self) -> str:
        """One line that `from_json` reads."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Workload":
        """The inverse of `to_json`."""
        fields = json.loads(text)
        fields["convolutions"] = tuple(Convolution(**layer) for layer in fields["convolutions"])
        fields["blocks"] = {
            name: (tuple(channels), end) for name, (channels, end) in fields["blocks"].items()
        }
        for name in ("heads", "scalars", "common", "head"):
            fields[name] = tuple(fields[name])
        return cls(**fields)


@dataclasses.dataclass(frozen=True)
class HeadBatch:
    """The batch of one head, on the host.

    Attributes:
      images: uint8 [rows, height, width, 3].
      scalars: float32 [rows, scalars].
      labels: float32 [rows, 1].
    """

    images: np.ndarray
    scalars: np.ndarray
    labels: np.ndarray


def random_batches(workload: Workload) -> dict[str, HeadBatch]:
    """By head its batch, the same in every process."""
    generator = np.random.default_rng(0)
    shape = (workload.rows, workload.height, workload.width, 3)
    return {
        head: HeadBatch(
            images=generator.integers(0, 256, shape, np.uint8),
            scalars=generator.random((workload.rows, len(workload.scalars)), np.float32),
            labels=generator.random((workload.rows, 1), np.float32),
        )
        for head in workload.heads
    }


def total(losses: Mapping[str, Any]) -> float:
    """The sum of the heads' losses as a number, which makes the host wait for all of them."""
    return float(sum(float(loss) for loss in losses.values()))
