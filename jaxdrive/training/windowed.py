"""Does a network follow the driver? Errors of means over windows of time, beside "straight on".

A driver at a keyboard steers in presses of a few frames and leaves the wheel alone in between, so
the label of a single frame says little. The mean over a second says how the heading changed, which
is what driving takes. A perfect smooth driver has a small windowed error on such labels, and by
single frames up to twice the absolute error of a driver who never steers.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdrive.data.dataset import Dataset
from jaxdrive.errors import UserError
from jaxdrive.heads import Head, best_by_of, controls
from jaxdrive.logs import plural

WINDOWS = (1.0, 2.0)
# A longer time without frames ends a window's run: a border of blocks, or a pause.
_PAUSE = 0.5
# Share of a window's time that frames have to cover.
_COVERED = 0.5
# Seconds of windows that are drawn together for an interval: bends last longer than blocks.
STRETCH = 10.0
# Of fewer stretches an interval would say next to nothing.
LEAST_STRETCHES = 5
_RESAMPLES = 2000
_INTERVAL = (5, 95)
# What `score` cannot say without windows.
_MEASURED = (
    *("rmse", "straight_on", "ratio", "interval"),
    *("constant", "constant_ratio", "constant_interval"),
    *("r2", "correlation"),
)


@dataclasses.dataclass(frozen=True)
class Means:
    """Means over windows, in order of time.

    Attributes:
      labels: As recorded, float64 [w].
      predictions: In the label's unit, float64 [w].
      units: The stretch of about 10 s that each window is of, int64 [w], ascending.
    """

    labels: np.ndarray
    predictions: np.ndarray
    units: np.ndarray


def turning(heads: Mapping[str, Head]) -> list[str]:
    """The heads that turn the car: those whose label changes its sign in a mirrored image."""
    return [name for name, head in heads.items() if head.mirror < 0]


def windowed_scores(
    heads: Mapping[str, Head], dataset: Dataset, ids: np.ndarray, predictions: Mapping[str, Any]
) -> dict[str, list[dict[str, Any]]]:
    """By head that turns the car, its errors over windows of every length of `WINDOWS`.

    Args:
      heads: By name.
      dataset: Of the frames.
      ids: Records of one split and camera, int32 [n].
      predictions: By head name, in the range of its target, float32 [n].

    Returns:
      By head name, see `score`, with "seconds".
    """
    return {
        name: [
            {"seconds": seconds}
            | score(
                window_means(
                    dataset,
                    ids,
                    dataset.labels[heads[name].label][ids],
                    controls(heads[name], predictions[name]),
                    seconds,
                )
            )
            for seconds in WINDOWS
        ]
        for name in turning(heads)
    }


def window_means(
    dataset: Dataset, ids: np.ndarray, labels: np.ndarray, predictions: np.ndarray, seconds: float
) -> Means:
    """Means of labels and predictions over windows that cross neither a pause nor a session.

    Args:
      dataset: Of the frames.
      ids: Records, int32 [n].
      labels: In their unit, [n].
      predictions: In the same unit, [n].
      seconds: Length of a window.
    """
    found: list[tuple[float, float]] = []
    units: list[int] = []
    for session in dict.fromkeys(dataset.sessions[ids].tolist()):
        own = np.flatnonzero(dataset.sessions[ids] == session)
        own = own[np.argsort(dataset.times[ids[own]], kind="stable")]
        times = dataset.times[ids[own]]
        first = (units[-1] + 1) if units else 0
        windows = _windows(times, seconds)
        found += [
            (labels[own[rows]].mean(dtype=float), predictions[own[rows]].mean(dtype=float))
            for rows in windows
        ]
        per_unit = max(1, round(STRETCH / seconds))
        # What is left over at the end of a session belongs to its last whole stretch.
        last = max(len(windows) // per_unit - 1, 0)
        units += [first + min(number // per_unit, last) for number in range(len(windows))]
    pairs = np.array(found).reshape(-1, 2)
    return Means(pairs[:, 0], pairs[:, 1], np.array(units, np.int64))


def _windows(times: np.ndarray, seconds: float) -> list[np.ndarray]:
    """The frames of every window that frames cover well enough; times ascend."""
    gaps = np.diff(times)
    interval = float(np.median(gaps)) if len(gaps) else 0.0
    # A slow camera does not pause between its frames.
    pauses = np.flatnonzero(gaps > max(_PAUSE, 2.5 * interval)) + 1
    least = max(1.0, _COVERED * seconds / interval) if interval else 1.0
    windows = []
    for run in np.split(np.arange(len(times)), pauses):
        if not len(run):
            continue
        numbers = np.floor((times[run] - times[run[0]]) / seconds)
        cuts = np.flatnonzero(np.diff(numbers)) + 1
        windows += [rows for rows in np.split(run, cuts) if len(rows) >= least]
    return windows


def score(means: Means) -> dict[str, Any]:
    """How well predictions follow labels over windows.

    Returns:
      {"windows", "stretches": how many intervals are drawn from, "rmse", "straight_on": the error
      of always 0, "ratio" of the two: below 1 is better than straight on, "interval": of the ratio,
      90 %, "constant": the error of the best constant, the mean of these labels, "constant_ratio"
      and "constant_interval" as above, "r2", "correlation"}. What is not known is None: everything
      without windows, what divides by 0 where all labels are 0 or alike, and intervals of fewer
      than `LEAST_STRETCHES` stretches.
    """
    if not len(means.labels):
        return {"windows": 0, "stretches": 0} | dict.fromkeys(_MEASURED)
    centred = means.labels - means.labels.mean()
    errors = np.square(means.labels - means.predictions)
    straight, constant = np.square(means.labels), np.square(centred)
    spread = means.labels.std() * means.predictions.std()
    covariance = np.mean(centred * (means.predictions - means.predictions.mean()))
    return {
        "windows": len(errors),
        "stretches": len(np.unique(means.units)),
        "rmse": float(np.sqrt(errors.mean())),
        "straight_on": float(np.sqrt(straight.mean())),
        "ratio": _ratio(errors, straight),
        "interval": _interval(errors, straight, means.units),
        "constant": float(np.sqrt(constant.mean())),
        "constant_ratio": _ratio(errors, constant),
        "constant_interval": _interval(errors, constant, means.units),
        "r2": float(1 - errors.mean() / constant.mean()) if constant.any() else None,
        "correlation": float(covariance / spread) if spread > 1e-12 else None,
    }


def _ratio(errors: np.ndarray, others: np.ndarray) -> float | None:
    return float(np.sqrt(errors.sum() / others.sum())) if others.any() else None


def _interval(errors: np.ndarray, others: np.ndarray, units: np.ndarray) -> list[float] | None:
    """The 90 % interval of the ratio: stretches of windows are drawn with replacement."""
    _, unit = np.unique(units, return_inverse=True)
    count = unit.max() + 1
    if count < LEAST_STRETCHES or not others.any():
        return None
    sums = np.stack([np.bincount(unit, weights=values) for values in (errors, others)], 1)
    drawn = np.random.default_rng(0).integers(0, count, (_RESAMPLES, count))
    above, below = sums[drawn].sum(axis=1).T
    ratios = np.sqrt(above / np.where(below > 0, below, np.nan))
    low, high = np.nanpercentile(ratios, _INTERVAL)
    return [float(low), float(high)]


def check_windows(
    best_by: str, heads: Mapping[str, Head], dataset: Dataset, ids: np.ndarray
) -> None:
    """Checks before training that the windowed error can choose the best checkpoint, if it is to.

    Args:
      best_by: `config.best_by`.
      heads: By name.
      dataset: To measure on.
      ids: Its validation records of the camera that drives, int32 [n].

    Raises:
      UserError: The validation frames have no windows, or windows whose labels are all alike.
    """
    name, measure = best_by_of(best_by, heads)
    if name is None or measure != "windowed":
        return
    labels = dataset.labels[heads[name].label][ids]
    found = score(window_means(dataset, ids, labels, labels, WINDOWS[0]))
    if found["r2"] is None:
        count = found["windows"]
        raise UserError(
            f"config.best_by={best_by!r} cannot choose a checkpoint: it needs windows of"
            f" {WINDOWS[0]:g} s whose labels {heads[name].label!r} differ, and the {len(ids):,}"
            f" validation frames have {plural(count, 'window')}"
            f"{' with one label' * (count > 1)}. Record more, raise"
            " config.data.split.validation or block_seconds, or choose by single frames with"
            f" --config.best_by={name}:natural"
        )


def logged(head: str, one: Mapping[str, Any]) -> dict[str, float | None]:
    """What is logged of a head's windows while training, by the keys of metrics.jsonl."""
    low, high = one["interval"] or (None, None)
    values = {name: one[name] for name in ("ratio", "r2", "windows", "stretches")}
    return {
        f"validation/{head}/windowed_{name}": value
        for name, value in (values | {"low": low, "high": high}).items()
    }


def from_logged(head: str, line: Mapping[str, Any]) -> dict[str, Any] | None:
    """What `ratio_text` reads, of a line of metrics.jsonl; None where nothing was logged."""
    prefix = f"validation/{head}/windowed_"
    if f"{prefix}stretches" not in line:
        return None
    low, high = line[f"{prefix}low"], line[f"{prefix}high"]
    return {
        "seconds": WINDOWS[0],
        "windows": int(line[f"{prefix}windows"]),
        "stretches": int(line[f"{prefix}stretches"]),
        "ratio": line[f"{prefix}ratio"],
        "interval": None if low is None else [low, high],
    }


def ratio_text(one: Mapping[str, Any]) -> str:
    """The error of one length of windows beside straight on, or why there is none.

    "0.59 of straight on (90 % interval 0.50 to 0.70, 14 stretches of 10 s)"
    """
    if not one["windows"]:
        return f"unknown: these images cover no window of {one['seconds']:g} s"
    if one["ratio"] is None:
        return "unknown: the driver never steered in these windows"
    return f"{one['ratio']:.2f} of straight on ({interval_text(one)})"


def interval_text(one: Mapping[str, Any]) -> str:
    """The interval of the ratio and what it is drawn from; why there is none."""
    count = one["stretches"]
    stretches = f"{count} stretch{'es' * (count != 1)} of {STRETCH:g} s"
    if one["interval"] is None:
        return f"no interval: {stretches}, of at least {LEAST_STRETCHES}"
    low, high = one["interval"]
    return f"90 % interval {low:.2f} to {high:.2f}, {stretches}"


def lines(scores: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Lines of text: how well each head follows the driver."""
    texts = []
    for name, found in scores.items():
        for one in found:
            text = f"{name}, means over {one['seconds']:g} s: {ratio_text(one)}"
            if one["ratio"] is not None:
                text += (
                    f", error {one['rmse']:.3f}, R2 {_text(one['r2'])}, correlation"
                    f" {_text(one['correlation'])}"
                )
            texts.append(text)
    return texts


def _text(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"
