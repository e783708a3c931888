"""Recordings -> a prepared dataset: images are stored once, and a table is written of them.

A dataset is `config.data.dir/<fingerprint>`, where the fingerprint covers the source and all that
decides its frames, so that runs share it. The images of each session are in a store beside it
(`store.py`), which all datasets of that session and fit share: another split or fold reads no
image. What is missing is read by worker processes. All of this happens under one lock for the
folder; what is complete is kept when the work is interrupted.
"""

import concurrent.futures
import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock

from jaxdrive.data import bad_rows, store_writer
from jaxdrive.data import dataset as datasets
from jaxdrive.data.dataset import Dataset, open_dataset, write_dataset
from jaxdrive.data.frames import RESIZES, Fit, Session
from jaxdrive.data.label_table import build_labels
from jaxdrive.data.sources import car_racing, donkey, tfds_dataset, udacity
from jaxdrive.data.split import SPLITS, rule_of
from jaxdrive.data.store import (
    PREFIX,
    DamageError,
    Store,
    open_store,
    read_index,
    read_nonce,
    store_folder,
    store_key,
    verify,
)
from jaxdrive.data.workers import worker_pool
from jaxdrive.errors import UserError
from jaxdrive.heads import derivable
from jaxdrive.logs import logger, plural, progress_bar

SOURCES = {"car_racing": car_racing, "udacity": udacity, "donkey": donkey}
_LOCK = ".prepare.lock"


def fit_of(data: Mapping[str, Any]) -> Fit:
    """How `config.data` fits recorded pictures to the network."""
    if data["resize"] not in RESIZES:
        raise UserError(
            f"config.data.resize={data['resize']!r} is not known: one of {', '.join(RESIZES)}"
        )
    return Fit(data["crop_top"], data["crop_bottom"], data["height"], data["width"], data["resize"])


def fit_shape(data: Mapping[str, Any]) -> tuple[int, int, int]:
    """(height, width, channels) of the network's pictures."""
    return data["height"], data["width"], 3


def fingerprint(data: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits that name the dataset of `config.data`, made or not."""
    return fingerprints(data)[0]


def fingerprints(data: Mapping[str, Any]) -> tuple[str, ...]:
    """All names under which the same frames may be prepared, the one to use first.

    A dataset that an earlier jaxdrive prepared has another name for the same frames. It is used
    where it exists and no newer one does.
    """
    if data["prepared"]:
        return (datasets.read_manifest(Path(data["prepared"]))["fingerprint"],)
    return _names(data, _source(data).find(data))


def _names(data: Mapping[str, Any], found: Any) -> tuple[str, ...]:
    versions = (datasets.SCHEMA_VERSION, datasets.OLD_SCHEMA_VERSION)
    names = [_digits(_about(data, found, version)) for version in versions]
    made = [name for name in names if (Path(data["dir"]) / name / datasets.MANIFEST).exists()]
    return tuple(dict.fromkeys([*made, *names]))


def _digits(about: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def _about(data: Mapping[str, Any], found: Any, schema_version: int) -> dict[str, Any]:
    return {
        "schema_version": schema_version,
        "source": data["source"],
        "settings": _source(data).settings(data, found),
        "fit": vars(fit_of(data)),
    }


def _source(data: Mapping[str, Any]) -> Any:
    name = data["source"]
    if name.startswith(tfds_dataset.PREFIX):
        return tfds_dataset
    if name not in SOURCES:
        known = ", ".join([*SOURCES, f"{tfds_dataset.PREFIX}NAME/CONFIG"])
        raise UserError(f"config.data.source={name!r} is not known: one of {known}")
    return SOURCES[name]


def dataset_folder(data: Mapping[str, Any]) -> Path:
    """Where the dataset of `config.data` is, made or not."""
    if data["prepared"]:
        return Path(data["prepared"])
    return Path(data["dir"]) / fingerprints(data)[0]


def label_names(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the labels in the dataset of `config.data`, made or not."""
    if data["prepared"]:
        recorded = tuple(datasets.read_manifest(Path(data["prepared"]))["labels"])
        return (*recorded, *derivable(recorded))
    recorded = _source(data).labels(data)
    return (*recorded, *derivable(recorded))


def prepare(data: Mapping[str, Any]) -> Dataset:
    """The dataset of `config.data`, opened; made first where it does not exist.

    Where `config.data.prepared` names a prepared dataset, that one is opened and nothing is made.
    Several processes may call this at once: the first one makes it, the others wait for it; on
    machines that share no disk each makes its own.

    Raises:
      UserError: The recordings, the settings or an existing dataset are not usable.
    """
    if data["prepared"]:
        return open_dataset(Path(data["prepared"]))
    found = _source(data).find(data)
    name = _names(data, found)[0]
    folder = Path(data["dir"]) / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not _is_made(folder):
        with alone_in(folder.parent):
            # Another process may have made it meanwhile.
            if not _is_made(folder):
                _make(folder, data, found)
    return open_dataset(folder)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keeps all other processes from making or deleting datasets of a folder."""
    lock = filelock.FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        logger.info("Another process is at work on the datasets in %s: waiting for it", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _is_made(folder: Path) -> bool:
    """Whether a dataset exists and is to be opened, damaged or not.

    It is made again, which is quick, where a store of it was deleted or made again since.
    """
    if not (folder / datasets.MANIFEST).exists():
        return False
    try:
        manifest = datasets.read_manifest(folder)
    except DamageError:
        return True
    return all(
        read_nonce(folder.parent / entry["folder"]) == entry["nonce"]
        for entry in manifest.get("stores", ())
    )


def _make(folder: Path, data: Mapping[str, Any], found: Any) -> None:
    with contextlib.ExitStack() as stack:
        pool = None
        if not any(folder.parent.glob(f"{PREFIX}*")):
            # Images will have to be read: the processes start while the logs are read.
            pool = stack.enter_context(worker_pool(store_writer.warm_up))
        sessions = _sessions(data, found)
        logger.info("Preparing %s in %s", plural(len(sessions), "session"), folder)
        keys = {store_key(session, fit_of(data)): session for session in sessions}
        places = {key: store_folder(folder.parent, key) for key in keys}
        stores = {key: store for key in keys if (store := _stored(places[key]))}
        if stores:
            logger.info(
                "The images of %s are stored already and not read again",
                plural(len(stores), "session"),
            )
        missing = {key: session for key, session in keys.items() if key not in stores}
        if missing:
            _check_room(folder.parent, data)
            pool = pool or stack.enter_context(worker_pool(store_writer.warm_up))
            _write_stores(pool, folder.parent, missing, fit_of(data))
            stores |= {key: open_store(places[key]) for key in missing}
    own = [stores[store_key(session, fit_of(data))] for session in sessions]
    _write_table(folder, data, found, sessions, own)


def _write_table(
    folder: Path,
    data: Mapping[str, Any],
    found: Any,
    sessions: Sequence[Session],
    stores: Sequence[Store],
) -> None:
    labels = build_labels(sessions, stores, rule_of(data), on_bad=data["on_bad"])
    about = {
        "fingerprint": folder.name,
        "recording": data["path"] or data["source"],
        **_about(data, found, datasets.SCHEMA_VERSION),
    }
    write_dataset(folder, sessions, stores, labels, about)
    _report(folder, data)


def _stored(folder: Path) -> Store | None:
    """A store that exists and is whole: all its bytes are compared with their checksums.

    A damaged store is removed, since whoever asks has its recording.
    """
    if not folder.exists():
        return None
    try:
        store = open_store(folder)
        read_index(store)
        fault = "".join(f"{shard.path} has changed" for _, shard in verify([store]))
    except DamageError as error:
        fault = str(error)
    if not fault:
        return store
    logger.warning("The images in %s are read again: %s", folder, fault)
    shutil.rmtree(folder)
    return None


def _sessions(data: Mapping[str, Any], found: Any) -> list[Session]:
    sessions = _source(data).sessions(data, found)
    if not any(session.split in (None, "train") for session in sessions):
        raise UserError(f"config.data holds no recording to train on: {remedy(data, 'train')}")
    if data["on_bad"] == "fail":
        # What the logs tell is told before images are read.
        for session in sessions:
            if session.entries is not None:
                bad_rows.refuse_bad(session, bad_rows.with_label_faults(session.entries))
    return sessions


def _report(folder: Path, data: Mapping[str, Any]) -> None:
    """Warns of what a new dataset lacks."""
    manifest = datasets.read_manifest(folder)
    bad = manifest["bad_rows"]
    if bad["count"]:
        logger.warning(
            "Of %d frames, %s. They are left out; the list is bad_rows in %s",
            bad["count"] + manifest["table"]["rows"],
            bad_rows.counts(bad),
            folder / datasets.MANIFEST,
        )
    empty = [session["name"] for session in manifest["sessions"] if not session["records"]]
    if empty:
        logger.warning("No usable frame is in session %s", ", ".join(empty))
    for split in SPLITS:
        if not manifest["frames"][split]:
            logger.warning("There are no %s frames: %s", split, remedy(data, split))


def remedy(data: Mapping[str, Any], split: str) -> str:
    """What to change where the dataset of `config.data` has no frames of `split`."""
    return _source(data).remedy(split)


def _check_room(folder: Path, data: Mapping[str, Any]) -> None:
    fit = fit_of(data)
    # One session's worth is the least that has to fit; the exact need is known only at the end.
    need = 1000 * fit.height * fit.width * 3
    free = shutil.disk_usage(folder).free
    if free < need:
        raise UserError(
            f"no space left for a dataset in {folder}: {free / 1e6:.0f} MB are free, more"
            f" than {need / 1e6:.0f} MB are needed. Free some, or name another --config.data.dir;"
            " what is prepared so far is kept"
        )


def _write_stores(
    pool: concurrent.futures.Executor, folder: Path, sessions: Mapping[str, Session], fit: Fit
) -> None:
    """Writes the stores of sessions, by key, in pieces; each is finished when its pieces are."""
    partials = {key: store_writer.begin(store_folder(folder, key)) for key in sessions}
    waiting = {
        key: {
            n for n in range(len(session.pieces)) if not store_writer.is_written(partials[key], n)
        }
        for key, session in sessions.items()
    }
    total = sum(len(session.pieces) for session in sessions.values())
    todo = sum(map(len, waiting.values()))
    if todo < total:
        logger.info("Going on: %d of %d pieces exist", total - todo, total)
    futures = {
        pool.submit(
            store_writer.write_part, partials[key], piece, sessions[key].piece(piece), fit
        ): (key, piece)
        for key, pieces in waiting.items()
        for piece in sorted(pieces)
    }
    for key in [key for key, pieces in waiting.items() if not pieces]:
        store_writer.finish(store_folder(folder, key), sessions[key], fit)
    images = 0
    with progress_bar(total=todo, description="prepare", unit="piece") as progress:
        for future in concurrent.futures.as_completed(futures):
            images += future.result()
            key, piece = futures[future]
            waiting[key].remove(piece)
            if not waiting[key]:
                store_writer.finish(store_folder(folder, key), sessions[key], fit)
            progress.set_postfix(images=images, refresh=False)
            progress.update()
