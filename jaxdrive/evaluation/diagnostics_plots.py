"""Pictures of how the heads get on with each other: correlations, and gradients at what they share.

Pure like plots.py, whose style it shares.
"""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jaxdrive.evaluation import plots

_WIDTH = 8.2


def correlations(found: Mapping[str, Any]) -> Figure:
    """The correlations of labels beside those of predictions.

    Args:
      found: The entry "correlation" of evaluation.json.
    """
    heads = list(found["labels"])
    figure = Figure(figsize=(_WIDTH, 0.9 + 0.75 * len(heads)))
    for axes, kind in zip(figure.subplots(1, 2), ("labels", "predictions"), strict=True):
        matrix = [[found[kind][one][other] for other in heads] for one in heads]
        values = np.array(matrix, np.float64)
        axes.pcolormesh(values, cmap="RdBu_r", vmin=-1, vmax=1, edgecolors="white")
        axes.invert_yaxis()
        for row, column in itertools.product(range(len(heads)), repeat=2):
            value = values[row, column]
            text = "constant" if np.isnan(value) else f"{value:.2f}"
            strong = abs(value) > 0.6
            look = {"ha": "center", "va": "center", "color": "white" if strong else "black"}
            axes.text(column + 0.5, row + 0.5, text, **look)
        middles = np.arange(len(heads)) + 0.5
        axes.set_xticks(middles, heads)
        axes.set_yticks(middles, heads)
        axes.grid(visible=False)
        axes.set_title(f"Correlation of {kind}")
        axes.set_xlabel("head")
        axes.set_ylabel("head")
    return figure


def gradients(lines: plots.Lines, colours: Mapping[str, str]) -> list[Figure]:
    """The size of every head's gradient at the common part, and the cosines of all pairs.

    Args:
      lines: Of metrics.jsonl.
      colours: By head, in the order in which pairs are named.

    Returns:
      No figure where nothing was measured.
    """
    norms = {head: f"train/{head}/common_gradient_norm" for head in colours}
    if not any(key in line for line in lines for key in norms.values()):
        return []
    sizes = plots.curves(
        {head: plots.series(lines, key) for head, key in norms.items()},
        colours,
        title="Gradient at the common part",
        y="norm of each head's gradient",
    )
    pairs = list(itertools.combinations(colours, 2))
    names = [f"{one}, {other}" for one, other in pairs]
    keys = [f"train/gradient_cosine_{one}_{other}" for one, other in pairs]
    cosines = plots.curves(
        {name: plots.series(lines, key) for name, key in zip(names, keys, strict=True)},
        plots.head_colours(names),
        title="Do the heads pull the same way?",
        y="cosine of two heads' gradients",
    )
    for axes in cosines.axes:
        axes.set_ylim(-1.05, 1.05)
        axes.axhline(0, color="black", linestyle="--", linewidth=1)
    return [sizes, *([cosines] if pairs else [])]
