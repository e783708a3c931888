"""The verb `datasets`, which lists and deletes what is in a folder of datasets; `inspect --verify`.

Also notes which runs use a dataset, for that list. What is found and what may go is decided in
`data/inventory.py`.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from etils import epath

from jaxdrive import workdir as workdirs
from jaxdrive.data import inventory, usage
from jaxdrive.data.dataset import MANIFEST, Dataset, verify_dataset
from jaxdrive.data.inventory import ATTEMPT, DATASET, IMAGES, UNREACHABLE, Item
from jaxdrive.data.prepare import alone_in, dataset_folder
from jaxdrive.data.split import SPLITS
from jaxdrive.errors import UserError
from jaxdrive.evaluation import wording
from jaxdrive.logs import logger, plural

# Names of runs or datasets in a line of the list, at most.
_SHOWN = 4


def record_use(dataset: Dataset, workdir: epath.Path) -> None:
    """Writes into run.json which dataset a run has, and into the dataset that the run uses it."""
    facts = {
        "path": str(dataset.path),
        "fingerprint": dataset.manifest["fingerprint"],
        "frames": {split: len(dataset.ids(split)) for split in SPLITS},
        "bytes": dataset.size,
    }
    workdirs.describe_run(workdir, dataset=facts)
    if jax.process_index() == 0:
        usage.note(dataset.path, str(workdir))


def verify(data: Mapping[str, Any]) -> None:
    """Compares all bytes of the dataset of `config.data` with its checksums and says what it found.

    Raises:
      UserError: There is no dataset, or some of it is not as it was written.
    """
    folder = dataset_folder(data)
    if not (folder / MANIFEST).exists():
        raise UserError(f"there is nothing to verify in {folder}: `prepare` makes the dataset")
    found = verify_dataset(folder)
    if found.faults:
        raise UserError("\n".join(found.faults))
    checked = f"{plural(found.shards, 'shard')}, {wording.size(found.size)}"
    unchecked = f"; {plural(found.unchecked, 'shard')} could not be checked for want of a checksum"
    logger.info(
        "Verified: %s: all bytes are as they were written%s",
        checked,
        unchecked * bool(found.unchecked),
    )


def datasets(folder: Path, *, delete: Sequence[str], unused: bool, yes: bool) -> None:
    """Lists the datasets in a folder, or deletes some.

    Args:
      folder: `config.data.dir`.
      delete: Names of what to delete.
      unused: Deletes what nobody uses.
      yes: Deletes without asking.

    Raises:
      UserError: There is no such folder or name, or nobody can be asked.
    """
    if not folder.is_dir():
        raise UserError(
            f"there is no folder {folder}: `prepare` and `train` make it; where datasets are"
            " elsewhere, say --config.data.dir=DIR"
        )
    items = _survey(folder)
    if delete:
        names = {item.name for item in inventory.named(items, delete, folder)}
        _delete(folder, items, lambda now: [item for item in now if item.name in names], yes=yes)
    elif unused:
        left = inventory.unused(items).left
        lines = [f"Left alone: {', '.join(names)} ({reason})" for reason, names in left.items()]
        _show([*lines, "--delete=NAME deletes those too"] if left else [])
        _delete(folder, items, lambda now: inventory.unused(now).items, yes=yes)
    else:
        _show(_listing(folder, items))


def _survey(folder: Path) -> list[Item]:
    return inventory.survey(folder, lambda workdir: workdirs.dataset_of(epath.Path(workdir)))


def _delete(
    folder: Path,
    items: Sequence[Item],
    choose: Callable[[Sequence[Item]], Sequence[Item]],
    *,
    yes: bool,
) -> None:
    """Deletes what `choose` takes of the items, after showing it and asking."""
    going = choose(items)
    if not going:
        logger.info("Nothing in %s is unused", folder)
        return
    _show([f"To delete from {folder}:", *_plan(going, items)])
    size = wording.size(inventory.freed(going))
    if not yes and not _agreed(f"Delete {plural(len(going), 'folder')} and free {size}?"):
        logger.info("Nothing was deleted")
        return
    shown = {item.name: set(inventory.users_of(item, items)) for item in going}
    with alone_in(folder):
        # Another process may have been at work until now.
        now = _survey(folder)
        going = [item for item in choose(now) if item.name in shown]
        for item in going:
            new = set(inventory.users_of(item, now)) - shown[item.name]
            if new:
                raise UserError(
                    f"{item.name} is used by {', '.join(sorted(new))} since a moment ago: nothing"
                    " was deleted. Give the command again if it is to go all the same"
                )
        size = wording.size(inventory.freed(going))
        inventory.delete(going)
    logger.info("Deleted %s: %s are free again", plural(len(going), "folder"), size)
    staying = [item for item in now if item not in going]
    free = [
        item
        for item in staying
        if inventory.users_of(item, going) and not inventory.users_of(item, staying)
    ]
    if free:
        logger.info(
            "No dataset uses %s (%s) any more: --unused deletes what nobody uses",
            _names([item.name for item in free], _SHOWN),
            wording.size(inventory.size_of(*(item.path for item in free))),
        )


def _plan(going: Sequence[Item], items: Sequence[Item]) -> list[str]:
    """Lines of text: what is to be deleted and who uses it."""
    rows = [
        [
            f"  {item.name}",
            wording.size(item.size),
            "interrupted" if item.kind == ATTEMPT else f"{item.kind} used by {_uses(item, items)}",
        ]
        for item in going
    ]
    users = {
        user
        for item in going
        if item.kind == IMAGES
        for user in inventory.users_of(item, items)
        if user not in [other.name for other in going]
    }
    lines = _table(rows)
    if users:
        lines.append(
            f"Without these images {', '.join(sorted(users))} cannot be used: `prepare` and `train`"
            " will read the recording again"
        )
    return lines


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise UserError("nothing was deleted: there is no terminal to ask in, so add --yes")
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _listing(folder: Path, items: Sequence[Item]) -> list[str]:
    """Lines of text: all items with what is known of them, faults, and what may go."""
    if not items:
        return [f"There are no datasets in {folder}: `prepare` and `train` make them"]
    size = inventory.size_of(*(item.path for item in items))
    lines = [f"Datasets in {folder}: {wording.size(size)} in all"]
    for kind, row, head in (
        (DATASET, _dataset_row, "dataset,made,size,frames,images,recording,used by"),
        (IMAGES, _images_row, "images,made,size,frames,recording,used by"),
        (ATTEMPT, _attempt_row, "interrupted or at work,written,size"),
    ):
        rows = [row(item, items) for item in items if item.kind == kind]
        if rows:
            lines += ["", *_table([head.split(","), *rows])]
    faults = [item.fault for item in items if item.fault]
    lines += ["", *faults] if faults else []
    free = inventory.unused(items).items
    if free:
        freed = wording.size(inventory.freed(free))
        lines += ["", f"Nobody uses {len(free)} of them, {freed}: --unused deletes them"]
    return lines


def _dataset_row(item: Item, items: Sequence[Item]) -> list[str]:
    names = item.stores or ()
    size = wording.size(sum(other.size for other in items if other.name in names))
    images = "its own" if item.old else f"{size} in {plural(len(names), 'store')}"
    return [
        *_first_columns(item, items),
        "unknown" if item.stores is None else images,
        _short(item.recording),
        _state(item, items),
    ]


def _images_row(item: Item, items: Sequence[Item]) -> list[str]:
    return [*_first_columns(item, items), _short(item.recording), _state(item, items)]


def _attempt_row(item: Item, items: Sequence[Item]) -> list[str]:
    return _first_columns(item, items)[:3]


def _first_columns(item: Item, items: Sequence[Item]) -> list[str]:
    frames = wording.number(item.frames)
    return [item.name, wording.age(time.time() - item.made), wording.size(item.size), frames]


def _state(item: Item, items: Sequence[Item]) -> str:
    remarks = ["not usable"] * bool(item.fault) + ["a link"] * item.path.is_symlink()
    return "; ".join([_uses(item, items, _SHOWN), *remarks])


def _uses(item: Item, items: Sequence[Item], most: int | None = None) -> str:
    """Who uses a dataset or store, in words: so many names at most."""
    users = inventory.users_of(item, items)
    if item.kind == IMAGES:
        return _names(users, most) or "no dataset"
    if users:
        not_reached = {run: " (not reached)" * (item.runs[run] == UNREACHABLE) for run in users}
        return _names([f"{_short(run)}{not_reached[run]}" for run in users], most)
    if item.runs:
        return f"no run (gone: {_names(list(map(_short, item.runs)), most)})"
    return "unknown runs (not recorded)" if item.old else "no run yet"


def _names(names: Sequence[str], most: int | None = None) -> str:
    """Names with commas between them, those after so many as a number."""
    shown = names[:most]
    more = len(names) - len(shown)
    return ", ".join([*shown, *[f"{more} more"] * bool(more)])


def _short(path: str) -> str:
    """A path as one would type it here."""
    if "://" in path or not os.path.isabs(path):
        return path
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _show(lines: Sequence[str]) -> None:
    if lines:
        logger.info("%s", "\n".join(lines))
