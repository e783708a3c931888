"""What a plan makes of the recordings, as text and as a picture; see `data/balance_report.py`."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from jaxdrive.data.balance import WEIGHTED, Balance
from jaxdrive.evaluation import plots, wording

_DOTS_PER_INCH = 120
# Draws of one frame, in those of an average one, that are worth a warning, and a limit to try.
_MANY_REPEATS = 50
_LIMIT_TO_TRY = 10


def table(report: Mapping[str, Any], drawn: Mapping[str, Sequence[int]] | None) -> list[str]:
    """Lines of text about every head and bin.

    Args:
      report: What balance.json holds.
      drawn: By head name, draws per bin in the order of the bins; None where nothing was drawn.
    """
    learns = "its own batches" if report["supervise"] == "own" else "all heads' batches"
    lines = [f"Balance {balance_name(report)}; every head learns from {learns}"]
    things = drawn_things(report)
    if things != "frames":
        lines[0] += "; what is counted and drawn are views, fourteen of every frame"
    if report["mode"] == "v1":
        combinations = max(report["drawn_from"].values())
        lines[0] += f"; {combinations} combinations of labels are there, each drawn alike"
    for name, head in report["heads"].items():
        counts = drawn[name] if drawn else None
        lines += ["", *_bins(name, head, counts, things), *_summary(report, name)]
        lines.append(
            f"  in its own batches {wording.draws(head['draws'], report['limit'], things)}"
        )
    return lines


def draw_lines(report: Mapping[str, Any]) -> list[str]:
    """What a run says at its start of the frames that each head draws most."""
    if report["mode"] == "none":
        return []
    things = drawn_things(report)
    return [
        f"Draws of {name}: {wording.draws(head['draws'], report['limit'], things)}"
        for name, head in report["heads"].items()
    ]


def warnings(report: Mapping[str, Any]) -> list[str]:
    """What is to be said of heads that draw single frames again and again, with what to do."""
    lines = []
    for name, head in report["heads"].items():
        repeats = head["draws"]["repeats"]
        if report["limit"] or repeats <= _MANY_REPEATS:
            continue
        remedy = f"--config.balance_limit={_LIMIT_TO_TRY} limits that"
        if report["mode"] not in WEIGHTED:
            remedy += f", with --config.balance={' or '.join(WEIGHTED)}"
        lines.append(
            f"Head {name} draws one frame {wording.number(repeats)} times as often as an average"
            f" one, and may learn it by heart: {remedy}"
        )
    return lines


def balance_name(report: Mapping[str, Any]) -> str:
    """The balance of a balance.json with its numbers: "v2 (power 0.5, limit 10)"."""
    # One that an earlier version wrote has the mode alone.
    fields = {name: report[name] for name in ("power", "limit", "smoothing") if name in report}
    return str(Balance(report["mode"], **fields))


def drawn_things(report: Mapping[str, Any]) -> str:
    """What the numbers of a balance.json count: "frames" or "views"."""
    # One that an earlier version wrote does not say so: it counts frames.
    return "frames" if report.get("views", "none") == "none" else "views"


def picture(report: Mapping[str, Any]) -> bytes:
    """Recorded and planned labels of all heads, as a PNG file."""
    buffer = io.BytesIO()
    with plots.style():
        figure = plots.labels_of_all_heads(report)
        figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH)
    return buffer.getvalue()


def _bins(
    name: str, head: Mapping[str, Any], drawn: Sequence[int] | None, things: str
) -> list[str]:
    frames = [part["frames"] for part in head["bins"]]
    columns = {
        things: [f"{count:,}" for count in frames],
        "recorded": [wording.percent(share / 100) for share in plots.percentages(frames)],
        "planned": [wording.percent(part["planned_share"]) for part in head["bins"]],
        "repeats": [wording.number(part["repeats_per_pass"]) for part in head["bins"]],
    }
    if drawn is not None:
        columns["drawn"] = [wording.percent(share / 100) for share in plots.percentages(drawn)]
    title = f"{name} ({head['unit']})"
    lines = [f"{title:34}" + "".join(f"{column:>10}" for column in columns)]
    for part, *cells in zip(head["bins"], *columns.values(), strict=True):
        lines.append(f"  {part['text']:32}" + "".join(f"{cell:>10}" for cell in cells))
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
