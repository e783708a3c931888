"""Small recordings as the Udacity simulator makes them, for tests; damage is up to the test."""

import csv
import datetime
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

CAMERAS = ("center", "left", "right")
LABELS = ("steering", "throttle", "brake", "speed")
COLUMNS = (*CAMERAS, *LABELS)
START = datetime.datetime(2019, 2, 17, 23, 59, 59, 105_000)
INTERVAL = 0.07


def labels_of(row: int) -> dict[str, float]:
    """Labels that differ from row to row and are all in range."""
    values = ((row % 21 - 10) / 10, row % 11 / 10, row % 4 / 4, 30 - row % 29 + 1.613272e-06)
    return dict(zip(LABELS, values, strict=True))


def image_name(camera: str, row: int) -> str:
    """The name that the simulator gives; recordings go past midnight."""
    time = START + datetime.timedelta(seconds=row * INTERVAL)
    return f"{camera}_{time:%Y_%m_%d_%H_%M_%S}_{time.microsecond // 1000:03d}.jpg"


def record(
    folder: Path, rows: int, *, size: tuple[int, int] = (32, 16), first: int = 0
) -> list[list[str]]:
    """Records so many rows from row `first` on; returns the log's texts, which `write_log` wrote.

    The three cameras see red, green and blue, brighter from row to row, with noise.
    """
    images = folder / "IMG"
    images.mkdir(parents=True)
    generator = np.random.default_rng(rows)
    log = []
    for row in range(first, first + rows):
        for channel, camera in enumerate(CAMERAS):
            pixels = generator.integers(0, 30, (size[1], size[0], 3))
            pixels[..., channel] += 100 + row % 100
            picture = Image.fromarray(pixels.astype(np.uint8))
            picture.save(images / image_name(camera, row), quality=95)
        paths = [f"/home/someone/IMG/{image_name(camera, row)}" for camera in CAMERAS]
        log.append([*paths, *map(str, labels_of(row).values())])
    write_log(folder, log)
    return log


def write_log(folder: Path, rows: Sequence[Sequence[str]]) -> None:
    """Writes driving_log.csv as the simulator does, without a row of names."""
    with (folder / "driving_log.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
