"""What lies in a folder of datasets, who uses it, what may go; and how it is deleted.

There are datasets, stores of images that datasets share, and attempts: folders called
`.incomplete`, which an interrupted `prepare` goes on with. All else in the folder is left alone,
such as recordings and compiled programs. Only what `survey` found directly in the folder can be
deleted, so nothing outside of it, and nothing that a link leads to.
"""

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxdrive.data import dataset as datasets
from jaxdrive.data import store as stores
from jaxdrive.data import usage
from jaxdrive.errors import UserError

# What an item is.
DATASET = "dataset"
IMAGES = "images"
ATTEMPT = "attempt"
# What is known of a run that was trained on a dataset.
EXISTS = "exists"
GONE = "gone"
UNREACHABLE = "unreachable"
# Ends the name of the folder with the pictures of a dataset, which lies beside it.
PICTURES = "-inspect"

_KEY = re.compile(rf"({stores.PREFIX})?[0-9a-f]{{16}}")
# Ends the names of files that an earlier jaxdrive locked; they are empty.
_LOCK = ".lock"


@dataclasses.dataclass(frozen=True)
class Item:
    """Something that jaxdrive made in a folder of datasets.

    Attributes:
      path: Its folder.
      kind: `DATASET`, `IMAGES` or `ATTEMPT`.
      made: When it was made, or an attempt last written, in seconds since the epoch.
      size: Bytes of its files.
      recording: What it was made of; "" where nothing tells.
      frames: How many; None where nothing tells.
      stores: Of a dataset, the names of its stores; None where its manifest does not tell.
      old: It is of the schema before there were stores.
      runs: Of a dataset, workdir -> `EXISTS`, `GONE` or `UNREACHABLE`, for each run that was noted.
      fault: What is wrong with it, in words; "" where nothing is.
    """

    path: Path
    kind: str
    made: float
    size: int
    recording: str = ""
    frames: int | None = None
    stores: Sequence[str] | None = ()
    old: bool = False
    runs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    fault: str = ""

    @property
    def name(self) -> str:
        """Of its folder."""
        return self.path.name


@dataclasses.dataclass(frozen=True)
class Unused:
    """What nobody uses.

    Attributes:
      items: To delete.
      left: Reason -> names of what is left alone for it, though nobody is known to use it.
    """

    items: Sequence[Item]
    left: Mapping[str, Sequence[str]]


def survey(folder: Path, dataset_of: Callable[[str], str | None]) -> list[Item]:
    """Finds what jaxdrive made in a folder of datasets: stores, datasets, attempts, by name.

    Args:
      folder: To look into.
      dataset_of: By workdir, the fingerprint of the dataset that the run there has; "" where there
        is no run, None where the workdir cannot be reached.
    """
    by_kind: dict[str, list[Path]] = {IMAGES: [], DATASET: [], ATTEMPT: []}
    for path in sorted(folder.iterdir()):
        kind = _kind(path) if path.is_dir() else None
        if kind is not None:
            by_kind[kind].append(path)
    images = {path.name: _images(path) for path in by_kind[IMAGES]}
    # A run may have used many datasets, and a bucket takes its time to answer.
    ask_once = functools.cache(dataset_of)
    made = [_dataset(path, images, ask_once) for path in by_kind[DATASET]]
    return [*images.values(), *made, *map(_attempt, by_kind[ATTEMPT])]


def size_of(*folders: Path) -> int:
    """Bytes of all files of folders, each counted once however many links it has."""
    files = itertools.chain(*map(_files, folders))
    return sum({(file.st_dev, file.st_ino): file.st_size for file in files}.values())


def users_of(item: Item, items: Iterable[Item]) -> list[str]:
    """Who uses an item.

    Returns:
      Of a store, names of datasets; of a dataset, workdirs of runs, those that cannot be reached
      included.
    """
    if item.kind == DATASET:
        return [workdir for workdir, state in item.runs.items() if state != GONE]
    return [other.name for other in items if item.name in (other.stores or ())]


def unused(items: Sequence[Item]) -> Unused:
    """What can go: attempts, datasets of runs that are gone, and stores of no dataset but those."""
    removable = [item for item in items if not item.path.is_symlink()]
    going = [item for item in removable if item.kind == ATTEMPT or _was_used(item)]
    staying = [item for item in items if item.kind == DATASET and item not in going]
    unknown = [item.name for item in staying if item.stores is None]
    free = [i for i in removable if i.kind == IMAGES and not users_of(i, staying)]
    reasons = {
        "made by an earlier jaxdrive, which did not note its runs": [
            item.name for item in staying if item.old and not users_of(item, items)
        ],
        "no run was trained on it yet": [
            i.name for i in staying if not (i.runs or i.old or i.stores is None)
        ],
        "its manifest cannot be read": unknown,
        f"maybe used by {', '.join(unknown)}": [item.name for item in free] if unknown else [],
    }
    left = {reason: names for reason, names in reasons.items() if names}
    return Unused([*going, *([] if unknown else free)], left)


def _was_used(item: Item) -> bool:
    """Whether a dataset was used, by runs that are all gone.

    The runs of a dataset of the old schema are not all known, nor those of one that is damaged.
    """
    return bool(item.runs) and not (users_of(item, ()) or item.old or item.stores is None)


def named(items: Sequence[Item], names: Sequence[str], folder: Path) -> list[Item]:
    """The items of these names, without repetition.

    Raises:
      UserError: A name is none of an item of the folder, or of a link.
    """
    there = {item.name: item for item in items}
    chosen = {}
    for name in names:
        if name not in there:
            outside = "" if name == Path(name).name else ", by the name of its folder alone"
            raise UserError(
                f"there is no dataset, store of images or interrupted attempt {name!r} in {folder}:"
                f" name one that `launch.py datasets` lists{outside}"
            )
        path = there[name].path
        if path.is_symlink():
            raise UserError(
                f"{path} is a link to {path.resolve()}: what lies outside of {folder} is not"
                " deleted. Remove the link yourself"
            )
        chosen[name] = there[name]
    return list(chosen.values())


def delete(items: Iterable[Item]) -> None:
    """Deletes items, and what lies beside them for them alone. The caller is in `alone_in`.

    A dataset goes before the stores that it uses. A folder is first called `.incomplete`:
    interrupted, this leaves an attempt and nothing that looks like a whole dataset.
    """
    for item in sorted(items, key=lambda item: (ATTEMPT, DATASET, IMAGES).index(item.kind)):
        for beside in _beside(item):
            beside.unlink() if beside.is_file() else shutil.rmtree(beside)
        attempt = item.path
        if item.kind != ATTEMPT:
            attempt = item.path.with_name(f"{_key(item.name)}{datasets.INCOMPLETE}")
            if attempt.exists():
                shutil.rmtree(attempt)
            item.path.rename(attempt)
        shutil.rmtree(attempt)


def freed(items: Iterable[Item]) -> int:
    """Bytes that deleting items frees.

    Datasets of the old schema share files, which are there until the last of them is deleted.
    """
    sizes: dict[tuple[int, int], tuple[int, int]] = {}
    found: dict[tuple[int, int], int] = {}
    for status in itertools.chain(*(_files(p) for i in items for p in (i.path, *_beside(i)))):
        file = status.st_dev, status.st_ino
        sizes[file] = status.st_size, status.st_nlink
        found[file] = found.get(file, 0) + 1
    return sum(size for file, (size, links) in sizes.items() if found[file] >= links)


def _kind(path: Path) -> str | None:
    if path.name.endswith(datasets.INCOMPLETE):
        return ATTEMPT if _KEY.fullmatch(path.name.removesuffix(datasets.INCOMPLETE)) else None
    like_ours = _KEY.fullmatch(path.name) is not None
    if (like_ours and path.name.startswith(stores.PREFIX)) or stores.read_nonce(path):
        return IMAGES
    if like_ours or "schema_version" in _raw_manifest(path):
        return DATASET
    return None


def _raw_manifest(path: Path) -> Mapping[str, Any]:
    """What the manifest of a dataset says, if it is one: recordings have files of this name too."""
    try:
        manifest = json.loads((path / datasets.MANIFEST).read_text())
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _images(path: Path) -> Item:
    item = Item(path, IMAGES, _written(path / stores.MANIFEST), size_of(path))
    try:
        store = stores.open_store(path)
    except UserError as error:
        return dataclasses.replace(item, fault=str(error))
    recording = store.manifest.get("recording", "")
    return dataclasses.replace(item, recording=recording, frames=store.records)


def _dataset(
    path: Path, images: Mapping[str, Item], dataset_of: Callable[[str], str | None]
) -> Item:
    runs = _runs(path, _raw_manifest(path).get("fingerprint", path.name), dataset_of)
    item = Item(
        path,
        DATASET,
        _written(path / datasets.MANIFEST),
        size_of(path),
        stores=None,
        runs=runs,
    )
    try:
        manifest = datasets.read_manifest(path)
        old = manifest["schema_version"] == datasets.OLD_SCHEMA_VERSION
        item = dataclasses.replace(
            item,
            recording=manifest.get("recording", manifest["source"]),
            frames=manifest["table"]["rows"],
            stores=[] if old else [entry["folder"] for entry in manifest["stores"]],
            old=old,
        )
        if old:
            datasets.open_stores(path, manifest)
        return dataclasses.replace(item, fault=_fault(path, manifest, images))
    except UserError as error:
        return dataclasses.replace(item, fault=str(error))
    except (LookupError, TypeError, AttributeError) as error:
        file = path / datasets.MANIFEST
        return dataclasses.replace(item, fault=f"damaged dataset: {file} is not complete ({error})")


def _runs(path: Path, fingerprint: str, dataset_of: Callable[[str], str | None]) -> dict[str, str]:
    found = {workdir: dataset_of(workdir) for workdir in usage.noted(path)}
    return {
        workdir: UNREACHABLE if other is None else EXISTS if other == fingerprint else GONE
        for workdir, other in found.items()
    }


def _fault(path: Path, manifest: Mapping[str, Any], images: Mapping[str, Item]) -> str:
    """What keeps a dataset with a good manifest from being used; "" where nothing does."""
    if not (path / datasets.TABLE).exists():
        return f"damaged dataset: {path / datasets.TABLE} is missing"
    for entry in manifest.get("stores", ()):
        name = entry["folder"]
        whose = f"the images of dataset {path.name}, {name},"
        if name not in images:
            return f"{whose} are missing: `prepare` reads them again"
        if images[name].fault:
            return f"{whose} are not usable"
        if stores.read_nonce(images[name].path) != entry["nonce"]:
            return f"{whose} were read again since: `prepare` writes the dataset again"
    return ""


def _attempt(path: Path) -> Item:
    made = max([path.stat().st_mtime, *(status.st_mtime for status in _files(path))])
    return Item(path, ATTEMPT, made, size_of(path))


def _written(file: Path) -> float:
    """When a file was written; if it is missing, its folder."""
    return (file if file.exists() else file.parent).stat().st_mtime


def _beside(item: Item) -> list[Path]:
    """What belongs to an item alone and is not in its folder."""
    if item.kind == IMAGES:
        return []
    lock = item.path.with_name(f"{item.name.removesuffix(datasets.INCOMPLETE)}{_LOCK}")
    pictures = item.path.with_name(f"{item.name}{PICTURES}")
    found = [pictures] * pictures.is_dir()
    if lock.is_file() and not lock.stat().st_size:
        found.append(lock)
    return [path for path in found if not path.is_symlink()]


def _key(name: str) -> str:
    """The name, or for a folder that somebody named sixteen digits that stand for it."""
    if _KEY.fullmatch(name):
        return name
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def _files(path: Path) -> Iterator[os.stat_result]:
    """What the system knows of each file below a folder."""
    if path.is_file():
        yield path.stat()
    for folder, _, names in os.walk(path):
        for name in names:
            # An attempt may be at work.
            with contextlib.suppress(FileNotFoundError):
                yield os.lstat(os.path.join(folder, name))
