"""How fast are recordings prepared, against a plain loop of OpenCV's decode and resize on one core?

Takes a recording of the Udacity simulator, several times under other dates so that it is long
enough, and prepares it: reading, decoding, fitting, writing shards, hashing them. The loop decodes
the same pictures, cuts and resizes them alike, and writes nothing. Both take turns; prints frames a
second, their ratio, and the most memory that preparing took, all its processes together.

Command:
  python -m benchmarks.prepare --recording=DIR --copies=5 --rounds=3
"""

import argparse
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import psutil

if TYPE_CHECKING:
    from jaxdrive.data.frames import Fit

# Workers import this file as well, so what they do not need is imported where it is used.
IMAGES, LOG = "IMG", "driving_log.csv"
_YEAR = 2019
# How pictures of 160 x 320 are fitted: the whole of them to the sizes of two networks, and what the
# configuration of PilotNet leaves of them.
SETTINGS = {
    "whole picture to 66 x 200": {"crop_top": 0, "crop_bottom": 0, "height": 66, "width": 200},
    "whole picture to 96 x 96": {"crop_top": 0, "crop_bottom": 0, "height": 96, "width": 96},
    "66 rows of it to 66 x 200": {},
}


def long_recording(recording: Path, folder: Path, copies: int) -> list[Path]:
    """The recording several times under `folder`, each in a year of its own; all its pictures.

    They are hard links, so `folder` has to be on the recording's disk.
    """
    pictures = []
    names = sorted(file.name for file in (recording / IMAGES).iterdir())
    log = (recording / LOG).read_text()
    for copy in range(copies):
        images = folder / f"run {copy}" / IMAGES
        images.mkdir(parents=True)
        year = f"_{_YEAR + copy}_"
        for name in names:
            pictures.append(images / name.replace(f"_{_YEAR}_", year))
            os.link(recording / IMAGES / name, pictures[-1])
        (images.parent / LOG).write_text(log.replace(f"_{_YEAR}_", year))
    return pictures


def plain_loop(pictures: list[Path], fit: "Fit") -> None:
    """Decodes and resizes on one core, and forgets the result."""
    cv2.setNumThreads(1)
    for picture in pictures:
        image = cv2.cvtColor(cv2.imread(str(picture)), cv2.COLOR_BGR2RGB)
        kept = image[fit.crop_top : image.shape[0] - fit.crop_bottom]
        cv2.resize(kept, (fit.width, fit.height), interpolation=cv2.INTER_AREA)


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Looks 20 times a second how many bytes this process and its children hold together."""
    most, stop = [0], threading.Event()
    process = psutil.Process()

    def look() -> None:
        while not stop.wait(0.05):
            family = [process, *process.children(recursive=True)]
            held = 0
            for member in family:
                try:
                    held += member.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            most[0] = max(most[0], held)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        stop.set()
        thread.join()


def seconds_of(call: Any) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def main() -> None:
    """Times both and prints what the documentation says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recording", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, default=None, help="a folder on the same disk")
    parser.add_argument("--copies", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    from configs import udacity

    recorded = udacity.get_config().data.to_dict()
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        recordings = Path(scratch) / "recordings"
        pictures = long_recording(arguments.recording.resolve(), recordings, arguments.copies)
        print(f"{len(pictures):,} pictures, {os.cpu_count()} cores")
        datasets = Path(scratch) / "datasets"
        for name, fit in SETTINGS.items():
            data = recorded | fit | {"path": str(recordings), "dir": str(datasets)}
            measure(name, data, pictures, rounds=arguments.rounds)


def measure(name: str, data: dict[str, Any], pictures: list[Path], *, rounds: int) -> None:
    """Times the loop and `prepare` in turns and prints what was found."""
    from jaxdrive.data.prepare import fit_of, prepare

    # In a round of its own, since looking takes time.
    with peak_memory() as most:
        prepare(data)
    shutil.rmtree(data["dir"])
    ratios, loops, ours = [], [], []
    for _ in range(rounds):
        loops.append(len(pictures) / seconds_of(lambda: plain_loop(pictures, fit_of(data))))
        ours.append(len(pictures) / seconds_of(lambda: prepare(data)))
        shutil.rmtree(data["dir"])
        ratios.append(ours[-1] / loops[-1])
    print(
        f"{name}: loop {statistics.median(loops):,.0f} frames/s, prepare"
        f" {statistics.median(ours):,.0f} frames/s, median ratio {statistics.median(ratios):.2f}"
        f" ({min(ratios):.2f} to {max(ratios):.2f}), at most {most[0] / 1e6:,.0f} MB"
    )


if __name__ == "__main__":
    main()
