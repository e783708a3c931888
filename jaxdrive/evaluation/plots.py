"""The pictures of the report: numbers as the run wrote them in, matplotlib figures out.

Every function here is pure: it reads no file and returns one `Figure`, drawn with matplotlib's
object interface, so that nothing is left behind in pyplot. `svg_data_uri` turns a figure into text
for the page. Which pictures the page shows, and what it says about them, is left to report.py.

Lines are the dicts of metrics.jsonl; a value that is missing, None or not finite is left out.
"""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from jaxdrive.evaluation import verdict
from jaxdrive.evaluation.wording import SOLVED_SCORE

Lines = Sequence[Mapping[str, Any]]
Floats = NDArray[np.float64]

# Okabe and Ito's palette (https://jfly.uni-koeln.de/color/) without black and yellow: told apart by
# colour-blind readers, and dark enough on white.
HEAD_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
RUN_COLOUR = "#4A6076"  # for what belongs to no head
INK = "#333333"
GREY = "#A8ADB3"

# Curves with more points than this are averaged down: more cannot be seen at the size of the page.
MAX_CURVE_POINTS = 300

_HEAD_SIZE = (3.9, 3.6)  # inches; a laptop shows three heads in a row
_RUN_SIZE = (5.8, 3.4)  # and two pictures of the whole run
_PARTS = {"train": "training", "validation": "held-out"}

_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "figure.constrained_layout.hspace": 0.06,
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.color": "#E4E6E8",
    "legend.columnspacing": 1.3,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "svg.hashsalt": "jaxdrive",  # the same numbers give the same file
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "xtick.color": INK,
    "xtick.labelsize": 8,
    "ytick.color": INK,
    "ytick.labelsize": 8,
}


def style() -> contextlib.AbstractContextManager[None]:
    """The look that all pictures share; draw and save figures inside it."""
    return matplotlib.rc_context(_STYLE)


def head_colours(heads: Sequence[str]) -> dict[str, str]:
    """One colour per head, the same in every picture; from the seventh head on they repeat."""
    return {head: HEAD_COLOURS[i % len(HEAD_COLOURS)] for i, head in enumerate(heads)}


def svg_data_uri(figure: Figure) -> str:
    """The figure as an SVG `data:` URI; text becomes outlines, so the reader needs no font."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def series(lines: Lines, key: str) -> tuple[Floats, Floats]:
    """Steps and values of `key` where it has a finite value, averaged down to MAX_CURVE_POINTS."""
    points = [(line["step"], line[key]) for line in lines if line.get(key) is not None]
    table = np.asarray(points, np.float64).reshape(-1, 2)
    table = table[np.isfinite(table).all(axis=1)]
    if len(table) > MAX_CURVE_POINTS:
        groups = np.array_split(table, MAX_CURVE_POINTS)
        table = np.stack([group.mean(axis=0) for group in groups])
    return table[:, 0], table[:, 1]


def track_scores(drive: Mapping[str, Any]) -> Figure:
    """A bar per track with its score, beside the mean and the score that counts as solved."""
    figure, axes = _figure(*_RUN_SIZE)
    tracks = drive["tracks"]
    for finished, colour, label in (
        (True, RUN_COLOUR, "lap finished"),
        (False, "white", "not finished"),
    ):
        bars = [(i, t["score"]) for i, t in enumerate(tracks) if bool(t["finished"]) is finished]
        if bars:
            axes.bar(*zip(*bars, strict=True), color=colour, edgecolor=RUN_COLOUR, label=label)
    _solved_line(axes)
    axes.axhline(drive["mean"], color="black", linewidth=1, label=f"mean ({drive['mean']:.0f})")
    _category_ticks(axes, [str(track["seed"]) for track in tracks], at_most=25)
    _describe(axes, title="Score per track", x="track (seed of the generator)", y="score (points)")
    _legend(figure)
    return figure


def scores_by_age(ages: Sequence[Mapping[str, Any]]) -> Figure:
    """Mean score and its standard deviation over tracks, for several checkpoints of one run."""
    figure, axes = _figure(*_RUN_SIZE)
    axes.errorbar(
        [age["step"] for age in ages],
        [age["mean"] for age in ages],
        yerr=[age["std"] for age in ages],
        color=RUN_COLOUR,
        marker="o",
        capsize=3,
        label="mean ± standard deviation over tracks",
    )
    _solved_line(axes)
    _describe_over_steps(axes, title="Score as training goes on", y="score (points)")
    _legend(figure)
    return figure


def learning_curves(lines: Lines, head: str, colour: str) -> Figure:
    """Squared error above skill against the training step, on training and on held-out frames.

    Skill on held-out frames is drawn twice: as recorded, and balanced over the bins of the label.
    """
    figure = Figure(figsize=(3.9, 5.4))
    error_axes, skill_axes = figure.subplots(2, 1)
    for axes, quantity in ((error_axes, "mse"), (skill_axes, "skill")):
        _train_and_held_out(axes, lines, f"{head}/{quantity}", colour)
    steps, balanced = series(lines, f"validation/{head}/balanced_skill")
    look: dict[str, Any] = {"color": colour, "marker": _marker(steps), "linewidth": 1.8}
    skill_axes.plot(steps, balanced, linestyle=":", label="held-out, balanced", **look)
    scale = _log_scale_if_positive(error_axes)
    y = f"mean squared error ({scale} scale)"
    _describe_over_steps(error_axes, title=f"{head}: squared error", y=y)

    constant = skill_axes.axhline(0, color="black", linestyle="--", linewidth=1)
    skills = [value for curve in skill_axes.lines[:-1] for value in np.asarray(curve.get_ydata())]
    # The first steps are often far below the constant; they must not flatten the rest.
    lowest = min(0.0, *np.percentile(skills, [5])) if skills else 0.0
    skill_axes.set_xlim(error_axes.get_xlim())
    skill_axes.set_ylim(max(-1.0, lowest) - 0.1, 1.05)
    if not skills:
        keys = [f"{part}/{head}/skill" for part in _PARTS]
        seen = [line[key] for line in lines for key in keys if key in line]
        _say(skill_axes, verdict.of_skill(seen[-1]).words if seen else "no skill recorded")
    _describe_over_steps(skill_axes, title=f"{head}: skill", y="skill (1 = no error)")
    constant.set_label("best constant")
    figure.legend(*skill_axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def over_steps(
    lines: Lines, key: str, *, title: str, y: str, factor: float = 1.0, log: bool = False
) -> Figure:
    """One number of the run against the training step; `factor` changes its unit (100 for %)."""
    figure, axes = _figure(5.8, 2.6)
    steps, values = series(lines, key)
    axes.plot(steps, values * factor, color=RUN_COLOUR, linewidth=1.4, marker=_marker(steps))
    if log:
        y = f"{y} ({_log_scale_if_positive(axes)} scale)"
    else:
        axes.set_ylim(bottom=0)
    if not len(values):
        _say(axes, "nothing recorded")
    _describe_over_steps(axes, title=title, y=y)
    return figure


def curves(
    values: Mapping[str, tuple[Floats, Floats]], colours: Mapping[str, str], *, title: str, y: str
) -> Figure:
    """Several curves over the training step, each (steps, values) by its name."""
    figure, axes = _figure(*_RUN_SIZE)
    for name, (steps, numbers) in values.items():
        axes.plot(steps, numbers, color=colours[name], marker=_marker(steps), label=name)
    _describe_over_steps(axes, title=title, y=y)
    _legend(figure)
    return figure


def labels_recorded_and_drawn(
    balance: Mapping[str, Any], drawn: Sequence[int] | None, head: str, colour: str
) -> Figure:
    """Share of the frames in each bin beside the share of the draws, with the plan as marks.

    Args:
      balance: the head's entry of balance.json: label, unit and bins.
      drawn: draws per bin over the whole run, in the order of the bins; None where not recorded.
      head: the head's name, for the title.
      colour: the head's colour.
    """
    figure, axes = _figure(*_HEAD_SIZE)
    _draw_labels(axes, balance, drawn, head, colour)
    _legend(figure)
    return figure


def labels_of_all_heads(balance: Mapping[str, Any]) -> Figure:
    """Recorded and planned labels of all heads, one below another, before anything is drawn.

    Args:
      balance: what balance.json holds.
    """
    heads = balance["heads"]
    figure = Figure(figsize=(2 * _HEAD_SIZE[0], 0.8 * _HEAD_SIZE[1] * len(heads)))
    rows = figure.subplots(len(heads), squeeze=False)[:, 0]
    for axes, head in zip(rows, heads, strict=True):
        _draw_labels(axes, heads[head], None, head, HEAD_COLOURS[0])
    handles, texts = rows[0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside lower center", ncols=4)
    return figure


def _draw_labels(
    axes: Axes, balance: Mapping[str, Any], drawn: Sequence[int] | None, head: str, colour: str
) -> None:
    bins = balance["bins"]
    places = np.arange(len(bins))
    axes.bar(
        places - 0.2, percentages([b["frames"] for b in bins]), 0.4, color=GREY, label="recorded"
    )
    planned = [100 * (b["planned_share"] or 0) for b in bins]
    if drawn is None:
        axes.bar(places + 0.2, planned, 0.4, color=colour, alpha=0.6, label="planned")
    else:
        axes.bar(places + 0.2, percentages(drawn), 0.4, color=colour, label="drawn")
        axes.plot(places + 0.2, planned, "_", color="black", markersize=6, label="planned")
    _category_ticks(axes, [b["text"] for b in bins])
    _describe(
        axes,
        title=f"{head}: labels as recorded and as {'planned' if drawn is None else 'drawn'}",
        x=f"{balance['label']} ({balance['unit']})",
        y="share of frames or draws (%)",
    )


def error_per_bin(evaluation: Mapping[str, Any], head: str, unit: str, colour: str) -> Figure:
    """Mean absolute error in each bin of the label, beside its two means.

    Args:
      evaluation: the head's entry of evaluation.json: natural, balanced and bins.
      head: the head's name, for the title.
      unit: the unit of the label as recorded, which is also the error's.
      colour: the head's colour.
    """
    figure, axes = _figure(*_HEAD_SIZE)
    bins = evaluation["bins"]
    errors = [np.nan if b["mae"] is None else b["mae"] for b in bins]
    axes.bar(np.arange(len(bins)), errors, 0.75, color=colour, label="bin")
    for part, dashes, label in (
        ("natural", "--", "mean of frames"),
        ("balanced", ":", "mean of bins"),
    ):
        if evaluation[part]["mae"] is not None:
            axes.axhline(evaluation[part]["mae"], color="black", linestyle=dashes, label=label)
    _category_ticks(axes, [b["text"] for b in bins])
    axes.set_ylim(bottom=0)
    _describe(
        axes,
        title=f"{head}: error by label",
        x=f"recorded label ({unit})",
        y=f"mean absolute error\n({unit})",
    )
    _legend(figure)
    return figure


def percentages(counts: Sequence[int]) -> Floats:
    """Each count as a percentage of their sum; zeros where the sum is zero."""
    values = np.asarray(counts, np.float64)
    shares: Floats = 100 * values / max(values.sum(), 1.0)
    return shares


def _train_and_held_out(axes: Axes, lines: Lines, quantity: str, colour: str) -> None:
    """Draws training thin and pale, held-out bold and marked: the second is the one to read."""
    looks: dict[str, dict[str, Any]] = {
        "train": {"linewidth": 1.0, "alpha": 0.45},
        "validation": {"linewidth": 1.8},
    }
    for part, label in _PARTS.items():
        steps, values = series(lines, f"{part}/{quantity}")
        marker = _marker(steps) if part == "validation" else ""
        axes.plot(steps, values, color=colour, marker=marker, label=label, **looks[part])


def _solved_line(axes: Axes) -> None:
    label = f"solved ({SOLVED_SCORE:.0f})"
    axes.axhline(SOLVED_SCORE, color="#B3261E", linestyle="--", linewidth=1.3, label=label)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots()


def _describe(axes: Axes, *, title: str, x: str, y: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def _describe_over_steps(axes: Axes, *, title: str, y: str) -> None:
    """As `_describe`, with few and short numbers on x (50k), so that large steps find room."""
    _describe(axes, title=title, x="training step", y=y)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _legend(figure: Figure) -> None:
    """Puts the legend below the axes, where it covers no data; one head alone needs none."""
    if any(axes.get_legend_handles_labels()[0] for axes in figure.axes):
        figure.legend(loc="outside lower center", ncols=4)


def _marker(steps: Floats) -> str:
    """Dots only on curves of few points, where they show how often the value was taken."""
    return "." if len(steps) <= 40 else ""


def _say(axes: Axes, words: str) -> None:
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", color=INK)


def _category_ticks(axes: Axes, texts: Sequence[str], at_most: int = 26) -> None:
    """Names the places 0, 1, ... on x; every k-th only where more than `at_most` would collide."""
    every = -(-len(texts) // at_most) or 1
    long = max(map(len, texts), default=0) > 3
    axes.set_xticks(range(0, len(texts), every), texts[::every], rotation=90 if long else 0)
    axes.set_xlim(-0.7, max(len(texts), 1) - 0.3)


def _log_scale_if_positive(axes: Axes) -> str:
    """Log scale with plain decimals, unless no value has a log; returns "log" or "linear"."""
    if not any((np.asarray(curve.get_ydata()) > 0).any() for curve in axes.lines):
        return "linear"
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    return "log"
