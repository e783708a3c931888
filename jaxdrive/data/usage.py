"""Notes in the folder of a dataset: which runs were trained on it.

Every run has a file of its own, so that any number of runs may write at once. It holds the path of
the run's workdir. A note may outlive its run: `inventory.py` looks whether the run still exists.
"""

import contextlib
import hashlib
import os
import shutil
from pathlib import Path

FOLDER = "used_by"


def note(dataset: Path, workdir: str) -> None:
    """Notes that the run in a workdir uses a dataset.

    Where the dataset's folder may not be written to, nothing is noted: its owner alone deletes it.

    Args:
      dataset: Folder of the dataset.
      workdir: Absolute, or gs://...
    """
    file = dataset / FOLDER / f"{hashlib.sha256(workdir.encode()).hexdigest()[:16]}.txt"
    # Another process may write the same note.
    partial = file.with_suffix(f".{os.getpid()}.partial")
    with contextlib.suppress(OSError):
        file.parent.mkdir(exist_ok=True)
        partial.write_text(f"{workdir}\n")
        partial.replace(file)


def noted(dataset: Path) -> list[str]:
    """Workdirs of the runs that were trained on a dataset; empty where none is known."""
    files = sorted((dataset / FOLDER).glob("*.txt"))
    return sorted(filter(None, (file.read_text(errors="replace").strip() for file in files)))


def keep_notes(before: Path, now: Path) -> None:
    """Copies the notes of a dataset to the folder that is to take its place."""
    if (before / FOLDER).is_dir():
        ignore = shutil.ignore_patterns("*.partial")
        shutil.copytree(before / FOLDER, now / FOLDER, ignore=ignore)
