"""How fast are recordings prepared, against a plain loop of OpenCV's decode and resize on one core?

Takes a recording of the Udacity simulator, several times under other dates so that it is long
enough, and prepares it: reading, decoding, fitting, writing shards, hashing them. The loop decodes
the same pictures, cuts and resizes them alike, and writes nothing. Both take turns; prints frames a
second, their ratio, how long writing as many bytes takes by itself, and the most memory that
preparing took, all its processes together.

A virtual machine may give memory that is free back to its host, and then every page of a new file
costs a visit there, several times what writing it does. With --fill-memory free memory is filled
with cached files first, as it is on a machine that has been in use for a while; that takes as much
room on the disk.

Command:
  python -m benchmarks.prepare --recording=DIR --copies=10 --rounds=3 [--fill-memory]
"""

import argparse
import functools
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
_CHUNK = bytes(1 << 26)
# Bytes of memory that are left free where it is filled.
_FREE = 1 << 30
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


def write_alone(folder: Path, size: int) -> None:
    """Writes a file of zeros."""
    with (folder / "zeros").open("wb", buffering=0) as file:
        for _ in range(size // len(_CHUNK)):
            file.write(_CHUNK)


def fill_memory(folder: Path) -> None:
    """Writes files until hardly any memory is free; they stay in memory until it is needed.

    At most as much as there is memory: some systems drop files from it by themselves.
    """
    with (folder / "filling").open("ab", buffering=0) as file:
        for _ in range(psutil.virtual_memory().total // len(_CHUNK)):
            if psutil.virtual_memory().free < _FREE:
                break
            file.write(_CHUNK)
        os.fsync(file.fileno())


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
    parser.add_argument("--fill-memory", action="store_true", help="with cached files")
    arguments = parser.parse_args()
    from configs import udacity

    recorded = udacity.get_config().data.to_dict()
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        folder = Path(scratch)
        recordings = folder / "recordings"
        pictures = long_recording(arguments.recording.resolve(), recordings, arguments.copies)
        print(f"{len(pictures):,} pictures, {os.cpu_count()} cores")
        for name, fit in SETTINGS.items():
            if arguments.fill_memory:
                fill_memory(folder)
            data = recorded | fit | {"path": str(recordings)}
            measure(name, data, pictures, folder / "datasets", rounds=arguments.rounds)


def measure(
    name: str, data: dict[str, Any], pictures: list[Path], folder: Path, *, rounds: int
) -> None:
    """Times the loop and `prepare` in turns and prints what was found."""
    from jaxdrive.data.prepare import fit_of, prepare

    # In a round of its own, since looking takes time.
    with peak_memory() as most:
        made = prepare(data | {"dir": str(folder / "first")})
    ratios, loops, ours = [], [], []
    for turn in range(rounds):
        loops.append(len(pictures) / seconds_of(lambda: plain_loop(pictures, fit_of(data))))
        # Nothing is removed between the rounds: memory would be free again.
        settings = data | {"dir": str(folder / str(turn))}
        ours.append(len(pictures) / seconds_of(functools.partial(prepare, settings)))
        ratios.append(ours[-1] / loops[-1])
    size = made.size
    writing = seconds_of(lambda: write_alone(folder, size))
    shutil.rmtree(folder)
    print(
        f"{name}: loop {statistics.median(loops):,.0f} frames/s, prepare"
        f" {statistics.median(ours):,.0f} frames/s, median ratio {statistics.median(ratios):.2f}"
        f" ({min(ratios):.2f} to {max(ratios):.2f}); writing {size / 1e9:.1f} GB alone"
        f" {writing:.1f} s of {len(pictures) / statistics.median(ours):.1f} s on one core; at most"
        f" {most[0] / 1e6:,.0f} MB"
    )


if __name__ == "__main__":
    main()
