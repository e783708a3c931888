"""What the runs of all folds say together: means over folds with an interval, and pooled numbers.

Seeds of a fold are averaged first, since they share the fold's frames: the folds are the sample.
Over all folds every frame outside of the gaps is held out exactly once, so sums over frames can be
pooled: squared errors of windows, and absolute errors by bin. R2 is not: it compares with the best
constant of the fold's own frames.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import stdtrit

from jaxdrive.evaluation import wording

# Share of the intervals of means.
CONFIDENCE = 0.9
_PERCENT = f"{100 * CONFIDENCE:g} %"

_RATIO = "windowed_ratio"
# What is said of a fold, with the two lines above its column.
_COLUMNS = {
    _RATIO: ("error over 1 s,", "straight on = 1"),
    "natural_mae": ("frames equal:", "abs. error"),
    "natural_skill": ("frames equal:", "R2"),
    "balanced_mae": ("bins equal:", "abs. error"),
    "balanced_skill": ("bins equal:", "R2"),
}


def summarise(split: str, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sums up runs.

    Args:
      split: That they were scored on.
      runs: {"fold", "seed", "workdir", "seconds": of training, and of evaluation.json "step",
        "frames", "heads", "windowed", "side_cameras"}; of the same folds for every seed.

    Returns:
      {"split", "confidence", "runs", "heads": {head: {"folds": [{"fold", "steps": by seed,
      "seconds", and by measure the mean over seeds}], "mean": {measure: see `mean_interval`},
      "seed_spread": {measure: standard deviation between seeds of a fold}, "pooled": {measure:
      number}, "ahead": {"straight_on": folds, "constant": folds}, "side_cameras": {"response",
      "wanted"}}}}. Measures are windowed_ratio (over 1 s), natural_mae, natural_skill,
      balanced_mae and balanced_skill. What cannot be said is None.
    """
    heads = list(runs[0]["heads"])
    return {
        "split": split,
        "confidence": CONFIDENCE,
        "heads": {name: _head(name, runs) for name in heads},
        "runs": list(runs),
    }


def mean_interval(values: Iterable[float | None]) -> dict[str, Any]:
    """The mean over folds and its interval by Student's t.

    Folds share most of their training frames, and neighbours in time are alike, so they are not
    independent, and no interval of cross-validation is exact (Bengio and Grandvalet, JMLR 2004).
    Resampling as few as five folds would be too narrow as well; t at least allows for their number.

    Args:
      values: By fold; None where it has none.

    Returns:
      {"mean", "interval": [low, high], "folds": how many have a value}. The mean of none and the
      interval of fewer than two are None.
    """
    known = np.array([value for value in values if value is not None], float)
    count = len(known)
    interval = None
    if count > 1:
        reach = stdtrit(count - 1, (1 + CONFIDENCE) / 2) * known.std(ddof=1) / math.sqrt(count)
        interval = [float(known.mean() - reach), float(known.mean() + reach)]
    return {"mean": _mean(known), "interval": interval, "folds": count}


def _head(name: str, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    by_fold: dict[int, list[Mapping[str, Any]]] = {}
    for run in runs:
        by_fold.setdefault(run["fold"], []).append(run)
    measured = {
        fold: {key: [_measures(name, run)[key] for run in own] for key in _COLUMNS}
        for fold, own in by_fold.items()
    }
    folds: list[dict[str, Any]] = [
        {
            "fold": fold,
            "steps": [run["step"] for run in own],
            "seconds": _mean(run["seconds"] for run in own),
        }
        | {key: _mean(values) for key, values in measured[fold].items()}
        for fold, own in sorted(by_fold.items())
    ]
    ratios, skills = ([fold[key] for fold in folds] for key in (_RATIO, "natural_skill"))
    return {
        "folds": folds,
        "mean": {key: mean_interval(fold[key] for fold in folds) for key in _COLUMNS},
        "seed_spread": {key: _spread([own[key] for own in measured.values()]) for key in _COLUMNS},
        "pooled": _pooled(name, runs),
        "ahead": {
            "straight_on": sum(ratio is not None and ratio < 1 for ratio in ratios),
            "constant": sum(skill is not None and skill > 0 for skill in skills),
        },
        "side_cameras": _side_cameras(name, runs),
    }


def _measures(name: str, run: Mapping[str, Any]) -> dict[str, float | None]:
    score = run["heads"][name]
    windowed = run["windowed"].get(name)
    return {_RATIO: windowed[0]["ratio"] if windowed else None} | {
        f"{kind}_{key}": score[kind][key]
        for kind in ("natural", "balanced")
        for key in ("mae", "skill")
    }


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _spread(folds: Iterable[Sequence[float | None]]) -> float | None:
    """The standard deviation between seeds of the same fold, pooled over folds."""
    known = [[value for value in own if value is not None] for own in folds]
    variances = [np.var(own, ddof=1) for own in known if len(own) > 1]
    return float(np.sqrt(np.mean(variances))) if variances else None


def _pooled(name: str, runs: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Numbers over all held-out frames together; with several seeds, each frame once a seed."""
    windows = [run["windowed"][name][0] for run in runs if name in run["windowed"]]
    windows = [window for window in windows if window["windows"]]
    error, straight = (
        sum(window["windows"] * window[key] ** 2 for window in windows)
        for key in ("rmse", "straight_on")
    )
    bins = [run["heads"][name]["bins"] for run in runs]
    frames = np.array([[one["frames"] for one in own] for own in bins])
    errors = np.array([[one["mae"] or 0.0 for one in own] for own in bins]) * frames
    filled = frames.sum(axis=0) > 0
    by_bin = errors.sum(axis=0)[filled] / frames.sum(axis=0)[filled]
    return {
        _RATIO: math.sqrt(error / straight) if straight else None,
        "natural_mae": float(errors.sum() / frames.sum()),
        "balanced_mae": float(by_bin.mean()),
    }


def _side_cameras(name: str, runs: Sequence[Mapping[str, Any]]) -> dict[str, float] | None:
    """How the head answers to side cameras, mean of all runs, and what they are corrected by."""
    found = [run["side_cameras"][name] for run in runs if name in run["side_cameras"]]
    if not found:
        return None
    response = float(np.mean([one["response"] for one in found]))
    return {"response": response, "wanted": found[0]["wanted"]}


def table(result: Mapping[str, Any]) -> list[str]:
    """Lines of text: for every head a table of folds, and what they say together."""
    runs = result["runs"]
    seeds = list(dict.fromkeys(run["seed"] for run in runs))
    folds = len(runs) // len(seeds)
    of_seeds = f"seed {seeds[0]}"
    if len(seeds) > 1:
        of_seeds = f"means of seeds {', '.join(map(str, seeds))}"
    lines = [f"{folds} folds, {of_seeds}; every run scored on its {result['split']} blocks"]
    for name, head in result["heads"].items():
        lines += ["", *_head_table(name, head), "", *_head_words(name, head)]
    lines.append("")
    if any(head["mean"][_RATIO]["folds"] for head in result["heads"].values()):
        lines += [
            "Error over 1 s: of the mean prediction of each second against its mean label, as a"
            " share of that of driving straight on.",
        ]
    lines += [
        "Frames equal, bins equal: every frame, or every bin of the label, counts equally (natural,"
        " balanced). R2 (skill): 1 is perfect, 0 the best constant.",
        f"{_PERCENT} interval: of the mean, by Student's t over {folds} folds. They share training"
        " frames, so it is a rough guide.",
        "All frames pooled: over all folds every frame is held out once, except in gaps, and every"
        " bin counts that has frames in any fold. R2 has a constant for each fold and is not"
        " pooled.",
    ]
    if result["split"] == "validation":
        lines.append(
            "Checkpoints were chosen by these very blocks, so the numbers are too good by a little."
            " Once all settings are decided, --split=test scores the same runs on unseen blocks."
        )
    return lines


def _head_table(name: str, head: Mapping[str, Any]) -> list[str]:
    columns = {
        key: text
        for key, text in _COLUMNS.items()
        if any(fold[key] is not None for fold in head["folds"])
    }
    above = [name, *(text[0] for text in columns.values()), "step", "training"]
    below = ["fold", *(text[1] for text in columns.values()), "chosen", "seconds"]
    rows = [above, below]
    for fold in head["folds"]:
        steps = ", ".join(map(str, fold["steps"]))
        numbers = [_text(fold[key], key) for key in columns]
        rows.append([str(fold["fold"]), *numbers, steps, f"{fold['seconds']:.0f}"])

    def add(first: str, text_of: Callable[[str], str]) -> None:
        rows.append([first, *map(text_of, columns), "", ""])

    add("mean", lambda key: _text(head["mean"][key]["mean"], key))
    add(f"{_PERCENT} interval", lambda key: _between(head["mean"][key]["interval"], key))
    if any(value is not None for value in head["seed_spread"].values()):
        add("between seeds, std", lambda key: _text(head["seed_spread"][key], key))
    add("all frames pooled", lambda key: _text(head["pooled"].get(key), key))
    return wording.aligned(rows)


def _head_words(name: str, head: Mapping[str, Any]) -> list[str]:
    """Sentences: against what the folds of a head are ahead."""
    mean, ahead = head["mean"], head["ahead"]
    lines = []
    if mean[_RATIO]["folds"]:
        lines.append(
            f"{name}: better than driving straight on in {ahead['straight_on']} of"
            f" {mean[_RATIO]['folds']} folds, by means over 1 s"
        )
    if mean["natural_skill"]["folds"]:
        lines.append(
            f"{name}: better than the best constant in {ahead['constant']} of"
            f" {mean['natural_skill']['folds']} folds, frame by frame (R2 above 0)"
        )
    if sides := head["side_cameras"]:
        lines.append(
            f"{name}, side cameras: steers back by {sides['response']:.3f}, corrected by"
            f" {sides['wanted']:g}, mean of all runs"
        )
    return lines


def _text(value: float | None, key: str) -> str:
    return "-" if value is None else f"{value:.{_decimals(key)}f}"


def _between(interval: Sequence[float] | None, key: str) -> str:
    return "-" if interval is None else " to ".join(_text(end, key) for end in interval)


def _decimals(key: str) -> int:
    return 3 if key.endswith("mae") else 2
