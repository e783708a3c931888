"""What a plan makes of the recordings, as text and as a picture; see `data/balance_report.py`."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from jaxdrive.evaluation import plots, wording

_DOTS_PER_INCH = 120


def table(report: Mapping[str, Any], drawn: Mapping[str, Sequence[int]] | None) -> list[str]:
    """Lines of text about every head and bin.

    Args:
      report: What balance.json holds.
      drawn: By head name, draws per bin in the order of the bins; None where nothing was drawn.
    """
    learns = "its own batches" if report["supervise"] == "own" else "all heads' batches"
    lines = [f"Balance {report['mode']}; every head learns from {learns}"]
    for name, head in report["heads"].items():
        shares = [None] * len(head["bins"]) if drawn is None else _shares(drawn[name])
        lines += ["", *_head(name, head, shares), *_summary(report, name)]
    return lines


def picture(report: Mapping[str, Any]) -> bytes:
    """Recorded and planned labels of all heads, as a PNG file."""
    buffer = io.BytesIO()
    with plots.style():
        figure = plots.labels_of_all_heads(report, None)
        figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH)
    return buffer.getvalue()


def _shares(drawn: Sequence[int]) -> list[float]:
    return [float(percentage) / 100 for percentage in plots.percentages(drawn)]


def _head(name: str, head: Mapping[str, Any], drawn: Sequence[float | None]) -> list[str]:
    total = sum(part["frames"] for part in head["bins"])
    title = f"{name} ({head['unit']})"
    lines = [f"{title:34}{'frames':>8}{'recorded':>10}{'planned':>10}{'drawn':>10}{'repeats':>10}"]
    for part, share in zip(head["bins"], drawn, strict=True):
        recorded = wording.percent(part["frames"] / total)
        planned, repeats = wording.percent(part["planned_share"]), part["repeats_per_pass"]
        lines.append(
            f"  {part['text']:32}{part['frames']:8,}{recorded:>10}{planned:>10}"
            f"{wording.percent(share):>10}{wording.number(repeats):>10}"
        )
    return lines


def _summary(report: Mapping[str, Any], name: str) -> list[str]:
    """What is missing, and how even the plan is: 1 where all bins with frames are drawn alike."""
    head = report["heads"][name]
    missing = [part["text"] for part in head["bins"] if not part["frames"]]
    evenness = {name: head["evenness"], **head["batch_evenness"]}
    own, *others = (f"{wording.number(value)} {label}" for label, value in evenness.items())
    lines = [f"  missing: {', '.join(missing) or 'nothing, every bin has frames'}"]
    lines.append(f"  evenness (1 = every bin with frames alike): {own} in what is learned from")
    if others:
        lines.append(
            f"  evenness of the other labels in this head's own batches: {', '.join(others)}"
        )
    return lines
