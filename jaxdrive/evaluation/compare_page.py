"""A comparison as text for the console, as pictures, and as one page that opens anywhere.

What is said here was found by compare.py; the curves are read from the compared runs' metrics.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from etils import epath
from matplotlib.figure import Figure

from jaxdrive.evaluation import compare_plots, page, plots, results, verdict, wording
from jaxdrive.evaluation.results import Json
from jaxdrive.training import windowed

PAGE = "compare.html"
CURVES = "compare.png"
CURVES_BY_SAMPLES = "compare_by_samples.png"
RESULTS = "compare_results.png"

# What is told of every run, in this order: the title and the field.
_FACTS = {
    "state": "state",
    "training steps": "steps_done",
    "checkpoint compared (step)": "step",
    "samples per head": "samples_per_head",
    "epochs": "epochs",
    "batch size": "batch_size",
    "balance": "balance",
    "seed": "seed",
    "backbone": "backbone",
    "parameters": "parameters",
    "training frames": "training_frames",
    "training time": "train_seconds",
    "dataset": "dataset",
    "scored on (frames)": "scored_on",
    "driving score": "score",
    "laps finished": "laps",
    "driven with": "driven_with",
}
_KINDS = ("natural", "balanced")
_LONGEST_VALUE = 26


def write(folder: epath.Path, result: Json) -> epath.Path:
    """Draws the pictures and the page of a comparison into a folder that is there.

    Args:
      folder: local or in a bucket.
      result: as `compare.compare` gives it; the runs' metrics.jsonl are read from their workdirs.

    Returns:
      The path of the page: one file without references to others.
    """
    with plots.style():
        figures = _figures(result)
        pictures = {name: page.picture(figure) for name, figure in figures.items()}
        for name, figure in figures.items():
            (folder / name).write_bytes(_png(figure))
    if CURVES_BY_SAMPLES not in figures:
        (folder / CURVES_BY_SAMPLES).unlink(missing_ok=True)
    page.write(folder / PAGE, "compare.html.j2", _content(result, pictures))
    return folder / PAGE


def _figures(result: Json) -> dict[str, Figure]:
    runs, heads = result["runs"], result["heads"]
    lines = {
        run["name"]: results.read_lines(epath.Path(run["workdir"]) / "metrics.jsonl")
        for run in runs
    }
    figures = {
        RESULTS: compare_plots.results(runs, heads),
        CURVES: compare_plots.learning_curves(runs, heads, lines, x="step"),
    }
    if len({run["batch_size"] for run in runs}) > 1:
        by_samples = compare_plots.learning_curves(runs, heads, lines, x="samples")
        figures[CURVES_BY_SAMPLES] = by_samples
    return figures


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def _content(result: Json, pictures: Mapping[str, page.Picture]) -> Json:
    """Everything the template names."""
    names = [run["name"] for run in result["runs"]]
    turning = _turning(result)
    return result | {
        "names": names,
        "colours": compare_plots.run_colours(names),
        "frames_of": _frames(result["runs"]),
        "best": {head: _best(result["runs"], head) for head in result["heads"]},
        "facts": facts(result["runs"]),
        "following": {head: list(_following_rows(result["runs"], head)) for head in turning},
        "following_columns": _FOLLOWING,
        "why": [verdict.WHY_WINDOWS, verdict.WHY_INTERVALS],
        "why_skill": verdict.WHY_SKILL,
        "mae_remarks": _mae_remarks(result["runs"]),
        "settings": [(row["field"], _short(row["values"])) for row in result["differences"]],
        "pictures": {
            "results": pictures[RESULTS],
            "curves": pictures[CURVES],
            "by_samples": pictures.get(CURVES_BY_SAMPLES),
        },
    }


def _frames(runs: Sequence[Json]) -> dict[str, str]:
    """By run, how many frames it was scored on; of which set, where they are not the same."""
    several = len({run["frame_set"] for run in runs}) > 1
    return {
        run["name"]: f"{run['frames']:,}" + (f", set {run['frame_set']}" if several else "")
        for run in runs
    }


def _best(runs: Sequence[Json], head: str) -> dict[str, str]:
    """By distribution, the run of the highest skill; none where frames are not the same."""
    if len({run["frame_set"] for run in runs}) > 1:
        return {}
    best = {}
    for kind in _KINDS:
        skills = {
            run["name"]: run["heads"][head][kind]["skill"] for run in runs if head in run["heads"]
        }
        known = {n: skill for n, skill in skills.items() if skill is not None}
        known = {n: skill for n, skill in known.items() if math.isfinite(skill)}
        if len(known) > 1:
            best[kind] = max(known, key=lambda name: known[name])
    return best


_FOLLOWING = ("over 1 s relative to straight on", "90 % interval", "over 2 s", "verdict")


def _turning(result: Json) -> list[str]:
    """The heads whose windowed error some run has."""
    return [h for h in result["heads"] if any(h in run["windowed"] for run in result["runs"])]


def _following_rows(runs: Sequence[Json], head: str) -> Iterator[list[str]]:
    """By run that has the head: its name and the texts of `_FOLLOWING`."""
    for run in runs:
        windows = run["windowed"].get(head)
        if windows is None:
            continue
        ratios = [
            wording.ABSENT if one["ratio"] is None else f"{one['ratio']:.2f}" for one in windows
        ]
        between = windowed.interval_text(windows[0]).removeprefix("90 % interval ")
        yield [run["name"], ratios[0], between, ratios[1], verdict.of_windows(windows[0]).words]


def _mae_remarks(runs: Sequence[Json]) -> list[str]:
    """Of the frames of every run, or once where all are of one set."""
    alone = len({run["frame_set"] for run in runs}) == 1
    scores = {
        name if alone else f"{name} ({run['name']})": score
        for run in runs
        for name, score in run["heads"].items()
    }
    return verdict.mae_remarks(scores)


def facts(runs: Sequence[Json]) -> list[tuple[str, list[str]]]:
    """What is told of the runs beside their errors: rows of a title and a text for every run."""
    told = [_texts(run) for run in runs]
    rows = [(title, [texts[field] for texts in told]) for title, field in _FACTS.items()]
    return [(title, texts) for title, texts in rows if set(texts) != {wording.ABSENT}]


def _texts(run: Json) -> dict[str, str]:
    texts = {
        field: value if isinstance(value, str) else wording.number(value)
        for field, value in run.items()
        if value is None or isinstance(value, str | int | float)
    }
    if run["num_steps"] is not None and run["steps_done"] != run["num_steps"]:
        texts["steps_done"] += f" of {run['num_steps']:,}"
    if run["samples_per_head"] is not None:
        texts["samples_per_head"] = f"{run['samples_per_head']:,.0f}"
    if run["train_seconds"] is not None:
        texts["train_seconds"] = wording.duration(run["train_seconds"])
    texts["scored_on"] = f"{run['frames']:,} {run['split']}"
    return texts | _driving_texts(run["driving"], run["step"])


def _driving_texts(driving: Json | None, step: int) -> dict[str, str]:
    if driving is None:
        return dict.fromkeys(("score", "laps", "driven_with"), wording.ABSENT)
    checkpoint = "this checkpoint" if driving["step"] == step else f"step {driving['step']:,}"
    colours = ", changed colours" if driving["domain_randomize"] else ""
    return {
        "score": f"{driving['mean']:.1f} ± {driving['std']:.1f}",
        "laps": f"{driving['finished']} of {driving['tracks']}",
        "driven_with": checkpoint + colours,
    }


def _short(values: Sequence[str]) -> list[str]:
    """Long values, such as the edges of bins, without their middle."""
    return [v if len(v) <= _LONGEST_VALUE else f"{v[:10]} ... {v[-11:]}" for v in values]


def table(result: Json) -> list[str]:
    """Lines of text: what to beware of, results by head, facts, and settings that differ."""
    names = [run["name"] for run in result["runs"]]
    lines = [f"Beware: {warning}" for warning in result["warnings"]]
    for head in _turning(result):
        title = [f"{head} follows the driver", *_FOLLOWING]
        lines += ["", *wording.aligned([title, *_following_rows(result["runs"], head)])]
    for head, about in result["heads"].items():
        lines += [
            "",
            f"{head}: errors of single images in {about['unit']}; balanced = over the bins of"
            f" {about['bins_of']}, each counting alike",
            *wording.aligned(_rows_of_head(result["runs"], head)),
        ]
    lines += ["", *_mae_remarks(result["runs"])]
    about_runs = [[title, *texts] for title, texts in facts(result["runs"])]
    lines += ["", *wording.aligned([["run", *names], *about_runs])]
    if result["differences"]:
        rows = [[row["field"], *_short(row["values"])] for row in result["differences"]]
        lines += ["", *wording.aligned([["settings that differ", *names], *rows])]
    return lines


def _rows_of_head(runs: Sequence[Json], head: str) -> Iterator[list[str]]:
    columns = [f"{kind} {name}" for kind in _KINDS for name in ("skill", "mae", "rmse")]
    columns.insert(2, "mae of a constant")
    yield ["run", "frames", *columns]
    frames = _frames(runs)
    for run in runs:
        if head not in run["heads"]:
            continue
        cells = [frames[run["name"]]]
        for kind in _KINDS:
            values: Mapping[str, Any] = run["heads"][head][kind]
            skill = "constant" if values["skill"] is None else f"{values['skill']:.3f}"
            cells += [skill, wording.number(values["mae"]), wording.number(values["rmse"])]
        cells.insert(3, wording.number(run["heads"][head]["constant"]["mae"]))
        yield [run["name"], *cells]
