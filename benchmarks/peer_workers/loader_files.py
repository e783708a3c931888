"""The files that the loaders of others read, and what a batch of theirs is. Imports NumPy alone."""

import dataclasses
from pathlib import Path

import numpy as np

# The folder of our dataset; the images; of every batch the records; the labels of all records.
OURS, IMAGES, IDS, LABELS = "dataset", "images.npy", "ids.npy", "labels.npy"


@dataclasses.dataclass(frozen=True)
class LoaderFiles:
    """What lies in the folder.

    Attributes:
      images: uint8 [records, height, width, 3], mapped from the file.
      ids: int32 [batches, heads, rows], the records of every batch in the order of our plans.
      labels: float32 [heads, records].
    """

    images: np.ndarray
    ids: np.ndarray
    labels: np.ndarray

    def batch(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Images uint8 [heads, rows, height, width, 3] and labels float32 [heads, rows]."""
        ids = self.ids[position]
        return self.images[ids], np.take_along_axis(self.labels, ids, axis=1)


def read(folder: str) -> LoaderFiles:
    """Opens the files."""
    where = Path(folder)
    return LoaderFiles(
        images=np.load(where / IMAGES, mmap_mode="r"),
        ids=np.load(where / IDS),
        labels=np.load(where / LABELS),
    )


def first_pixels(images: np.ndarray) -> float:
    """The mean of one value of every image: the same number for the same records."""
    return float(np.asarray(images)[..., 0, 0, 0].mean())
