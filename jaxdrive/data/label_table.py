"""Joins what recordings say of their frames to stored images: the label table of a dataset.

Labels, splits, folds, gaps and bad rows are decided here, for which no image is read.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from jaxdrive.data import bad_rows
from jaxdrive.data.frames import LABEL, BadRow, Session
from jaxdrive.data.split import SplitRule, splits_of
from jaxdrive.data.store import DamageError, Store, read_index, remedy


@dataclasses.dataclass(frozen=True)
class Labels:
    """The label table of a dataset.

    Attributes:
      table: A row for every frame: "session", "split", "time" (float64), "camera", "origin",
        "store" (place in the dataset's list of stores), "record" (place in that store), and
        "label/NAME" (float32) for each label.
      bad: Rows of which no frame can be made, session by session.
      records: By session, its number of frames.
      bad_counts: By session, its number of bad rows.
    """

    table: pa.Table
    bad: Sequence[BadRow]
    records: Sequence[int]
    bad_counts: Sequence[int]


def build_labels(
    sessions: Sequence[Session], stores: Sequence[Store], rule: SplitRule, *, on_bad: str
) -> Labels:
    """Makes the label table of sessions.

    Args:
      sessions: In order.
      stores: By session, its store; sessions may share one.
      rule: How they are split.
      on_bad: "skip" leaves bad rows out, "fail" refuses them.

    Raises:
      UserError: A row is bad and `on_bad` is "fail"; or sessions cannot be split by the rule.
      DamageError: A store does not have the images of its session.
    """
    numbers = {store.path: number for number, store in enumerate(unique(stores))}
    rows = [
        bad_rows.with_label_faults(_joined(session, store))
        for session, store in zip(sessions, stores, strict=True)
    ]
    if on_bad == "fail":
        for session, own in zip(sessions, rows, strict=True):
            bad_rows.refuse_bad(session, own)
    good = [own.filter(own["reason"].is_null()) for own in rows]
    splits = splits_of(sessions, [own["time"].to_numpy() for own in good], rule)
    tables = [
        _table(session, numbers[store.path], own, split)
        for session, store, own, split in zip(sessions, stores, good, splits, strict=True)
        if own.num_rows
    ]
    bad = [bad_rows.bad_rows_of(own) for own in rows]
    return Labels(
        table=pa.concat_tables(tables) if tables else pa.table({}),
        bad=[row for own in bad for row in own],
        records=[own.num_rows for own in good],
        bad_counts=[len(own) for own in bad],
    )


def unique(stores: Iterable[Store]) -> list[Store]:
    """Stores without repetition, in order."""
    return list({store.path: store for store in stores}.values())


def _joined(session: Session, store: Store) -> pa.Table:
    """The entries of a session with the record of each, and why there is none."""
    index = read_index(store)
    entries = session.entries
    if entries is None:
        if index.num_rows:
            return index
        # Not one row: nothing tells the names of the labels.
        nothing = {"origin": pa.string(), "time": pa.float64(), "reason": pa.string()}
        return pa.table({name: pa.array([], kind) for name, kind in nothing.items()})
    good = entries["reason"].is_null().to_numpy()
    if good.sum() != index.num_rows:
        raise DamageError(
            f"damaged dataset: {store.path} has {index.num_rows:,} images of session"
            f" {session.name}, which needs {good.sum():,}: {remedy(store.path)}"
        )
    records = np.full(entries.num_rows, -1)
    records[good] = index["record"].fill_null(-1).to_numpy()
    rows = entries.append_column("record", pa.array(records, mask=records < 0))
    for name in ("reason", "detail"):
        rows = bad_rows.replaced(rows, name, good, index[name].combine_chunks())
    return rows


def _table(session: Session, store: int, rows: pa.Table, splits: np.ndarray) -> pa.Table:
    """The label table of one session's good rows."""
    count = rows.num_rows
    columns = {
        "session": pa.array([session.name] * count, pa.string()),
        "split": pa.array(splits, pa.string()),
        "time": rows["time"],
        "camera": rows["camera"],
        "origin": rows["origin"],
        "store": pa.array([store] * count, pa.int32()),
        "record": rows["record"],
    }
    labels = {
        name: rows[name].cast(pa.float32(), safe=False)
        for name in rows.column_names
        if name.startswith(LABEL)
    }
    return pa.table(columns | labels)


def used_rows(rows: pa.Table, table: pa.Table, bad: Iterable[BadRow]) -> pa.Table:
    """The recordings' rows with what became of them: frames kept, their split, what was left out.

    Args:
      rows: As found, see `Session.rows`.
      table: The label table.
      bad: Rows of which no frame can be made.
    """
    kept: dict[str, int] = {}
    splits: dict[str, str] = {}
    left_out: dict[str, list[str]] = {}
    for origin, split in zip(table["origin"].to_pylist(), table["split"].to_pylist(), strict=True):
        row = origin.rpartition(", ")[0]
        kept[row] = kept.get(row, 0) + 1
        splits[row] = split
    for entry in bad:
        row, _, camera = entry.origin.rpartition(", ")
        left_out.setdefault(row, []).append(f"{camera}: {entry.reason}")
    origins = rows["origin"].to_pylist()
    reasons = ["; ".join(left_out.get(origin, [])) for origin in origins]
    return (
        rows.append_column("frames", pa.array([kept.get(origin, 0) for origin in origins]))
        .append_column("split", pa.array([splits.get(origin, "") for origin in origins]))
        .append_column("left_out", pa.array(reasons))
    )


def label_names(table: pa.Table) -> list[str]:
    """Names of the labels of a label table."""
    return [name.removeprefix(LABEL) for name in table.column_names if name.startswith(LABEL)]


def split_counts(table: pa.Table, splits: Sequence[str]) -> Mapping[str, int]:
    """By split, its number of frames."""
    found = table["split"].to_pylist()
    return {split: found.count(split) for split in splits}
