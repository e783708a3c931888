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
from jaxdrive.data.inventory import ATTEMPT, DATASET, EXISTS, GONE, IMAGES, UNREACHABLE, Item
from jaxdrive.data.prepare import alone_in, dataset_folder
from jaxdrive.data.split import SPLITS
from jaxdrive.errors import UserError
from jaxdrive.evaluation import wording
from jaxdrive.logs import logger

# Names of datasets in a line, at most.
_NAMES = 3


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
    checked = f"{_plural(found.shards, 'shard')}, {wording.size(found.size)}"
    unchecked = f"; {_plural(found.unchecked, 'shard')} could not be checked for want of a checksum"
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
        chosen = inventory.named(items, delete, folder)
        names = {item.name for item in chosen}
        _delete(folder, items, lambda now: [item for item in now if item.name in names], yes=yes)
    elif unused:
        found = inventory.unused(items)
        left = [f"Left alone: {', '.join(names)} ({why})" for why, names in found.left.items()]
        _show([*left, "--delete=NAME deletes those too"] if left else [])
        if found.items:
            _delete(folder, items, lambda now: list(inventory.unused(now).items), yes=yes)
        else:
            logger.info("Nothing in %s is unused", folder)
    else:
        _show(_listing(folder, items))


def _survey(folder: Path) -> list[Item]:
    return inventory.survey(folder, lambda workdir: workdirs.dataset_of(epath.Path(workdir)))


def _delete(
    folder: Path, items: Sequence[Item], choose: Callable[[list[Item]], list[Item]], *, yes: bool
) -> None:
    """Deletes what `choose` takes of the items, after showing it and asking."""
    chosen = {item.name: _used_by(item, items) for item in choose(list(items))}
    going = [item for item in items if item.name in chosen]
    size = wording.size(inventory.freed(going))
    rows = [
        [f"  {item.name}", wording.size(item.size), item.kind, chosen[item.name]] for item in going
    ]
    _show([f"To delete from {folder}:", *_table(rows)])
    without = [
        user.name
        for item in going
        if item.kind == IMAGES
        for user in inventory.users_of(item, items)
        if user not in going
    ]
    if without:
        logger.info(
            "Without these images, `prepare` and `train` read the recording of %s again",
            _some(without),
        )
    if not yes and not _agreed(f"Delete {_plural(len(going), 'folder')} and free {size}?"):
        logger.info("Nothing was deleted")
        return
    with alone_in(folder):
        # While the question stood, a run or `prepare` may have taken to something.
        now = _survey(folder)
        still = [item for item in choose(now) if _used_by(item, now) == chosen.get(item.name)]
        size = wording.size(inventory.freed(still))
        for item in sorted(still, key=lambda item: item.kind == IMAGES):
            inventory.delete(item)
        left = [item for item in now if item not in still]
    changed = sorted(chosen.keys() & {item.name for item in left})
    if changed:
        logger.warning("Used otherwise by now, so left alone: %s", ", ".join(changed))
    logger.info("Deleted %s: %s are free again", _plural(len(still), "folder"), size)
    free = [
        item
        for item in left
        if inventory.users_of(item, still) and not inventory.users_of(item, left)
    ]
    if free:
        logger.info(
            "No dataset uses %s (%s) any more: --unused deletes what nobody uses",
            _some([item.name for item in free]),
            wording.size(sum(item.size for item in free)),
        )


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
    lines = [f"Datasets in {folder}: {wording.size(inventory.size_of(folder))} in all"]
    for kind, head, row in (
        (DATASET, ["dataset", "made", "size", "frames", "images", "recording"], _dataset_row),
        (IMAGES, ["images", "made", "size", "frames", "recording"], _images_row),
        (ATTEMPT, ["interrupted, or at work", "written", "size"], _attempt_row),
    ):
        rows = [row(item, items) for item in items if item.kind == kind]
        if rows:
            lines += ["", *_table([[*head, "used by"][: len(rows[0])], *rows])]
    faults = [item.fault for item in items if item.fault]
    lines += [""] * bool(faults) + faults
    free = inventory.unused(items).items
    if free:
        size = wording.size(inventory.freed(free))
        lines += ["", f"Nobody uses {len(free)} of them, {size}: --unused deletes them"]
    return lines


def _dataset_row(item: Item, items: Sequence[Item]) -> list[str]:
    own = [other for other in items if other.name in (item.stores or ())]
    size = wording.size(sum(store.size for store in own))
    images = "its own" if item.old else f"{size} in {_plural(len(own), 'store')}"
    return [
        *_first_columns(item),
        "unknown" if item.stores is None else images,
        _short(item.recording),
        _state(item, items),
    ]


def _images_row(item: Item, items: Sequence[Item]) -> list[str]:
    return [*_first_columns(item), _short(item.recording), _state(item, items)]


def _attempt_row(item: Item, items: Sequence[Item]) -> list[str]:
    return _first_columns(item)[:3]


def _first_columns(item: Item) -> list[str]:
    frames = wording.number(item.frames)
    return [item.name, wording.age(time.time() - item.made), wording.size(item.size), frames]


def _used_by(item: Item, items: Sequence[Item]) -> str:
    return "interrupted" if item.kind == ATTEMPT else f"used by {_uses(item, items)}"


def _state(item: Item, items: Sequence[Item]) -> str:
    remarks = ["damaged"] * bool(item.fault) + ["a link"] * item.path.is_symlink()
    return "; ".join([_uses(item, items), *remarks])


def _uses(item: Item, items: Sequence[Item]) -> str:
    """Who uses a dataset or store, in words."""
    if item.kind == IMAGES:
        users = [user.name for user in inventory.users_of(item, items)]
        return _some(users) if users else "no dataset"
    by_state = {
        state: [_short(workdir) for workdir, other in item.runs.items() if other == state]
        for state in (EXISTS, UNREACHABLE, GONE)
    }
    users = by_state[EXISTS] + [f"{run} (not reached)" for run in by_state[UNREACHABLE]]
    if users:
        return ", ".join(users)
    if by_state[GONE]:
        return f"no run (gone: {', '.join(by_state[GONE])})"
    return "unknown runs (not recorded)" if item.old else "no run yet"


def _some(names: Sequence[str]) -> str:
    """Names, those over a few as a number."""
    more = len(names) - _NAMES
    return ", ".join([*names[:_NAMES], *[f"{more} more"] * (more > 0)])


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


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _show(lines: Sequence[str]) -> None:
    if lines:
        logger.info("%s", "\n".join(lines))
