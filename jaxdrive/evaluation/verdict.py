"""What errors say of a head, in words: better than driving straight on, or not, or not settled.

The one place for these words: the console, the report and the comparison take them from here. Only
a head that turns the car, and whose windowed error (`training/windowed.py`) beats both straight on
and the best constant beyond its interval, is said to have learned. Imports no JAX.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jaxdrive.evaluation.wording import NO_SKILL
from jaxdrive.training import windowed

# Skill of a head that keeps to the best constant scatters within a few hundredths of zero.
CLEAR_SKILL = 0.30
WEAK_SKILL = 0.05

LEARNED = "learned: better than driving straight on"
TOO_FEW = "not settled: too few stretches for an interval"
INCLUDES_1 = "not settled: the interval includes 1"

WHY_WINDOWS = (
    "A driver at a keyboard steers in short presses, so the label of a single image says little."
    " The windowed error compares means over windows of time, which say how the heading changed."
    " It is given as a multiple of the error of driving straight on (always 0): below 1 is better."
)
WHY_INTERVALS = (
    f"The 90 % interval says how far a ratio holds for other stretches of {windowed.STRETCH:g} s"
    f" like these; it takes at least {windowed.LEAST_STRETCHES} of them. “Learned” is said only"
    " where the interval over the shortest window is below 1, beside straight on and also beside"
    " the best constant, which on a road that mostly turns to one side beats straight on without"
    " looking."
)
MORE_STRETCHES = (
    "For more stretches record more, or raise config.data.split.test: with a quarter of the blocks"
    f" for the test, {windowed.LEAST_STRETCHES} stretches take about four minutes of driving."
)
WHY_NOT_MAE = (
    "The mean absolute error (MAE) flatters doing nothing: the constant with the smallest MAE is"
    " the median, and of a driver at a keyboard most labels are exactly 0, so it is 0."
)
WHY_SKILL = (
    "Skill is R²: 1 is no error at all, 0 is no better than the best constant (the same answer to"
    " every image), below 0 is worse."
)
# Share of labels that are 0 from which their median is 0.
_MOST = 0.5


class Verdict(NamedTuple):
    """Plain words, and their level: "good", "fair", "poor" or "unknown", for their colour."""

    words: str
    level: str


# Of a run that was measured while training, at most.
NOT_EVALUATED = Verdict("not evaluated yet", "unknown")


def of_head(windows: Sequence[Mapping[str, Any]] | None, skill: float | None) -> Verdict:
    """What is said of an evaluated head.

    Args:
      windows: Of a head that turns the car, see `windowed.windowed_scores`; None for others.
      skill: 1 - mse / mse of the best constant, which is all there is to say of others; None where
        the label is constant, so that there is nothing to compare with.
    """
    return of_skill(skill) if windows is None else of_windows(windows[0])


def of_windows(one: Mapping[str, Any]) -> Verdict:
    """What the errors over one length of windows say, see `windowed.score`."""
    if not one["windows"]:
        return Verdict(f"not settled: too short for windows of {one['seconds']:g} s", "unknown")
    if one["ratio"] is None:
        return Verdict("not settled: the driver never steered", "unknown")
    if math.isnan(one["ratio"]):
        return Verdict("not a number: the training diverged", "poor")
    if one["interval"] is None:
        return Verdict(TOO_FEW, "unknown")
    low, high = one["interval"]
    if low >= 1:
        return Verdict("not better than driving straight on", "poor")
    if high >= 1:
        return Verdict(INCLUDES_1, "fair")
    # Evaluations of before this was measured do not have it.
    constant = one.get("constant_interval")
    if constant is None:
        return Verdict("not settled: not compared with the best constant", "unknown")
    if constant[0] >= 1:
        return Verdict("better than straight on, but not than the best constant", "poor")
    if constant[1] >= 1:
        return Verdict(f"{INCLUDES_1} beside the best constant", "fair")
    return Verdict(LEARNED, "good")


def of_skill(skill: float | None) -> Verdict:
    """What skill on single images says of a head that does not turn the car."""
    if skill is None:
        return Verdict(NO_SKILL, "unknown")
    if math.isnan(skill):
        return Verdict("not a number: the training diverged", "poor")
    if skill >= CLEAR_SKILL:
        return Verdict("better than the best constant", "good")
    if skill >= WEAK_SKILL:
        return Verdict("slightly better than the best constant", "fair")
    return Verdict("no better than the best constant", "poor")


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    """Lines of text: the verdict on every head of an evaluation, see `offline.evaluate`."""
    said = {
        name: of_head(result["windowed"].get(name), score["balanced"]["skill"])
        for name, score in result["heads"].items()
    }
    yield from (f"{name}: {one.words}" for name, one in said.items())
    if any(one.words == TOO_FEW for one in said.values()):
        yield MORE_STRETCHES


def mae_remarks(scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Why MAE flatters doing nothing, and of which heads' labels that is so.

    Args:
      scores: By head name, with "constant", see `metrics.constant_answer`; older ones lack it.
    """
    zeros = {name: one["constant"]["zeros"] for name, one in scores.items() if "constant" in one}
    told = [
        f"{share:.0%} of the labels of {n} are 0" for n, share in zeros.items() if share > _MOST
    ]
    return [WHY_NOT_MAE, *([f"Here {', '.join(told)}."] if told else [])]


def assumed_rate(manifest: Mapping[str, Any]) -> float | None:
    """Images a second that a dataset assumes of recordings without a clock; None of others."""
    settings = manifest["settings"]
    has_times = "time" in settings.get("features", {})
    if has_times or all(session["start"] is not None for session in manifest["sessions"]):
        return None
    rate: float | None = settings.get("frames_per_second")
    return rate


def clock_remark(rate: float) -> str:
    """What is said of windows whose length follows from an assumed rate."""
    return (
        f"Some recordings have no usable clock: {rate:g} images a second are assumed"
        " (config.data.frames_per_second), and windows are only as long as that is right"
    )
