"""The pictures of a comparison: learning curves laid over each other, and results side by side.

As in plots.py, every function is pure and returns one figure; draw and save inside `plots.style`.
A run has one colour in all pictures. Runs are the dicts that `compare.compare` tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator

from jaxdrive.evaluation import plots
from jaxdrive.evaluation.results import Json
from jaxdrive.evaluation.wording import SOLVED_SCORE

# The palette of plots.py, black, and a purple that is told apart from all of them.
COLOURS = (*plots.HEAD_COLOURS, "#000000", "#6A3D9A")

# Below this a skill is drawn at the border: how bad a useless head is, is of no interest.
_LOWEST_SKILL = -1.0
_X_AXES = {"step": "training step", "samples": "samples drawn by each head"}


def run_colours(names: Sequence[str]) -> dict[str, str]:
    """One colour per run; from the ninth run on they repeat."""
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}


def learning_curves(
    runs: Sequence[Json], heads: Mapping[str, Json], lines: Mapping[str, plots.Lines], *, x: str
) -> Figure:
    """A row per head: skill as recorded, balanced skill, and error in the label's unit.

    Args:
      runs: To draw.
      heads: By name, its unit.
      lines: By the run's name, its metrics.
      x: "step", or "samples" that each head has drawn, for runs of different batch sizes.
    """
    figure = Figure(figsize=(11.8, 3.0 * len(heads) + 0.9))
    colours = run_colours([run["name"] for run in runs])
    for row, (head, about) in zip(
        figure.subplots(len(heads), 3, squeeze=False), heads.items(), strict=True
    ):
        for run in runs:
            if head in run["heads"]:
                curves = _Curves(run, head, lines[run["name"]], colours[run["name"]], x)
                curves.draw(row[0], "skill", thin=True)
                curves.draw(row[1], "balanced_skill", thin=False)
                curves.draw(row[2], "mse", thin=True)
        for axes, title in zip(row, _titles(head), strict=True):
            axes.set_title(title)
            axes.set_xlabel(_X_AXES[x])
            axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            axes.set_xlim(left=0)
        for axes in row[:2]:
            # The first steps are often far below the constant; they must not flatten the rest.
            _fit_y(axes, percentiles=(5, 100), lowest=_LOWEST_SKILL)
            axes.axhline(0, color="black", linestyle="--", linewidth=1)
            axes.set_ylabel("skill (1 = no error)")
        _fit_y(row[2], percentiles=(0, 95), lowest=0.0)
        row[2].set_ylabel(f"error ({about['unit']})")
    _curves_legend(figure, colours)
    return figure


def _titles(head: str) -> tuple[str, str, str]:
    return (
        f"{head}: skill, frames as recorded",
        f"{head}: skill, balanced",
        f"{head}: error (root mean square)",
    )


class _Curves:
    """The curves of one head of one run."""

    def __init__(self, run: Json, head: str, lines: plots.Lines, colour: str, x: str) -> None:
        self._run, self._head, self._lines, self._colour = run, head, lines, colour
        self._samples = plots.series(lines, "train/samples_per_head") if x == "samples" else None

    def draw(self, axes: Axes, quantity: str, *, thin: bool) -> None:
        """Draws held-out values bold, with a mark at the checkpoint that is compared.

        Where `thin` says so, those of the training batches are drawn thin and pale behind them.
        """
        if thin:
            steps, values = self._series("train", quantity)
            axes.plot(self._x(steps), values, color=self._colour, linewidth=0.8, alpha=0.35)
        steps, values = self._series("validation", quantity)
        axes.plot(self._x(steps), values, color=self._colour, linewidth=2.0)
        if len(steps):
            chosen = np.asarray([float(self._run["step"])])
            value = np.interp(chosen, steps, values)
            axes.plot(self._x(chosen), value, "D", color=self._colour, markersize=5)

    def _series(self, part: str, quantity: str) -> tuple[plots.Floats, plots.Floats]:
        steps, values = plots.series(self._lines, f"{part}/{self._head}/{quantity}")
        if quantity == "mse":
            # It is in the range of the run's target, which another run may scale otherwise.
            values = np.sqrt(values) * self._run["heads"][self._head]["scale"]
        return steps, values

    def _x(self, steps: plots.Floats) -> plots.Floats:
        if self._samples is None or not len(self._samples[0]):
            return steps
        return np.interp(steps, *self._samples)


def _fit_y(axes: Axes, *, percentiles: tuple[float, float], lowest: float) -> None:
    """Shows what lies between two percentiles of all values: runs differ by little."""
    values = [value for curve in axes.lines for value in np.asarray(curve.get_ydata())]
    if not values:
        place: dict[str, Any] = {"transform": axes.transAxes, "ha": "center", "va": "center"}
        axes.text(0.5, 0.5, "nothing recorded", color=plots.INK, **place)
        return
    low, high = np.maximum(np.percentile(values, percentiles), lowest)
    margin = max(0.05 * (high - low), 0.01)
    axes.set_ylim(low - margin, high + margin)


def _curves_legend(figure: Figure, colours: Mapping[str, str]) -> None:
    look: dict[str, Any] = {"color": plots.INK}
    handles = [
        *(Line2D([], [], color=c, linewidth=2.0, label=name) for name, c in colours.items()),
        Line2D([], [], linewidth=2.0, label="bold: held-out frames", **look),
        Line2D([], [], linewidth=0.8, alpha=0.5, label="thin: training batches", **look),
        Line2D([], [], marker="D", linestyle="", label="checkpoint compared", **look),
        Line2D([], [], color="black", linestyle="--", linewidth=1, label="best constant"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 6))


def results(runs: Sequence[Json], heads: Mapping[str, Json]) -> Figure:
    """A column per head with every run's skills, and one for driving where any run was driven."""
    driven = [run for run in runs if run["driving"]]
    columns = len(heads) + bool(driven)
    figure = Figure(figsize=(11.8, 0.36 * len(runs) + 1.5))
    row = figure.subplots(1, columns, squeeze=False, sharey=True)[0]
    colours = run_colours([run["name"] for run in runs])
    for axes, head in zip(row, heads, strict=False):
        for place, run in enumerate(runs):
            if head in run["heads"]:
                _skill_dots(axes, place, run["heads"][head], colours[run["name"]])
        axes.axvline(0, color="black", linestyle="--", linewidth=1)
        axes.set_title(f"{head}: skill")
        axes.set_xlabel("1 = no error, 0 = best constant")
        axes.set_xlim(right=1.05)
    if driven:
        _scores(row[-1], runs, colours)
    for axes in row:
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
    row[0].set_yticks(range(len(runs)), [run["name"] for run in runs])
    row[0].set_ylim(len(runs) - 0.4, -0.6)
    dot: dict[str, Any] = {"marker": "o", "linestyle": "", "color": plots.INK}
    handles = [
        Line2D([], [], label="balanced", **dot),
        Line2D([], [], label="frames as recorded", markerfacecolor="white", **dot),
    ]
    if driven:
        label = "mean score ± standard deviation over tracks"
        handles.append(Line2D([], [], marker="s", color=plots.INK, label=label))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _skill_dots(axes: Axes, place: int, score: Json, colour: str) -> None:
    """A full dot for balanced, an open one for frames as recorded, a line between them."""
    points = {"balanced": colour, "natural": "white"}
    found = {k: s for k in points if (s := score[k]["skill"]) is not None and np.isfinite(s)}
    shown = {kind: max(_LOWEST_SKILL, skill) for kind, skill in found.items()}
    axes.plot(list(shown.values()), [place] * len(shown), color=colour, linewidth=1, alpha=0.5)
    for kind, skill in shown.items():
        marker = "o" if skill == found[kind] else "<"
        axes.plot(skill, place, marker, color=colour, markerfacecolor=points[kind], markersize=7)


def _scores(axes: Axes, runs: Sequence[Json], colours: Mapping[str, str]) -> None:
    for place, run in enumerate(runs):
        if run["driving"]:
            driving = run["driving"]
            look: dict[str, Any] = {"color": colours[run["name"]], "marker": "s", "capsize": 3}
            axes.errorbar(driving["mean"], place, xerr=driving["std"], **look)
    axes.axvline(SOLVED_SCORE, color="#B3261E", linestyle="--", linewidth=1.3)
    axes.set_title("driving: score")
    axes.set_xlabel(f"points; {SOLVED_SCORE:.0f} (dashed) = solved")
