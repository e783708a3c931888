"""jaxdrive's loader: plans, a prepared dataset in ArrayRecord, grain's threads.

It computes which records each head gets, and also the targets of mirrored images.

Command (started by benchmarks/peers.py):
  python -m benchmarks.peer_workers.loader_ours FOLDER
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.peer_workers.loader_data import config
from benchmarks.peer_workers.loader_files import OURS, first_pixels
from benchmarks.peer_workers.protocol import Work, serve
from jaxdrive.data.dataset import open_dataset
from jaxdrive.data.loader import Rows, train_batches
from jaxdrive.heads import heads_from_config
from jaxdrive.training.parts import make_examples, plans_of, supervise_of


def make(arguments: Sequence[str]) -> Work:
    """A run's batches."""
    (folder,) = arguments
    dataset = open_dataset(Path(folder) / OURS)
    settings = config().to_dict()
    heads = heads_from_config(settings["heads"])
    batches = train_batches(
        make_examples(settings, dataset, heads),
        plans_of(settings, dataset, heads),
        supervise=supervise_of(settings),
        views=settings["views"],
        position=0,
        rows=Rows(),
        threads=settings["loader"]["threads"],
        prefetch=settings["loader"]["prefetch"],
    )

    def update() -> float:
        batch = next(batches)
        return first_pixels(
            np.stack([part["inputs"]["image"][:, :1, :1] for part in batch.values()])
        )

    return Work(update, finish=lambda: None, device="cpu", parameters=0, settle=0.2)


if __name__ == "__main__":
    serve(make, ["grain", "array_record"])
