"""A small dataset for the tests of this folder: random pictures, known labels, any sessions."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from jaxdrive.bins import Bins
from jaxdrive.data import store_writer
from jaxdrive.data.dataset import Dataset, open_dataset, write_dataset
from jaxdrive.data.frames import Fit, Frame, Session
from jaxdrive.data.label_table import build_labels
from jaxdrive.data.split import SplitRule
from jaxdrive.data.store import Store, open_store, store_folder, store_key
from jaxdrive.heads import Head

HEIGHT, WIDTH = 6, 8
FIT = Fit(crop_top=0, crop_bottom=0, height=HEIGHT, width=WIDTH)
RULE = SplitRule(block_seconds=0.0, gap_seconds=0.0, validation=0.1, test=0.1)
ABOUT = {"fingerprint": "tiny", "source": "random"}
LABELS = ("steering", "throttle", "speed")
CAMERAS = ("center", "left", "right")
# Frames of the sessions "a", "b", ..., and the split of each.
SESSIONS = ((23, "train"), (7, "validation"), (18, "train"), (5, "test"))

HEADS = {
    "steering": Head(
        name="steering",
        label="steering",
        scale=0.5,
        low=-1.0,
        high=1.0,
        bins=Bins(edges=(-1.0, -0.5, 0.0, 0.5, 1.0), atoms=(0.0,)),
        unit="share of full lock",
        mirror=-1.0,
        corrections={"left": 0.25, "right": -0.25},
    ),
    "throttle": Head(
        name="throttle",
        label="throttle",
        scale=1.0,
        low=0.0,
        high=1.0,
        bins=Bins(edges=(0.0, 0.5, 1.0), atoms=(0.0, 1.0)),
        unit="share of full throttle",
    ),
}


@dataclasses.dataclass(frozen=True)
class Tiny:
    """A dataset on disk and what was put into it.

    Attributes:
      dataset: Opened.
      images: uint8 [N, HEIGHT, WIDTH, 3].
      labels: By name, float32 [N].
      sessions: The session's name of every record, [N].
      cameras: The camera of every record, [N].
    """

    dataset: Dataset
    images: np.ndarray
    labels: dict[str, np.ndarray]
    sessions: list[str]
    cameras: list[str]


def frames(seed: int, count: int) -> Iterator[Frame]:
    """Random frames: steering in tenths from -0.6 to 0.6, throttle in tenths from 0 to 1."""
    generator = np.random.default_rng(seed)
    for row in range(count):
        yield Frame(
            image=generator.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8),
            labels={
                "steering": int(generator.integers(-6, 7)) / 10,
                "throttle": int(generator.integers(0, 11)) / 10,
                "speed": float(generator.uniform(0, 30)),
            },
            time=row / 25,
            camera=CAMERAS[row % len(CAMERAS)],
            origin=f"session {seed}, row {row}",
        )


def sessions_of(counts: Sequence[tuple[int, str]] = SESSIONS) -> list[Session]:
    """Sessions "a", "b", ... of so many frames for a split."""
    return [
        Session(
            chr(ord("a") + index),
            split,
            [functools.partial(frames, index, count)],
            images=f"{count} random frames of seed {index}",
        )
        for index, (count, split) in enumerate(counts)
    ]


def write(
    folder: Path, sessions: Sequence[Session], *, fit=FIT, rule=RULE, on_bad="skip", **about
) -> Path:
    """Writes a dataset, and beside it the stores that are missing, in this process."""
    stores = [write_store(folder.parent, session, fit) for session in sessions]
    labels = build_labels(sessions, stores, rule, on_bad=on_bad)
    about = ABOUT | {"fit": vars(fit)} | about
    write_dataset(folder, sessions, stores, labels, about)
    return folder


def write_store(datasets: Path, session: Session, fit: Fit = FIT) -> Store:
    """Writes the store of a session, unless it exists, and opens it."""
    folder = store_folder(datasets, store_key(session, fit))
    if not folder.exists():
        partial = store_writer.begin(folder)
        for piece in range(len(session.pieces)):
            store_writer.write_part(partial, piece, session.piece(piece), fit)
        store_writer.finish(folder, session, fit)
    return open_store(folder)


def make(folder: Path) -> Tiny:
    """Writes the sessions of `SESSIONS` to `folder` and opens them."""
    sessions = sessions_of()
    written = [(session.name, frame) for session in sessions for frame in session.read()]
    return Tiny(
        dataset=open_dataset(write(folder, sessions)),
        images=np.stack([frame.image for _, frame in written]),
        labels={
            name: np.array([frame.labels[name] for _, frame in written], np.float32)
            for name in LABELS
        },
        sessions=[name for name, _ in written],
        cameras=[frame.camera for _, frame in written],
    )
