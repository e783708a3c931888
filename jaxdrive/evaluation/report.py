"""The report of a run: what stands in a workdir, as one page that opens anywhere.

`write_report` reads the files that the other verbs left in the workdir, has the pictures drawn by
plots.py and fills report.html.j2. It computes nothing about the model: what is missing is not made
here, the page names the command that makes it. Imports no JAX, so a report costs seconds.
"""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from etils import epath
from matplotlib.figure import Figure

from jaxdrive.evaluation import (
    cards,
    diagnostics_plots,
    page,
    plots,
    results,
    verdict,
    windowed_plots,
    wording,
)
from jaxdrive.evaluation.architecture import architecture
from jaxdrive.evaluation.results import Json


def write_report(workdir: epath.Path) -> epath.Path:
    """Writes `report.html` into the workdir, replacing the last one only when the new one is whole.

    Args:
      workdir: directory of a run, local or in a bucket. Of config.json, run.json, model.json,
        metrics.jsonl, balance.json, evaluation.json, drive.json, drive_recoloured.json,
        drive_steps.json, drive.mp4 and heldout.png any may be missing; the page then says which
        command makes what it cannot show.

    Returns:
      The path of the page: one file without references to others, videos and pictures inside.

    Raises:
      UserError: a file of the workdir is no JSON, or its parts do not fit together.
    """
    target = epath.Path(workdir) / "report.html"
    page.write(target, "report.html.j2", _content(epath.Path(workdir)))
    return target


_WHY = {
    "windows": verdict.WHY_WINDOWS,
    "intervals": verdict.WHY_INTERVALS,
    "skill": verdict.WHY_SKILL,
}


def _content(workdir: epath.Path) -> Json:
    """Everything the template names."""
    content: Json = {name: results.read_json(workdir / f"{name}.json") for name in _FILES}
    lines = results.read_lines(workdir / "metrics.jsonl")
    heads = results.head_names(content, lines)
    drawn = {head: results.draws(lines, head, content["balance"]) for head in heads}
    drives = content["drive"] is not None or _is_to_drive(content["config"] or {})
    colours = plots.head_colours(heads)
    with plots.style():
        pictures = _pictures(content, lines, colours, drawn)
        pictures["model"] = _model_picture(content["model"])
    head_cards = [cards.card(content["evaluation"], lines, *item) for item in colours.items()]
    title, level = cards.headline(head_cards)
    if drives:
        title, level = wording.driving_in_words(content["drive"])
    return content | {
        "name": workdir.name,
        "commands": {
            verb: f"python launch.py {verb} --workdir={shlex.quote(str(workdir))}"
            for verb in ("train", "evaluate", "drive")
        },
        "heads": heads,
        "lines": lines,
        "alarms": results.alarms(lines, heads),
        "medians": {key: results.median(lines, key) for key in _SPEED},
        "drawn_shares": {head: plots.percentages(d) for head, d in drawn.items() if d is not None},
        "cards": head_cards,
        "drives": drives,
        "verdict": title,
        "level": level,
        "solved": wording.SOLVED_SCORE,
        "why": _WHY,
        "turning": [card.name for card in head_cards if card.turns],
        "remarks": list(cards.remarks(content["evaluation"])),
        "mae_remarks": verdict.mae_remarks((content["evaluation"] or {"heads": {}})["heads"]),
        "pictures": pictures,
        "video": _file_uri(workdir / "drive.mp4", "video/mp4"),
        "held_out": _file_uri(workdir / "heldout.png", "image/png"),
        "config_rows": list(_indented_rows(content["config"] or {})),
        "facts": _facts(content["run"] or {}),
    }


def _is_to_drive(config: Mapping[str, Any]) -> bool:
    """Whether the run ends at the wheel: one that learns from recordings has no simulator."""
    return config.get("drive", {}).get("tracks") != 0


_FILES = (
    "config",
    "run",
    "model",
    "balance",
    "evaluation",
    "drive",
    "drive_recoloured",
    "drive_steps",
)
_SPEED = ("train/images_per_second", "train/waiting_share")


def _pictures(
    content: Mapping[str, Any],
    lines: Sequence[Json],
    colours: Mapping[str, str],
    drawn: Mapping[str, list[int] | None],
) -> dict[str, list[page.Picture]]:
    """The pictures of each section, none where its file is missing."""
    balanced = (content["balance"] or {}).get("heads", {})
    evaluated = (content["evaluation"] or {}).get("heads", {})
    drive, ages = content["drive"], content["drive_steps"]
    figures = {
        "scores": [plots.track_scores(drive)] if drive else [],
        "ages": [plots.scores_by_age(ages["ages"])] if ages else [],
        "following": windowed_plots.over_steps(lines, colours),
        "curves": [plots.learning_curves(lines, *item) for item in colours.items() if lines],
        "optimiser": _optimiser_figures(lines) if lines else [],
        # One head has nothing to get on with.
        "gradients": diagnostics_plots.gradients(lines, colours) if len(colours) > 1 else [],
        "correlation": _correlation_figures(content["evaluation"]),
        "speed": _speed_figures(lines) if lines else [],
        "labels": [
            plots.labels_recorded_and_drawn(balanced[head], drawn[head], head, colour)
            for head, colour in colours.items()
            if head in balanced
        ],
        "errors": [
            plots.error_per_bin(
                evaluated[head],
                head,
                balanced.get(head, {}).get("unit", "unit as recorded"),
                colour,
            )
            for head, colour in colours.items()
            if head in evaluated
        ],
    }
    return {section: [page.picture(figure) for figure in some] for section, some in figures.items()}


def _correlation_figures(evaluation: Json | None) -> list[Figure]:
    found = (evaluation or {}).get("correlation", {"labels": {}})
    return [diagnostics_plots.correlations(found)] if len(found["labels"]) > 1 else []


def _optimiser_figures(lines: Sequence[Json]) -> list[Figure]:
    return [
        plots.over_steps(lines, "train/learning_rate", title="Learning rate", y="learning rate"),
        plots.over_steps(
            lines,
            "train/gradient_norm",
            title="Size of the gradient",
            y="gradient norm",
            log=True,
        ),
    ]


def _speed_figures(lines: Sequence[Json]) -> list[Figure]:
    speed, waiting = _SPEED
    return [
        plots.over_steps(lines, speed, title="Training speed", y="images per second"),
        plots.over_steps(
            lines, waiting, title="Waiting for data", y="share of time (%)", factor=100
        ),
    ]


def _model_picture(model: Mapping[str, Any] | None) -> list[page.Picture]:
    if model is None:
        return []
    uri = plots.svg_data_uri(architecture(model))
    return [page.Picture(uri, "The network from its inputs to its heads")]


def _file_uri(path: epath.Path, kind: str) -> str | None:
    if not path.exists():
        return None
    return f"data:{kind};base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def _indented_rows(
    config: Mapping[str, Any], depth: int = 0
) -> Iterator[tuple[int, str, str | None]]:
    """(depth, name, value) of every field; a group's value is None, and its fields follow."""
    for name, value in config.items():
        if isinstance(value, dict) and value:
            yield depth, name, None
            yield from _indented_rows(value, depth + 1)
        else:
            yield depth, name, value if isinstance(value, str) else json.dumps(value)


def _facts(run: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """run.json as tables of name and text; what a run has not written yet is left out."""
    texts: dict[str, Callable[[Any], str]] = {
        "bytes": wording.size,
        "memory_bytes": wording.size,
        "frames": _counts,
        "devices": _devices,
    }
    facts: dict[str, list[tuple[str, str]]] = {"Run": []}
    for name, value in run.items():
        if name == "wall_time_seconds":
            times = value | {"together": sum(value.values())}
            facts["Wall time"] = [
                (verb, wording.duration(seconds)) for verb, seconds in times.items()
            ]
        elif name == "changes":
            facts["Changed on the way"] = [_change(change) for change in value]
        elif isinstance(value, dict):
            facts[name.capitalize()] = [
                (field.replace("_bytes", ""), texts.get(field, _text)(item))
                for field, item in value.items()
            ]
        elif value is not None:
            facts["Run"].append((name, _text(value)))
    return {title: rows for title, rows in facts.items() if rows}


def _text(value: Any) -> str:
    return wording.number(value) if isinstance(value, int | float) else str(value)


def _change(change: Mapping[str, Any]) -> tuple[str, str]:
    before, after = json.dumps(change["before"]), json.dumps(change["after"])
    return f"at step {change['step']:,}", f"{change['field']}: {before} → {after}"


def _counts(frames: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {split}" for split, count in frames.items())


def _devices(names: Sequence[str]) -> str:
    """All names, or of a large machine the first and their number."""
    return ", ".join(names) if len(names) <= 4 else f"{names[0]}, ... ({len(names)} in all)"
