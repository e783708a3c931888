"""A prepared dataset as one page that opens anywhere: `inspect.html`.

What there is to show comes from inspect.py and inspect_plots.py; how a page is made, from page.py.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath
from matplotlib.figure import Figure
from PIL import Image

from jaxdrive.data import bad_rows
from jaxdrive.data.dataset import Dataset
from jaxdrive.data.split import GAP, SPLITS
from jaxdrive.evaluation import page, wording

PAGE = "inspect.html"
# Rows of the list of bad rows, which may be of any length; all of them are in the manifest.
_LISTED = 500


def write(
    target: epath.Path,
    dataset: Dataset,
    *,
    nearness: Sequence[str],
    sheets: Mapping[str, np.ndarray],
    pairs: Mapping[str, np.ndarray],
    histograms: Mapping[str, Figure],
    timeline: Figure,
    bad: Figure | None,
    balance: Sequence[str],
) -> None:
    """Fills the page.

    Args:
      target: The page.
      dataset: That is shown.
      nearness: What is known of the distance between splits.
      sheets: By split, a contact sheet of its frames, uint8 [rows, columns, 3].
      pairs: By camera, frames as recorded above the same as the train step sees them.
      histograms: By head.
      timeline: Of the sessions.
      bad: Reasons of bad rows, where there are any.
      balance: The plan as lines of text.
    """
    manifest = dataset.manifest
    listed = manifest["bad_rows"]["list"]
    duplicates = [row for row in listed if row["reason"] == bad_rows.DUPLICATE]
    others = [row for row in listed if row["reason"] != bad_rows.DUPLICATE]
    content = {
        "name": manifest["source"],
        "manifest": manifest,
        "path": str(dataset.path),
        "facts": _facts(dataset),
        "splits": SPLITS,
        "counts": _counts(dataset),
        "labels": _labels(dataset),
        "nearness": nearness,
        "sheets": {split: _png(sheet) for split, sheet in sheets.items()},
        "pairs": {camera: _png(sheet) for camera, sheet in pairs.items()},
        "histograms": {name: page.picture(figure) for name, figure in histograms.items()},
        "timeline": page.picture(timeline),
        "bad": None if bad is None else page.picture(bad),
        "bad_rows": _list(others),
        "duplicates": _list(duplicates),
        "balance": "\n".join(balance),
    }
    page.write(target, "inspect.html.j2", content)


def _facts(dataset: Dataset) -> list[tuple[str, str]]:
    manifest = dataset.manifest
    height, width, _ = dataset.image_shape
    return [
        ("pictures", f"{len(dataset.splits):,} of {height} x {width} (rows x columns)"),
        ("sessions", f"{len(manifest['sessions']):,}"),
        ("cameras", ", ".join(np.unique(dataset.cameras).tolist())),
        ("in the gaps between splits", f"{len(dataset.ids(GAP)):,}"),
        ("bad rows left out", f"{manifest['bad_rows']['count']:,}"),
        ("on disk", wording.size(dataset.size)),
        ("shards", f"{sum(len(store.shards) for store in dataset.stores):,}"),
        ("source", manifest["source"]),
        ("fingerprint", manifest["fingerprint"]),
    ]


def _counts(dataset: Dataset) -> list[tuple[str, list[str]]]:
    """Rows of a table: frames by camera, then sessions, for every split."""
    of = {split: dataset.splits == split for split in SPLITS}
    rows = [("all frames", [f"{mask.sum():,}" for mask in of.values()])]
    for camera in np.unique(dataset.cameras):
        seen = dataset.cameras == camera
        rows.append((f"{camera} camera", [f"{(mask & seen).sum():,}" for mask in of.values()]))
    sessions = [f"{len(np.unique(dataset.sessions[mask])):,}" for mask in of.values()]
    return [*rows, ("sessions", sessions)]


def _labels(dataset: Dataset) -> list[tuple[str, list[str]]]:
    return [
        (name, [f"{value:.4g}" for value in (values.min(), values.mean(), values.max())])
        for name, values in sorted(dataset.labels.items())
    ]


def _list(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"count": len(rows), "shown": rows[:_LISTED], "more": max(0, len(rows) - _LISTED)}


def _png(image: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
