"""The page, the console and the curves of a comparison say what the numbers say."""

import base64
import dataclasses
import io
import json
import math
import re

import numpy as np
from etils import epath
from PIL import Image

from jaxdrive.evaluation import compare, compare_facts, compare_page, compare_plots, plots, verdict
from tests.data import tiny
from tests.evaluation.test_report import HOSTILE, Page

ABSENT = compare_facts.ABSENT
STEERING = tiny.HEADS["steering"]

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
