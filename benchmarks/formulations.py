"""Which way of computing an operation is the fastest here? Writes the table that networks go by.

Times every way of every operation of `jaxdrive/models/formulations.py`, forward and backward as
training needs it, at the shapes of the shipped networks; the ways in turn and round after round.
What counts is the time of the processor over all cores, which other work on a machine hardly
changes. Run it on a machine of the kind that should be fast, then commit the table.

Command (2 minutes on 2 cores; --write replaces the rows of this platform):
  python -m benchmarks.formulations --rounds=15 [--write]
"""

import argparse
import dataclasses
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jaxdrive import allocator

# Memory is kept as launch.py keeps it, before JAX starts threads.
allocator.keep_freed_memory()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from jaxdrive import models, workdir  # noqa: E402
from jaxdrive.models import convolution, pooling  # noqa: E402
from jaxdrive.models.formulations import OPERATIONS, TABLE  # noqa: E402
from jaxdrive.training.compile_options import compile_options  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Case:
    """An operation at one size.

    Attributes:
      operation: One of `OPERATIONS`.
      image: Shape of its images, [n, H, W, C].
      window: Height and width of a kernel or of a window.
      stride: From one window to the next.
      outputs: Channels that come out; 0 where they follow from the images.
      padding: "SAME" or "VALID".
    """

    operation: str
    image: tuple[int, int, int, int]
    window: int = 1
    stride: int = 1
    outputs: int = 0
    padding: str = "SAME"


def _conv(image: tuple[int, int, int, int], window: int, outputs: int, padding: str) -> Case:
    return Case("conv_input_gradient", image, window, 2, outputs, padding)


def _per_size(
    operation: str, n: int, sizes: Sequence[tuple[int, int]], **settings: Any
) -> list[Case]:
    return [Case(operation, (n, side, side, channels), **settings) for side, channels in sizes]


# PilotNet at 66 x 200 and 65 x 320, the quickstart's network, Xception at 96 x 96 in one pass.
CASES = [
    _conv((32, 31, 98, 24), 5, 36, "VALID"),
    _conv((32, 14, 47, 36), 5, 48, "VALID"),
    _conv((8, 31, 98, 24), 5, 36, "VALID"),
    _conv((96, 31, 98, 24), 5, 36, "VALID"),
    _conv((32, 33, 160, 24), 5, 36, "SAME"),
    _conv((32, 17, 80, 36), 5, 48, "SAME"),
    _conv((64, 21, 24, 16), 3, 32, "SAME"),
    _conv((64, 11, 12, 32), 3, 64, "SAME"),
    _conv((192, 21, 24, 16), 3, 32, "SAME"),
    _conv((192, 11, 12, 32), 3, 64, "SAME"),
    *_per_size("depthwise", 24, [(45, 64), (45, 128), (23, 256), (12, 728), (6, 728), (3, 1536)]),
    *_per_size("depthwise", 8, [(45, 128), (12, 728), (6, 728)]),
    Case("pointwise", (24, 45, 45, 64), outputs=128),
    Case("pointwise", (24, 12, 12, 728), outputs=728),
    Case("pointwise", (24, 6, 6, 728), outputs=728),
    Case("pointwise", (24, 3, 3, 1536), outputs=2048),
    Case("pointwise", (24, 45, 45, 64), outputs=128, stride=2),
    Case("pointwise", (24, 12, 12, 256), outputs=728, stride=2),
    *_per_size("max_pool", 24, [(45, 128), (23, 256), (12, 728), (6, 1024)], window=3, stride=2),
    Case("max_pool", (8, 88, 318, 32), window=2, stride=2, padding="VALID"),
    Case("max_pool", (8, 86, 316, 16), window=3, padding="VALID"),
    Case("max_pool", (8, 84, 314, 16), window=3),
]


def ways(case: Case) -> tuple[dict[str, Callable[..., jax.Array]], tuple[jax.Array, ...]]:
    """By way, a function of arrays, and the arrays."""
    key = jax.random.key(0)
    x = jax.random.normal(key, case.image)
    side, stride = case.window, case.stride
    kernel_shape = (side, side, case.image[3], case.outputs)
    if case.operation == "conv_input_gradient":
        pads = jax.lax.padtype_to_pads(
            case.image[1:3], (side, side), (stride, stride), case.padding
        )
        padding = tuple(tuple(int(pad) for pad in pair) for pair in pads)
        stock = lambda x, kernel: convolution.stock_conv(x, kernel, stride, padding)  # noqa: E731
        phases = lambda x, kernel: convolution.conv_by_phases(x, kernel, stride, padding)  # noqa: E731
        return {"stock": stock, "phases": phases}, (x, jax.random.normal(key, kernel_shape))
    if case.operation == "depthwise":
        groups = case.image[3]
        kernel = jax.random.normal(key, (3, 3, 1, groups))
        stock = lambda x, kernel: convolution.stock_conv(x, kernel, 1, "SAME", groups)  # noqa: E731
        return {"stock": stock, "products": convolution.depthwise_products}, (x, kernel)
    if case.operation == "pointwise":
        stock = lambda x, kernel: convolution.stock_conv(x, kernel, stride, "SAME")  # noqa: E731
        product = lambda x, kernel: convolution.pointwise_product(x, kernel, stride)  # noqa: E731
        return {"stock": stock, "product": product}, (x, jax.random.normal(key, kernel_shape))
    settings = {"size": side, "stride": stride, "padding": case.padding}
    stock = lambda x: pooling.stock_max_pool(x, **settings)  # noqa: E731
    shifts = lambda x: pooling.max_pool_by_shifts(x, **settings)  # noqa: E731
    return {"stock": stock, "shifts": shifts}, (x,)


def shape_of(case: Case, result: jax.Array) -> list[int]:
    """The case's shape as `OPERATIONS` says it, its result being [n, H, W, C]."""
    n, height, width, channels = result.shape
    named = {
        "kernel": case.window,
        "size": case.window,
        "stride": case.stride,
        "positions": n * height * width,
        "inputs": case.image[3],
        "outputs": channels,
        "channels": channels,
    }
    return [named[name] for name in OPERATIONS[case.operation]]


def measure(case: Case, rounds: int) -> dict[str, Any]:
    """A row of the table: the median of each way, in milliseconds of the processor."""
    functions, arguments = ways(case)
    options = compile_options(jax.default_backend())

    def with_gradients(function: Callable[..., jax.Array]) -> Callable[..., Any]:
        def both(*arguments: jax.Array) -> Any:
            result, pull_back = jax.vjp(function, *arguments)
            return result, pull_back(jnp.ones_like(result))

        return jax.jit(both, compiler_options=options)

    compiled = {way: with_gradients(function) for way, function in functions.items()}
    result = None
    for function in compiled.values():
        result, _ = jax.block_until_ready(function(*arguments))
    assert result is not None
    times: dict[str, list[float]] = {way: [] for way in compiled}
    for _ in range(rounds):
        for way, function in compiled.items():
            started = time.process_time()
            jax.block_until_ready(function(*arguments))
            times[way].append(time.process_time() - started)
    medians = {way: round(statistics.median(t) * 1e3, 2) for way, t in times.items()}
    return {"shape": shape_of(case, result), "milliseconds": medians}


def main() -> None:
    """Measures, prints a table, and writes it where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="measurements of each way")
    parser.add_argument("--write", action="store_true", help="replace this platform's table")
    arguments = parser.parse_args()
    rows: dict[str, list[dict[str, Any]]] = {operation: [] for operation in OPERATIONS}
    for case in CASES:
        row = measure(case, arguments.rounds)
        rows[case.operation].append(row)
        names = OPERATIONS[case.operation]
        where = " ".join(f"{n}={v}" for n, v in zip(names, row["shape"], strict=True))
        found = "  ".join(f"{way} {ms:8.2f} ms" for way, ms in row["milliseconds"].items())
        print(f"{case.operation:20} {found:40} {where}", flush=True)
    if arguments.write:
        path = Path(models.__file__).parent / TABLE
        table = json.loads(path.read_text())
        table["platforms"][jax.default_backend()] = rows
        table["measured"][jax.default_backend()] = {
            "date": time.strftime("%Y-%m-%d"),
            "device": jax.devices()[0].device_kind,
            "machine": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "versions": workdir.versions(),
        }
        path.write_text(json.dumps(table, indent=1) + "\n")
        print(f"Written: {path}")


if __name__ == "__main__":
    main()
