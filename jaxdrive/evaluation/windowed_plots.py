"""The picture of the report that says whether a run follows the driver ever better.

Pure like plots.py, whose style it shares.
"""

from collections.abc import Mapping

from matplotlib.figure import Figure

from jaxdrive.evaluation import plots


def over_steps(lines: plots.Lines, colours: Mapping[str, str]) -> list[Figure]:
    """The windowed error of every head that turns the car, with its interval where there is one.

    Args:
      lines: Of metrics.jsonl.
      colours: By head.

    Returns:
      A figure by head that has such errors.
    """
    found = {head: plots.series(lines, f"validation/{head}/windowed_ratio") for head in colours}
    return [
        _figure(lines, head, colours[head], ratios)
        for head, ratios in found.items()
        if len(ratios[0])
    ]


def _figure(
    lines: plots.Lines, head: str, colour: str, ratios: tuple[plots.Floats, plots.Floats]
) -> Figure:
    bounds = [plots.series(lines, f"validation/{head}/windowed_{end}") for end in ("low", "high")]
    figure = plots.curves(
        {"held-out": ratios},
        {"held-out": colour},
        title=f"{head}: error over 1 s",
        y="relative to straight on",
    )
    (axes,) = figure.axes
    if len(bounds[0][0]):
        (steps, low), (_, high) = bounds
        axes.fill_between(steps, low, high, color=colour, alpha=0.2, label="90 % interval")
    axes.axhline(1, color="black", linestyle="--", linewidth=1, label="driving straight on")
    # The first steps are often far worse; they must not flatten the rest.
    axes.set_ylim(0, min(3.0, max(1.2, 1.05 * float(ratios[1].max()))))
    for legend in figure.legends:
        legend.remove()
    figure.legend(loc="outside lower center", ncols=3)
    return figure
