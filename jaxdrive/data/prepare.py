"""Recordings -> a prepared dataset, once: pieces of sessions are read by worker processes.

A dataset lives in `config.data.dir/<fingerprint>`, where the fingerprint covers the source and all
that decides its frames, so that runs share it. It is made under a lock. While it is made it is
called `.incomplete`; parts that are whole are kept when the work is interrupted, and only a
finished dataset gets its name. What another dataset of that folder holds is not read again.
"""

import concurrent.futures
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock

from jaxdrive.data import bad_rows, parts, shards
from jaxdrive.data.dataset import Dataset, open_dataset
from jaxdrive.data.frames import RESIZES, Fit, Session
from jaxdrive.data.reuse import content_of, held_sessions, reuse
from jaxdrive.data.sources import car_racing, donkey, tfds_dataset, udacity
from jaxdrive.data.split import SPLITS, rule_of
from jaxdrive.data.workers import worker_pool
from jaxdrive.errors import UserError
from jaxdrive.heads import derivable
from jaxdrive.logs import logger, progress_bar

SOURCES = {"car_racing": car_racing, "udacity": udacity, "donkey": donkey}


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
    if data["prepared"]:
        return open_dataset(Path(data["prepared"])).manifest["fingerprint"]
    return _digits(_about(data, _source(data).find(data)))


def _digits(about: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def _about(data: Mapping[str, Any], found: Any) -> dict[str, Any]:
    return {
        "schema_version": shards.SCHEMA_VERSION,
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


def label_names(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the labels in the dataset of `config.data`, made or not."""
    if data["prepared"]:
        return tuple(open_dataset(Path(data["prepared"])).labels)
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
    about = _about(data, found)
    folder = Path(data["dir"]) / _digits(about)
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        logger.info("Another process prepares %s: waiting for it", folder)
        lock.acquire()
    try:
        if not folder.exists():
            _make(folder, data, found, about)
    finally:
        lock.release()
    return open_dataset(folder)


def _make(folder: Path, data: Mapping[str, Any], found: Any, about: Mapping[str, Any]) -> None:
    # The processes start while the recordings' rows are read.
    with worker_pool(parts.warm_up) as pool:
        sessions = _sessions(data, found)
        partial = folder.with_suffix(".incomplete")
        if partial.exists() and not _can_go_on(partial):
            shutil.rmtree(partial)
        partial.mkdir(exist_ok=True)
        _check_room(partial, data)
        plural = "s" * (len(sessions) > 1)
        logger.info("Preparing %d session%s in %s", len(sessions), plural, folder)
        _reuse_sessions(partial, sessions)
        _write_sessions(pool, partial, sessions, data)
    about = {"fingerprint": folder.name, **about}
    manifest = shards.assemble(partial, sessions=sessions, fit=fit_of(data), about=about)
    partial.rename(folder)
    _tell(folder, manifest, data)


def _sessions(data: Mapping[str, Any], found: Any) -> list[Session]:
    decided = {"fit": vars(fit_of(data)), "split": dict(data["split"]), "on_bad": data["on_bad"]}
    sessions = [
        dataclasses.replace(session, content=content_of(session, decided))
        for session in _source(data).sessions(data, found)
    ]
    if not any(session.split in (None, "train") for session in sessions):
        raise UserError(f"config.data holds no recording to train on: {remedy(data, 'train')}")
    return sessions


def _reuse_sessions(folder: Path, sessions: Sequence[Session]) -> None:
    held = held_sessions(folder.parent)
    count = 0
    for index, session in enumerate(sessions):
        there = held.get(session.content)
        if there and _missing(folder, index, session):
            count += reuse(folder, index, len(session.pieces), there)
    if count:
        logger.info("%d of them are in an earlier dataset and not read again", count)


def _missing(folder: Path, index: int, session: Session) -> list[int]:
    """The pieces of a session that are not written."""
    return [
        piece
        for piece in range(len(session.pieces))
        if not parts.note_file(folder, index, piece).exists()
    ]


def _tell(folder: Path, manifest: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Warns of what a new dataset lacks."""
    bad = manifest["bad_rows"]
    if bad["count"]:
        logger.warning(
            "Of %d frames, %s. They are left out; the list is bad_rows in %s",
            bad["count"] + manifest["table"]["rows"],
            bad_rows.counts(bad),
            folder / shards.MANIFEST,
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


def _can_go_on(partial: Path) -> bool:
    """Whether only parts lie in an interrupted dataset; past that it was about to be joined."""
    return all(path.name.startswith("part-") for path in partial.iterdir())


def _check_room(folder: Path, data: Mapping[str, Any]) -> None:
    fit = fit_of(data)
    # One session's worth is the least that has to fit; the exact need is known only at the end.
    need = 1000 * fit.height * fit.width * 3
    free = shutil.disk_usage(folder).free
    if free < need:
        raise UserError(
            f"no space left for a dataset in {folder.parent}: {free / 1e6:.0f} MB are free, more"
            f" than {need / 1e6:.0f} MB are needed. Free some, or name another --config.data.dir;"
            " what is prepared so far is kept"
        )


def _write_sessions(
    pool: concurrent.futures.Executor,
    folder: Path,
    sessions: Sequence[Session],
    data: Mapping[str, Any],
) -> None:
    missing = [
        (index, piece)
        for index, session in enumerate(sessions)
        for piece in _missing(folder, index, session)
    ]
    there = sum(len(session.pieces) for session in sessions) - len(missing)
    if there and missing:
        logger.info("Going on: %d of %d pieces are there", there, there + len(missing))
    if not missing:
        return
    futures = [
        pool.submit(
            parts.write_part,
            folder,
            index,
            piece,
            sessions[index].piece(piece),
            fit_of(data),
            rule=rule_of(data),
            on_bad=data["on_bad"],
        )
        for index, piece in missing
    ]
    frames = 0
    with progress_bar(total=len(missing), description="prepare", unit="piece") as progress:
        for future in concurrent.futures.as_completed(futures):
            frames += future.result()
            progress.set_postfix(frames=frames, refresh=False)
            progress.update()
