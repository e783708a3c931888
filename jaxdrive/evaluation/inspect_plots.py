"""The pictures of a dataset: contact sheets of frames and batches, sessions over time, bad rows.

Nothing here writes a file; which pictures there are and where they go is left to `inspect.py`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jaxdrive.data.dataset import Dataset
from jaxdrive.data.frames import DRIVING_CAMERA
from jaxdrive.data.loader import Examples
from jaxdrive.data.split import SPLITS
from jaxdrive.evaluation.plots import HEAD_COLOURS, RUN_COLOUR
from jaxdrive.evaluation.replay import Replayed
from jaxdrive.heads import controls
from jaxdrive.training.contact_sheet import contact_sheet

_FRAMES = 24
_FRAME_COLUMNS = 6
# Rows of a batch on one sheet.
_ROWS = 64
_ROW_COLUMNS = 8
_SESSIONS = 24
# Frames of a camera that are shown before and after augmentation.
_PAIRS = 4
RECORDED, LEARNED = "label, as recorded", "what is learned"
_WHAT_IS_LEARNED = (
    "What is learned: the label, smoothed or led where its head says so, with the camera's"
)


def frames_sheet(examples: Examples, split: str) -> np.ndarray:
    """Frames of one split, evenly spread over its sessions and cameras, with their labels.

    What is learned of a frame is drawn as well where it differs: from a camera at the side, or
    beyond a head's range.

    Returns:
      uint8 [rows, columns, 3].
    """
    dataset, heads = examples.dataset, examples.heads
    ids = dataset.ids(split)
    chosen = spread_over_sessions(dataset, ids, count=_FRAMES)
    recorded = {name: dataset.labels[head.label][chosen] for name, head in heads.items()}
    learned = {
        name: controls(heads[name], values)
        for name, values in examples.targets(chosen, list(heads)).items()
    }
    values = {RECORDED: recorded}
    title = [f"{len(chosen)} of {len(ids):,} {split} frames, evenly spread over sessions"]
    if any(not np.allclose(recorded[name], learned[name], atol=1e-6) for name in heads):
        values[LEARNED] = learned
        title.append(f"{_WHAT_IS_LEARNED} correction, cut to the head's range.")
    captions = [
        [
            f"record {record}, {dataset.cameras[record]} camera",
            f"{_session(dataset, record)}{dataset.times[record]:.1f} s",
        ]
        for record in chosen
    ]
    images = examples.reader.read(chosen)
    return contact_sheet(images, captions, values, heads, title=title, columns=_FRAME_COLUMNS)


def _session(dataset: Dataset, record: int) -> str:
    """The session's name before a time; nothing where the recording is one session alone."""
    name = str(dataset.sessions[record])
    return "" if name == "." else f"{name}, "


def spread_over_sessions(dataset: Dataset, ids: np.ndarray, *, count: int) -> np.ndarray:
    """At most `count` of the records `ids`: sessions alike, cameras in turn, evenly in time."""
    sessions = dataset.sessions[ids]
    names, first = np.unique(sessions, return_index=True)
    names = names[np.argsort(first)]
    shown = names[np.linspace(0, len(names) - 1, min(count, len(names))).round().astype(int)]
    chosen = []
    for name, places in zip(shown, np.array_split(np.arange(count), len(shown)), strict=True):
        own = ids[sessions == name]
        cameras = np.unique(dataset.cameras[own])
        for place in places:
            seen = own[dataset.cameras[own] == cameras[place % len(cameras)]]
            chosen.append(seen[(2 * (place - places[0]) + 1) * len(seen) // (2 * len(places))])
    return np.unique(np.asarray(chosen, np.int32))


def batch_sheets(
    examples: Examples, head: str, part: Replayed, *, position: int
) -> Iterator[np.ndarray]:
    """The whole batch of one head, as sheets of `_ROWS` rows: each uint8 [rows, columns, 3]."""
    dataset = examples.dataset
    for start in range(0, len(part.records), _ROWS):
        rows = range(start, min(start + _ROWS, len(part.records)))
        captions = [
            [
                f"record {part.records[row]}, {dataset.cameras[part.records[row]]} camera",
                part.changes[row],
            ]
            for row in rows
        ]
        values = {
            RECORDED: {name: labels[rows] for name, labels in part.recorded.items()},
            LEARNED: {name: labels[rows] for name, labels in part.learned.items()},
        }
        title = [
            f"Batch {position} of {head}, rows {rows[0]} to {rows[-1]} of {len(part.records)}:"
            " pictures as the train step sees them",
            f"{_WHAT_IS_LEARNED} correction and the changes, cut to the head's range."
            " Shift: pixels to the right / down.",
        ]
        yield contact_sheet(
            part.images[rows], captions, values, examples.heads, title=title, columns=_ROW_COLUMNS
        )


def camera_pairs(examples: Examples, part: Replayed) -> dict[str, np.ndarray]:
    """By camera, frames of a batch as recorded, and below them as the train step sees them.

    Returns:
      By camera, uint8 [rows, columns, 3].
    """
    dataset = examples.dataset
    sheets = {}
    for camera in np.unique(dataset.cameras[part.records]):
        rows = np.flatnonzero(dataset.cameras[part.records] == camera)[:_PAIRS]
        records = part.records[rows]
        recorded = {name: labels[rows] for name, labels in part.recorded.items()}
        learned = {name: labels[rows] for name, labels in part.learned.items()}
        before = contact_sheet(
            examples.reader.read(records),
            [[f"record {record}"] for record in records],
            {RECORDED: recorded},
            examples.heads,
            title=["Before: as recorded"],
            columns=_PAIRS,
        )
        after = contact_sheet(
            part.images[rows],
            [[part.changes[row]] for row in rows],
            {RECORDED: recorded, LEARNED: learned},
            examples.heads,
            title=["After: as the train step sees them"],
            columns=_PAIRS,
        )
        sheets[str(camera)] = np.concatenate([before, after])
    return sheets


def timeline(dataset: Dataset) -> Figure:
    """Every label over time, a row for each session, coloured by split, as one camera saw it."""
    camera = DRIVING_CAMERA if DRIVING_CAMERA in dataset.cameras else min(dataset.cameras)
    seen = np.flatnonzero(dataset.cameras == camera)
    names = list(dict.fromkeys(dataset.sessions[seen].tolist()))
    shown = [names[i] for i in np.unique(np.linspace(0, len(names) - 1, _SESSIONS).astype(int))]
    labels = sorted(dataset.labels)
    figure = Figure(figsize=(1.6 + 3 * len(labels), 1.3 + 0.8 * len(shown)))
    grid = figure.subplots(len(shown), len(labels), sharex=True, sharey="col", squeeze=False)
    for row, session in zip(grid, shown, strict=True):
        own = seen[dataset.sessions[seen] == session]
        for axes, label in zip(row, labels, strict=True):
            for split, colour in zip(SPLITS, HEAD_COLOURS, strict=False):
                # Not a number where another split's block lies, so that the line breaks there.
                values = np.where(dataset.splits[own] == split, dataset.labels[label][own], np.nan)
                axes.plot(dataset.times[own], values, color=colour, linewidth=1, label=split)
        row[0].set_ylabel(session, rotation=0, ha="right", va="center")
    for axes, label in zip(grid[0], labels, strict=True):
        axes.set_title(label)
    for axes in grid[-1]:
        axes.set_xlabel("seconds since the session's start")
    left_out = f" ({len(shown)} of {len(names)})" if len(shown) < len(names) else ""
    figure.suptitle(f"Labels as recorded, session by session{left_out}", x=0.01, ha="left")
    handles, texts = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside lower center", ncols=len(SPLITS))
    return figure


def bad_rows(bad: Mapping[str, Any]) -> Figure:
    """A bar for every reason why rows of the recordings were left out."""
    reasons = sorted(bad["reasons"].items(), key=lambda item: item[1])
    figure = Figure(figsize=(7, 1.4 + 0.35 * len(reasons)))
    axes = figure.subplots()
    bars = axes.barh([reason for reason, _ in reasons], [n for _, n in reasons], color=RUN_COLOUR)
    axes.bar_label(bars, padding=3)
    axes.grid(visible=False)
    axes.set_title(f"{bad['count']:,} rows of the recordings left out, by reason")
    axes.set_xlabel("rows")
    return figure
