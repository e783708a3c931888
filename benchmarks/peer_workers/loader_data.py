"""The images that the loaders read: our dataset, and a plain array with the order of our draws.

Runs in our own environment alone; the loaders of others read the arrays.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peer_workers.loader_files import IDS, IMAGES, LABELS, OURS
from configs import udacity
from jaxdrive.data import dataset as datasets
from jaxdrive.data import store_writer
from jaxdrive.data.dataset import Dataset, open_dataset
from jaxdrive.data.frames import Fit, Frame, Session
from jaxdrive.data.image_reader import ImageReader
from jaxdrive.data.label_table import build_labels
from jaxdrive.data.split import SplitRule
from jaxdrive.data.store import open_store, store_folder, store_key
from jaxdrive.heads import heads_from_config, targets
from jaxdrive.training.parts import plans_of

# All are training images.
_RULE = SplitRule(block_seconds=0.0, gap_seconds=0.0, validation=0.0, test=0.0)


def config() -> Any:
    """The configuration whose loader is measured."""
    return udacity.get_config("pedals")


def frames(count: int) -> Iterator[Frame]:
    """Random images with labels over the whole range of every head."""
    generator = np.random.default_rng(0)
    settings = config()
    shape = (settings.data.height, settings.data.width, 3)
    for row in range(count):
        steering, throttle, brake = generator.random(3)
        yield Frame(
            image=generator.integers(0, 256, shape, np.uint8),
            labels={
                "steering": 2 * steering - 1,
                "throttle": throttle,
                "brake": brake,
                "speed": 10.0,
            },
            time=row / 20,
            camera="center",
            origin=f"random image {row}",
        )


def write(folder: Path, *, records: int, batches: int) -> None:
    """Writes everything that the loaders read.

    Args:
      folder: Empty.
      records: How many images.
      batches: For how many batches the order of the draws is written.
    """
    dataset = write_dataset(folder / OURS, records)
    settings = config()
    heads = heads_from_config(settings.heads.to_dict())
    plans = plans_of(settings.to_dict(), dataset, heads)
    draws = [[plan.draw(position) for plan in plans.values()] for position in range(batches)]
    np.save(folder / IDS, np.asarray(draws, np.int32))
    np.save(folder / LABELS, _labels(dataset, heads))
    np.save(folder / IMAGES, ImageReader(dataset).read(np.arange(records)))


def write_dataset(folder: Path, records: int) -> Dataset:
    """A prepared dataset of random images, by the functions of `launch.py prepare`."""
    settings = config()
    fit = Fit(crop_top=0, crop_bottom=0, height=settings.data.height, width=settings.data.width)
    session = Session("random", "train", [lambda: frames(records)], images="random")
    images = store_folder(folder.parent, store_key(session, fit))
    store_writer.write_part(store_writer.begin(images), 0, session, fit)
    store_writer.finish(images, session, fit)
    stores = [open_store(images)]
    labels = build_labels([session], stores, _RULE, on_bad="fail")
    about = {"fingerprint": "random", "source": "random", "fit": vars(fit)}
    datasets.write_dataset(folder, [session], stores, labels, about)
    return open_dataset(folder)


def _labels(dataset: Dataset, heads: Mapping[str, Any]) -> np.ndarray:
    """The targets of all records, float32 [heads, records]."""
    columns = [
        targets(head, dataset.labels[head.label], dataset.cameras, mirrored=False)
        for head in heads.values()
    ]
    return np.stack(columns).astype(np.float32)
