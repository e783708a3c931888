"""Prints and draws a prepared dataset, and the batches that training makes of it.

What a batch is comes from `replay.py`, how pictures look from `inspect_plots.py`.
"""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath
from matplotlib.figure import Figure
from PIL import Image

from jaxdrive.bins import bin_index
from jaxdrive.data.balance import Plan
from jaxdrive.data.dataset import Dataset
from jaxdrive.data.inventory import PICTURES
from jaxdrive.data.loader import Examples
from jaxdrive.data.nearness import nearest_training, nearness_lines
from jaxdrive.data.split import SPLITS
from jaxdrive.data.views import targets_of
from jaxdrive.evaluation import balance_table, inspect_page, inspect_plots, plots, wording
from jaxdrive.evaluation.replay import Replayed, replay
from jaxdrive.heads import heads_from_config
from jaxdrive.training.parts import (
    balance_report,
    drawn_ids,
    make_examples,
    plans_of,
    supervise_of,
)

PAGE = inspect_page.PAGE

# Batches whose draws are counted, at most: enough to see the plan in them.
_BATCHES = 200
_BAD_ROWS = 10
_DOTS_PER_INCH = 120


def folder_for(dataset: Dataset, workdir: epath.Path | None) -> epath.Path:
    """Where pictures go: into the workdir, or without one beside the dataset."""
    if workdir is not None:
        return workdir / "inspect"
    return epath.Path(dataset.path.with_name(f"{dataset.path.name}{PICTURES}"))


def describe(dataset: Dataset) -> list[str]:
    """Lines of text: what the dataset holds and what was left out of it."""
    manifest = dataset.manifest
    size = wording.size(dataset.size)
    height, width, _ = dataset.image_shape
    of = {split: dataset.splits == split for split in SPLITS}
    rows = {"frames": [mask.sum() for mask in of.values()]}
    rows["sessions"] = [len(np.unique(dataset.sessions[mask])) for mask in of.values()]
    for camera in np.unique(dataset.cameras):
        rows[f"{camera} camera"] = [
            (mask & (dataset.cameras == camera)).sum() for mask in of.values()
        ]
    lines = [
        f"Dataset {manifest['fingerprint']} in {dataset.path}",
        f"{len(dataset.splits):,} pictures of {height} x {width} (rows x columns), {size}",
        "",
        f"{'':16}" + "".join(f"{split:>12}" for split in SPLITS),
        *(f"{name:16}" + "".join(f"{n:12,}" for n in counts) for name, counts in rows.items()),
        "",
        f"{'label':16}{'lowest':>12}{'mean':>12}{'highest':>12}",
        *(
            f"{name:16}{values.min():12.4g}{values.mean():12.4g}{values.max():12.4g}"
            for name, values in sorted(dataset.labels.items())
        ),
        "",
    ]
    near = [f"Held out for {line}" for line in nearness_lines(nearest_training(dataset))]
    return [*lines, *near, "", *_bad_rows(manifest["bad_rows"])]


def _bad_rows(bad: Mapping[str, Any]) -> list[str]:
    if not bad["count"]:
        return ["Bad rows: none"]
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in bad["reasons"].items())
    shown = bad["list"][:_BAD_ROWS]
    lines = [f"Bad rows: {bad['count']:,} left out ({reasons})"]
    lines += [f"  {row['origin']}: {row['reason']} ({row['detail']})" for row in shown]
    if bad["count"] > len(shown):
        lines.append(f"  ... and {bad['count'] - len(shown):,} more, see manifest.json")
    return lines


def draw_batch(
    config: Mapping[str, Any], dataset: Dataset, folder: epath.Path, *, position: int
) -> list[str]:
    """Draws the batches of one position, `batch-POSITION-HEAD-SHEET.png`.

    Args:
      config: Of a run, with its durations in steps.
      dataset: To draw from.
      folder: Where pictures go.
      position: Number of the batch, from 0.

    Returns:
      Lines of text about them.

    Raises:
      UserError: Settings and data do not fit together.
    """
    examples = make_examples(config, dataset, heads_from_config(config["heads"]))
    batches = replay(config, dataset, position=position)
    _forget(folder, f"batch-{position}-*.png")
    for head, part in batches.items():
        sheets = inspect_plots.batch_sheets(examples, head, part, position=position)
        for number, sheet in enumerate(sheets, start=1):
            _write_image(folder / f"batch-{position}-{head}-{number}.png", sheet)
    return [
        f"Batch {position} as the train step sees it: {config['batch_size']} pictures for each of"
        f" {', '.join(batches)}",
        f"Schedules of changes stand at step {position}, as in a run that skipped no update",
    ]


def draw_dataset(config: Mapping[str, Any], dataset: Dataset, folder: epath.Path) -> list[str]:
    """Draws frames of every split and camera, labels of every head, sessions over time, bad rows.

    The page `inspect.html` holds all of it.

    Args:
      config: Of a run, with its durations in steps.
      dataset: To show.
      folder: Where pictures go.

    Returns:
      Lines of text: what there is in every bin of every head, and what is drawn of it.

    Raises:
      UserError: Settings and data do not fit together.
    """
    examples = make_examples(config, dataset, heads_from_config(config["heads"]))
    plans = plans_of(config, dataset, examples.heads)
    ids = drawn_ids(config, dataset)
    report = balance_report(config, examples, plans)
    count = min(_BATCHES, -(-len(ids) // config["batch_size"]))
    supervise, views = supervise_of(config), config["views"]
    drawn = draws(examples, plans, supervise=supervise, views=views, batches=count)
    for pattern in ("frames-*.png", "labels-*.png", "sessions.png", "bad-rows.png", "camera-*.png"):
        _forget(folder, pattern)
    sheets = {
        split: inspect_plots.frames_sheet(examples, split)
        for split in SPLITS
        if len(dataset.ids(split))
    }
    pairs = inspect_plots.camera_pairs(examples, _sideways(config, dataset, examples))
    for kind, images in (("frames", sheets), ("camera", pairs)):
        for name, image in images.items():
            _write_image(folder / f"{kind}-{name}.png", image)
    bad = dataset.manifest["bad_rows"]
    with plots.style():
        histograms = {
            name: plots.labels_recorded_and_drawn(report["heads"][name], drawn[name], name, colour)
            for name, colour in plots.head_colours(list(examples.heads)).items()
        }
        for name, figure in histograms.items():
            _write_figure(folder / f"labels-{name}.png", figure)
        timeline = inspect_plots.timeline(dataset)
        _write_figure(folder / "sessions.png", timeline)
        reasons = inspect_plots.bad_rows(bad) if bad["count"] else None
        if reasons is not None:
            _write_figure(folder / "bad-rows.png", reasons)
        lines = [
            f"Training draws from {len(ids):,} {balance_table.drawn_things(report)}; drawn: the"
            f" first {count:,} batches, before random changes",
            *balance_table.table(report, drawn),
        ]
        inspect_page.write(
            folder / inspect_page.PAGE,
            dataset,
            nearness=nearness_lines(nearest_training(dataset)),
            sheets=sheets,
            pairs=pairs,
            histograms=histograms,
            timeline=timeline,
            bad=reasons,
            balance=lines,
        )
    return lines


def _sideways(config: Mapping[str, Any], dataset: Dataset, examples: Examples) -> Replayed:
    """The first batch of the head that says left and right, or of the first head."""
    heads = examples.heads
    name = min(heads, key=lambda name: heads[name].mirror)
    return replay(config, dataset, position=0)[name]


def draws(
    examples: Examples, plans: Mapping[str, Plan], *, supervise: str, views: str, batches: int
) -> dict[str, list[int]]:
    """By head, how much of every bin it learns from in the first `batches` batches.

    Records are counted, or views: what `views` says that plans draw.
    """
    ids = {
        name: np.concatenate([plan.draw(position) for position in range(batches)])
        for name, plan in plans.items()
    }
    drawn, cameras = {}, examples.dataset.cameras
    for name, head in examples.heads.items():
        seen = ids[name] if supervise == "own" else np.concatenate(list(ids.values()))
        targets = targets_of({name: head}, examples.learned, cameras, seen, views=views)
        index = bin_index(head.bins, targets[name])
        drawn[name] = np.bincount(index, minlength=len(head.bins)).tolist()
    return drawn


def _forget(folder: epath.Path, pattern: str) -> None:
    """Removes what an earlier call drew, maybe of other heads or of another batch size."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob(pattern):
        path.unlink()


def _write_image(path: epath.Path, image: np.ndarray) -> None:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="png")
    path.write_bytes(buffer.getvalue())


def _write_figure(path: epath.Path, figure: Figure) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH)
    path.write_bytes(buffer.getvalue())
