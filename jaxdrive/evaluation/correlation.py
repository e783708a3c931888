"""Whether the heads, each trained on batches of its own, still belong together.

Where heads learn from separate batches, nothing tells one what another says of the same picture. So
the correlations of their predictions are laid beside those of the labels, and so is how often two
pedals are pressed at once.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdrive.heads import Head, controls

# Share of its range above which a pedal counts as pressed.
PRESSED = 0.05
# Standard deviation, as a share of the range, under which values count as constant.
_CONSTANT = 1e-6


def correlation(
    heads: Mapping[str, Head],
    predictions: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """Correlations of labels and of predictions on the same frames.

    Args:
      heads: By name.
      predictions: By head name, in the range of the head's target, [N].
      labels: By label name, as recorded, [N].

    Returns:
      {"labels", "predictions": {head: {head: Pearson's correlation, None where one of the two is
      constant}}, "pressed": `PRESSED`, "together": [{"heads": [one, other], "labels",
      "predictions": share of the frames in which both are above `pressed` of their range}], of all
      pairs of heads whose range begins at 0}.
    """
    recorded = {name: labels[head.label] for name, head in heads.items()}
    predicted = {name: controls(head, predictions[name]) for name, head in heads.items()}
    pedals = [name for name, head in heads.items() if head.low == 0]
    return {
        "labels": _matrix(heads, recorded),
        "predictions": _matrix(heads, predicted),
        "pressed": PRESSED,
        "together": [
            {
                "heads": [one, other],
                "labels": _together(heads, recorded, one, other),
                "predictions": _together(heads, predicted, one, other),
            }
            for one, other in itertools.combinations(pedals, 2)
        ],
    }


def _matrix(
    heads: Mapping[str, Head], values: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float | None]]:
    return {one: {other: _pearson(heads, values, one, other) for other in heads} for one in heads}


def _pearson(
    heads: Mapping[str, Head], values: Mapping[str, np.ndarray], one: str, other: str
) -> float | None:
    centred = []
    for name in (one, other):
        scaled = values[name].astype(np.float64) / heads[name].scale
        centred.append(scaled - scaled.mean())
        if centred[-1].std() < _CONSTANT * (heads[name].high - heads[name].low):
            return None
    first, second = centred
    return float((first * second).mean() / (first.std() * second.std()))


def _together(
    heads: Mapping[str, Head], values: Mapping[str, np.ndarray], one: str, other: str
) -> float:
    pressed = [
        values[name] > PRESSED * heads[name].high * heads[name].scale for name in (one, other)
    ]
    return float(np.logical_and(*pressed).mean())


def table(result: Mapping[str, Any]) -> Sequence[str]:
    """Lines of text: every pair of heads; none where there is one head alone."""
    pairs = list(itertools.combinations(result["labels"], 2))
    if not pairs:
        return []
    width = max(len(f"{one}, {other}") for one, other in pairs) + 2
    lines = [f"{'correlation':{width}}{'labels':>8}  predictions"]
    for one, other in pairs:
        cells = [_number(result[kind][one][other]) for kind in ("labels", "predictions")]
        lines.append(f"{f'{one}, {other}':{width}}{cells[0]:>8}  {cells[1]:>11}")
    for pair in result["together"]:
        lines.append(
            f"{' and '.join(pair['heads'])} pressed together: {pair['labels']:.1%} of the labels,"
            f" {pair['predictions']:.1%} of the predictions"
        )
    return lines


def _number(value: float | None) -> str:
    return "constant" if value is None else f"{value:.3f}"
