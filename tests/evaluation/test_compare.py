"""Runs of other scales, bins and datasets are compared by the same truth, or with a warning."""

import base64
import dataclasses
import io
import json
import math
import re

import numpy as np
import pytest
from etils import epath
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxdrive.bins import Bins
from jaxdrive.evaluation import compare, compare_facts, compare_page, compare_plots, plots, verdict
from jaxdrive.heads import Head
from jaxdrive.training import metrics
from tests.data import tiny
from tests.evaluation.test_report import HOSTILE, Page

ABSENT = compare_facts.ABSENT
STEERING = tiny.HEADS["steering"]
# Range, scale and bins of another run for the same label.
OTHER = dataclasses.replace(
    STEERING, scale=2.0, bins=Bins(edges=(-1.0, 0.2, 1.0)), corrections={"left": 9.0}
)
# In the label's unit, on edges and between them; STEERING's range ends at 0.5.
LABELS = st.integers(-24, 24).map(lambda number: number / 40)
PAIRS = st.lists(st.tuples(LABELS, st.floats(-0.5, 0.5, width=16)), min_size=1, max_size=40)


def arrays(pairs) -> tuple[np.ndarray, np.ndarray]:
    labels, controls = zip(*pairs, strict=True)
    return np.array(labels, np.float32), np.array(controls, np.float32)


def bin_of(label: float) -> int:
    """The bin of STEERING that a label lies in, said in words of the label's unit."""
    label = round(label, 6)
    if label == 0:
        return 2
    edges = (-math.inf, -0.25, 0, 0.25, math.inf)
    # A border belongs to the side towards zero.
    if label < 0:
        return 0 if label < edges[1] else 1
    return 3 if label <= edges[3] else 4


def weighted(pairs, weights) -> dict:
    """mae, rmse and skill of (label, control) pairs, one by one."""
    total = sum(weights)
    mae = sum(w * abs(c - y) for (y, c), w in zip(pairs, weights, strict=True)) / total
    square = sum(w * (c - y) ** 2 for (y, c), w in zip(pairs, weights, strict=True)) / total
    mean = sum(w * y for (y, _), w in zip(pairs, weights, strict=True)) / total
    constant = sum(w * (y - mean) ** 2 for (y, _), w in zip(pairs, weights, strict=True)) / total
    skill = None if constant < 1e-9 else 1 - square / constant
    return {"mae": mae, "rmse": math.sqrt(square), "skill": skill}


def assert_alike(score: dict, expected: dict) -> None:
    for name in ("mae", "rmse"):
        assert score[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-6)
    assert (score["skill"] is None) == (expected["skill"] is None)
    if expected["skill"] is not None:
        assert score["skill"] == pytest.approx(expected["skill"], rel=1e-5, abs=1e-6)


@settings(deadline=None)
@given(PAIRS)
def test_the_fixed_distribution_is_what_it_says(pairs):
    labels, controls = arrays(pairs)
    # What float32 makes of them, so that both sides compute from the same numbers.
    pairs = list(zip(labels.tolist(), controls.tolist(), strict=True))
    score = compare.fixed_score(STEERING, STEERING, controls / np.float32(0.5), labels)
    bins = [bin_of(label) for label, _ in pairs]
    counts = [bins.count(number) for number in range(5)]
    assert [bin_["frames"] for bin_ in score["bins"]] == counts
    for number, bin_ in enumerate(score["bins"]):
        errors = [abs(c - y) for (y, c), own in zip(pairs, bins, strict=True) if own == number]
        assert (bin_["mae"] is None) == (not errors)
        if errors:
            assert bin_["mae"] == pytest.approx(sum(errors) / len(errors), abs=1e-7)
    weights = {"natural": [1] * len(pairs), "balanced": [1 / counts[number] for number in bins]}
    for kind, expected in ((kind, weighted(pairs, w)) for kind, w in weights.items()):
        assert_alike(score[kind], expected)


@settings(deadline=None)
@given(PAIRS)
def test_scale_range_and_bins_of_a_run_cancel_out(pairs):
    labels, controls = arrays(pairs)
    own = compare.fixed_score(STEERING, STEERING, controls / np.float32(STEERING.scale), labels)
    other = compare.fixed_score(STEERING, OTHER, controls / np.float32(OTHER.scale), labels)
    for kind in ("natural", "balanced"):
        assert_alike(other[kind], own[kind])
    assert [b["frames"] for b in other["bins"]] == [b["frames"] for b in own["bins"]]


def test_for_the_agreed_head_it_says_what_evaluate_says():
    generator = np.random.default_rng(0)
    labels = generator.uniform(-0.5, 0.5, 500).astype(np.float32)
    # Some lie outside of the range, where only the control is cut off.
    targets = (labels / 0.5 + generator.normal(0, 0.3, 500)).astype(np.float32)
    score = compare.fixed_score(STEERING, STEERING, targets, labels)
    expected = metrics.score(STEERING, targets, labels)
    for kind in ("natural", "balanced"):
        assert score[kind]["skill"] == pytest.approx(expected[kind]["skill"], rel=1e-6)
        assert score[kind]["mae"] == pytest.approx(expected[kind]["mae"], rel=1e-6)
        assert score[kind]["rmse"] == pytest.approx(0.5 * expected[kind]["mse"] ** 0.5, rel=1e-6)


def test_a_run_gains_nothing_by_a_narrow_range():
    labels = np.array([0.5, -0.5, 1.0, -1.0], np.float32)
    wide = compare.fixed_score(STEERING, OTHER, labels / 2, labels)
    narrow = compare.fixed_score(STEERING, STEERING, np.sign(labels), labels)
    assert wide["natural"] == {"mae": 0, "rmse": 0, "skill": 1}
    assert narrow["natural"]["mae"] == 0.25
    assert narrow["natural"]["skill"] < 1


def test_the_first_run_that_has_a_head_defines_it():
    throttle = tiny.HEADS["throttle"]
    heads = {"b": {"steering": OTHER}, "a": {"steering": STEERING, "throttle": throttle}}
    agreed, owners = compare.agreed_heads(heads)
    assert agreed == {"steering": OTHER, "throttle": throttle}
    assert owners == {"steering": "b", "throttle": "a"}


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/r/a", "/r/b"], ["a", "b"]),
        (["/r/a/seed1", "/r/b/seed1"], ["a", "b"]),
        (["/r/a/seed1", "/r/a/seed2", "/r/b/seed1"], ["a/seed1", "a/seed2", "b/seed1"]),
        (["/r/a", "/r/a/b"], ["a", "b"]),
        (["/r/a", "/r/x/a"], ["r", "x"]),
        (["gs://bucket/one/run", "/two/run"], ["one", "two"]),
    ],
)
def test_names_are_the_shortest_that_tell_apart(paths, names):
    assert compare_facts.short_names(paths) == names


def test_frames_are_the_same_where_session_time_and_labels_are(tmp_path):
    first = tiny.make(tmp_path / "first").dataset
    more = tiny.sessions_of(((9, "train"), *tiny.SESSIONS))
    # The same sessions behind another one, which shifts every record.
    named = [dataclasses.replace(s, name=n) for s, n in zip(more, "zabcd", strict=True)]
    named[1:] = tiny.sessions_of()
    longer = tiny.open_dataset(tiny.write(tmp_path / "longer", named))
    assert len(longer.cameras) == len(first.cameras) + 9
    labels = dict(first.labels)
    labels["steering"] = labels["steering"].copy()
    labels["steering"][first.driving_ids("test")[0]] += 0.1
    changed = dataclasses.replace(first, labels=labels)

    def numbers(*datasets, labels=("steering", "throttle"), split="test"):
        frames = [(dataset, dataset.driving_ids(split)) for dataset in datasets]
        return compare_facts.same_frames(frames, labels)

    assert numbers(first, longer, changed, first) == [1, 1, 2, 1]
    assert numbers(first, changed, labels=["throttle"]) == [1, 1]
    assert numbers(first, longer, split="validation") == [1, 1]
    assert numbers(first, longer, split="train") == [1, 2]
    later = dataclasses.replace(first, times=first.times + 1)
    assert numbers(first, later, split="test") == [1, 2]
    # Another order of the same records.
    ids = first.driving_ids("train")
    assert compare_facts.same_frames([(first, ids), (first, ids[::-1])], ["steering"]) == [1, 1]
    assert compare_facts.same_frames([(first, ids[:0]), (first, ids)], ["steering"]) == [None, 1]


def test_differences_are_all_there_and_nothing_else():
    one = {"seed": 0, "optim": {"name": "adam", "steps": []}, "heads": {"a": {"scale": 1}}}
    two = {"seed": 0, "optim": {"name": "sgd", "steps": [[5, 0.1]]}, "heads": {}, "new": None}
    assert compare_facts.differences([one, two]) == [
        {"field": "optim.name", "values": ["adam", "sgd"]},
        {"field": "optim.steps", "values": ["[]", "[[5, 0.1]]"]},
        {"field": "heads.a", "values": ["there", ABSENT]},
        {"field": "new", "values": [ABSENT, "null"]},
    ]
    assert compare_facts.differences([one, one]) == []


# A comparison of three runs: the second at another scale and batch size, still going on; the third
# without throttle, on other frames, scored on validation frames.
STEPS = (10, 20, 30)
SCALES = {"a": 0.5, "b": 2.0, HOSTILE: 0.5}


# Of 12 stretches: better than straight on, not settled; of 3, too few.
WINDOWS = {
    name: [
        {"seconds": 1.0, "windows": 90, "stretches": 12 if interval else 3}
        | {"ratio": 0.8123, "interval": interval, "constant_interval": interval},
        {"seconds": 2.0, "ratio": 0.7123},
    ]
    for name, interval in {"a": [0.7, 0.9], "b": [0.7, 1.1], HOSTILE: None}.items()
}


def config_of(name: str) -> dict:
    bins = {"edges": [-1, 0, 1], "atoms": [0] if name == "a" else []}
    head = {"label": "steering", "scale": SCALES[name], "bins": bins}
    return {
        "batch_size": 16 if name == "b" else 8,
        "balance": "v2",
        "seed": 3,
        "model": {"backbone": "small"},
        "heads": {"steering": head, **({"throttle": head} if name != HOSTILE else {})},
    }


def metrics_lines(name: str) -> list[dict]:
    samples = config_of(name)["batch_size"]
    lines = []
    for step in STEPS:
        line = {"step": step, "train/samples_per_head": samples * step, "train/epoch": step / 4}
        for head in config_of(name)["heads"]:
            for part in ("train", "validation"):
                line |= {f"{part}/{head}/skill": step / 40, f"{part}/{head}/mse": 1 / step}
            line[f"validation/{head}/balanced_skill"] = step / 50
        lines.append(line)
    return lines


def result_of_three(folder) -> dict:
    generator = np.random.default_rng(0)
    labels = generator.uniform(-0.5, 0.5, 50).astype(np.float32)
    runs = []
    for name, scale in SCALES.items():
        workdir = folder / f"run{len(runs)}"
        workdir.mkdir(parents=True)
        text = "".join(json.dumps(line) + "\n" for line in metrics_lines(name))
        (workdir / "metrics.jsonl").write_text(text)
        run = {"durations": {"num_steps": 3000 if name == "b" else 30}, "parameters": 178_275}
        drive = {"step": 20, "mean": 912.3, "std": 4.5, "finished": 2, "tracks": [{}] * 3}
        own = dataclasses.replace(STEERING, scale=scale)
        noisy = (labels + generator.normal(0, 0.1, 50)) / scale
        facts = compare_facts.facts_of(
            config_of(name), run, drive if name == "a" else None, metrics_lines(name), 20
        )
        score = compare.fixed_score(STEERING, own, noisy, labels)
        heads = {"steering": {"label": "steering", "scale": scale} | score}
        if name != HOSTILE:
            heads["throttle"] = heads["steering"]
        alone = name == HOSTILE
        runs.append(
            {
                "name": name,
                "workdir": str(workdir),
                "split": "validation" if alone else "test",
                "frames": 50,
                "dataset": "0123456789abcdef",
                "training_frames": 1234,
                "frame_set": 2 if alone else 1,
                "validation_set": 1,
                "heads": heads,
                "assumed_rate": 20.0 if alone else None,
                "windowed": {"steering": WINDOWS[name]},
            }
            | facts
        )
    configs = [config_of(name) for name in SCALES]
    about = {"label": "steering", "unit": "share of full lock", "bins_of": "a"}
    bins = [f"bin {number}" for number in range(5)]
    return {
        "heads": {head: about | {"bins": bins} for head in ("steering", "throttle")},
        "runs": runs,
        "differences": compare_facts.differences(configs),
        "warnings": compare_facts.warnings(runs, configs),
    }


def test_what_to_beware_of_is_said(tmp_path):
    told = "\n".join(result_of_three(tmp_path)["warnings"])
    assert f"{HOSTILE} has no test frames: it is scored on its validation frames" in told
    assert f"{HOSTILE}: Some recordings have no usable clock: 20 images a second" in told
    assert f"not scored on the same frames: set 1: a, b; set 2: {HOSTILE}." in told
    assert "learning curves were not measured" not in told
    assert "The runs divide the label of steering into different bins" in told
    assert "b is not finished: it has made 30 of 3,000 steps." in told
    assert "a is not finished" not in told

    result = result_of_three(tmp_path / "again")
    same = [result["runs"][0], result["runs"][0] | {"name": "c"}]
    assert compare_facts.warnings(same, [config_of("a")] * 2) == []
    other = config_of("a")
    other["heads"]["steering"] = {"label": "angle", "scale": 0.5, "bins": {"edges": [-1, 1]}}
    same[1] = same[1] | {
        "heads": {"steering": same[1]["heads"]["steering"] | {"label": "angle"}},
        "validation_set": 2,
    }
    told = "\n".join(compare_facts.warnings(same, [config_of("a"), other]))
    assert "steering has different labels ('steering' in a, 'angle' in c)" in told
    assert "not measured on the same validation frames: set 1: a; set 2: c." in told


FOLLOWING = [
    ["a", "0.81", "0.70 to 0.90, 12 stretches of 10 s", "0.71", verdict.LEARNED],
    ["b", "0.81", "0.70 to 1.10, 12 stretches of 10 s", "0.71", verdict.INCLUDES_1],
    [HOSTILE, "0.81", "no interval: 3 stretches of 10 s, of at least 5", "0.71", verdict.TOO_FEW],
]


def test_the_page_stands_alone_and_says_every_number(tmp_path):
    result = result_of_three(tmp_path)
    path = compare_page.write(epath.Path(tmp_path), result)
    assert path == epath.Path(tmp_path) / "compare.html"
    page = Page(path.read_text())
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 3
    for image in images:
        assert image["alt"].startswith("Plot: ")
        assert image["src"].startswith("data:image/svg+xml;base64,")
        base64.b64decode(image["src"].split(",")[1], validate=True)
    for name in ("compare.png", "compare_results.png", "compare_by_samples.png"):
        with Image.open(io.BytesIO((tmp_path / name).read_bytes())) as picture:
            assert picture.format == "PNG"
    for warning in result["warnings"]:
        assert warning in page.text
    for run in result["runs"]:
        row = [run["name"], f"50, set {run['frame_set']}"]
        for kind in ("natural", "balanced"):
            values = run["heads"]["steering"][kind]
            row += [f"{values['skill']:+.3f}", f"{values['mae']:#.3g}", f"{values['rmse']:#.3g}"]
        row.insert(4, f"{run['heads']['steering']['constant']['mae']:#.3g}")
        # throttle has the same numbers where there is a throttle.
        assert page.rows.count(row) == len(run["heads"])
    for row in FOLLOWING:
        assert row in page.rows
    assert page.text.index("Do they follow the driver?") < page.text.index("Errors of single")
    assert ["batch_size", "8", "16", "8"] in page.rows
    assert ["heads.throttle", "there", "there", ABSENT] in page.rows
    assert ["training steps", "30", "30 of 3,000", "30"] in page.rows
    assert ["samples per head", "240", "480", "240"] in page.rows
    assert ["driving score", "912.3 ± 4.5", ABSENT, ABSENT] in page.rows
    assert ["laps finished", "2 of 3", ABSENT, ABSENT] in page.rows

    # With one batch size there is nothing to show by samples, and an older picture would be wrong.
    result["runs"][1]["batch_size"] = 8
    compare_page.write(epath.Path(tmp_path), result)
    assert not (tmp_path / "compare_by_samples.png").exists()


def test_the_console_says_what_the_page_says(tmp_path):
    result = result_of_three(tmp_path)
    lines = compare_page.table(result)
    assert lines[: len(result["warnings"])] == [f"Beware: {text}" for text in result["warnings"]]
    values = result["runs"][1]["heads"]["steering"]["balanced"]
    for row in FOLLOWING:
        assert any([cell.strip() for cell in re.split("   *", line)] == row for line in lines)
    (_, row, _) = [line.split() for line in lines if line.startswith("b  ")]
    assert row[-3:] == [f"{values['skill']:.3f}", f"{values['mae']:#.3g}", f"{values['rmse']:#.3g}"]
    assert any("balanced = over the bins of a" in line for line in lines)


def test_curves_are_in_the_unit_of_the_label(tmp_path):
    result = result_of_three(tmp_path)
    lines = {name: metrics_lines(name) for name in SCALES}
    with plots.style():
        by_step, by_samples = (
            compare_plots.learning_curves(result["runs"], result["heads"], lines, x=x)
            for x in ("step", "samples")
        )
    natural, balanced, error, *throttle = by_step.axes
    bold = [curve for curve in error.lines if curve.get_linewidth() == 2.0]
    assert len(bold) == 3
    for curve, scale in zip(bold, SCALES.values(), strict=True):
        np.testing.assert_allclose(curve.get_ydata(), np.sqrt(1 / np.array(STEPS)) * scale)
        assert list(curve.get_xdata()) == list(STEPS)
    # Bold and thin of every run, its mark, and the line of the best constant.
    assert len(natural.lines) == 3 * 3 + 1
    assert len(balanced.lines) == 2 * 3 + 1
    assert len(throttle[0].lines) == 3 * 2 + 1
    bold = [curve for curve in by_samples.axes[2].lines if curve.get_linewidth() == 2.0]
    assert [list(curve.get_xdata()) for curve in bold[:2]] == [[80, 160, 240], [160, 320, 480]]


def test_nothing_to_draw_is_no_reason_to_fail(tmp_path):
    result = result_of_three(tmp_path)
    for run in result["runs"]:
        epath.Path(run["workdir"], "metrics.jsonl").unlink()
        run["driving"] = None
        for kind in ("natural", "balanced"):
            run["heads"]["steering"][kind]["skill"] = None
    result["runs"][0]["heads"]["throttle"] = {
        **result["runs"][0]["heads"]["throttle"],
        "natural": {"mae": math.nan, "rmse": math.nan, "skill": math.nan},
    }
    text = Page(compare_page.write(epath.Path(tmp_path), result).read_text()).text
    assert "constant label, no skill" in text
    assert any("constant" in line for line in compare_page.table(result))


def test_a_head_of_one_run_is_no_contest():
    head = Head("gear", "gear", 1.0, 0.0, 1.0, Bins(edges=(0.0, 1.0)), "gear")
    score = compare.fixed_score(head, head, np.zeros(3, np.float32), np.zeros(3, np.float32))
    assert score["natural"] == {"mae": 0, "rmse": 0, "skill": None}
