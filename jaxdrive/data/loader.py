"""Plans -> batches of pictures and targets, read ahead by grain's threads.

`source(range of positions) -> map(plan) -> map(read)`: any position can be asked for, so a run
resumes by starting the range elsewhere. A process reads only its own rows of the global batch.
Putting batches on devices is left to `training/parallel.py`.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import grain
import numpy as np

from jaxdrive.data.balance import Plan
from jaxdrive.data.dataset import Dataset
from jaxdrive.data.image_reader import ImageReader
from jaxdrive.data.views import records_of, transforms_of
from jaxdrive.heads import Head, targets

# More positions than any run consumes; grain wants a finite range.
_POSITIONS = 2**40


@dataclasses.dataclass(frozen=True)
class Rows:
    """Which rows of every global batch this process reads: process `index` of `count`."""

    index: int = 0
    count: int = 1

    def of(self, ids: np.ndarray) -> np.ndarray:
        """This process's share of a global batch, whose size is a multiple of `count`."""
        size = len(ids) // self.count
        return ids[self.index * size : (self.index + 1) * size]


@dataclasses.dataclass(frozen=True)
class Examples:
    """Makes examples of record ids, for training and for evaluation alike.

    Attributes:
      dataset: Where labels come from.
      reader: Where pictures come from.
      heads: Whose targets are wanted.
      learned: By head name, the labels that it learns, float32 [N], see `label_functions.py`.
      scalars: By label name, the factor that brings a recorded scalar (speed) to about 0 to 1 when
        it is an input beside the picture.
    """

    dataset: Dataset
    reader: ImageReader
    heads: Mapping[str, Head]
    learned: Mapping[str, np.ndarray]
    scalars: Mapping[str, float]

    def inputs(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """{"image": uint8 [n, H, W, 3], and by name each scalar, float32 [n]}."""
        scalars = {
            name: self.dataset.labels[name][ids] * np.float32(factor)
            for name, factor in self.scalars.items()
        }
        return {"image": self.reader.read(ids), **scalars}

    def targets(
        self, ids: np.ndarray, heads: Sequence[str], *, mirrored: bool = False
    ) -> dict[str, np.ndarray]:
        """By head name, the target of every record, or of its mirrored picture: float32 [n]."""
        return {
            name: targets(
                self.heads[name],
                self.learned[name][ids],
                self.dataset.cameras[ids],
                mirrored=mirrored,
            )
            for name in heads
        }


def train_batches(
    examples: Examples,
    plans: Mapping[str, Plan],
    *,
    supervise: str,
    views: str,
    position: int,
    rows: Rows,
    threads: int,
    prefetch: int,
) -> Iterator[dict[str, Any]]:
    """Endless batches from `position` on, in order.

    Args:
      examples: Makes examples of record ids.
      plans: By head name, which records or views it draws.
      supervise: "own" gives a head's batch its own target alone, "all" every head's.
      views: What they draw, one of `jaxdrive.views.VIEWS`. Of views, pictures and targets come as
        recorded, with "transform": int32 [b], their places in `TRANSFORMS`, for the train step to
        make them.
      position: Number of the first batch.
      rows: Which rows of it to read.
      threads: Batches read at once.
      prefetch: Batches read ahead.

    Yields:
      {head: {"inputs": {"image": uint8 [b, H, W, 3], scalar: float32 [b]}, "labels": {head:
      float32 [b], scaled targets}, "mirrored": {head: float32 [b], targets of the mirrored
      pictures}, "record": int32 [b], "mask": bool [b]}}, b being the rows of this process.
    """
    seen = {head: [head] if supervise == "own" else list(plans) for head in plans}

    def plan(position: int) -> dict[str, np.ndarray]:
        return {head: rows.of(plan.draw(position)) for head, plan in plans.items()}

    def read(ids_by_head: dict[str, np.ndarray]) -> dict[str, Any]:
        return {head: part_of(ids, seen[head]) for head, ids in ids_by_head.items()}

    def part_of(ids: np.ndarray, learning: list[str]) -> dict[str, Any]:
        records = records_of(ids, views=views)
        transform = {} if views == "none" else {"transform": transforms_of(ids)}
        return {
            "inputs": examples.inputs(records),
            "labels": examples.targets(records, learning),
            "mirrored": examples.targets(records, learning, mirrored=True),
            "record": records,
            "mask": np.ones(len(ids), bool),
            **transform,
        }

    batches = grain.MapDataset.range(position, _POSITIONS).map(plan).map(read)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch)
    return iter(batches.to_iter_dataset(options))


def frame_batches(
    examples: Examples, ids: np.ndarray, *, batch_size: int, rows: Rows, threads: int
) -> Iterator[dict[str, np.ndarray]]:
    """The inputs of `ids` in order, each record once; the first ones again fill the last batch.

    Args:
      examples: Makes examples of record ids.
      ids: int32 [n].
      batch_size: Records in a global batch.
      rows: Which rows of it to read.
      threads: Batches read at once.

    Yields:
      Inputs as `Examples.inputs` gives them, batch_size / rows.count of each.
    """
    filled = np.resize(ids, -(-len(ids) // batch_size) * batch_size)
    batches = (
        grain.MapDataset.source(filled.reshape(-1, batch_size)).map(rows.of).map(examples.inputs)
    )
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    return iter(batches.to_iter_dataset(options))
