"""What the writers wrote is read back by who reads it: the report, and TensorBoard itself."""

import io
import itertools
import json
import logging
import math
import types

import numpy as np
import pytest
from etils import epath
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jaxdrive.evaluation import plots, results, verdict, wording
from jaxdrive.training import writers
from jaxdrive.training.writers import METRICS_FILE, JsonLinesWriter, TensorBoardWriter, read_metrics


@pytest.fixture
def path(tmp_path) -> epath.Path:
    return epath.Path(tmp_path) / METRICS_FILE


def write_steps(path, steps, *, resumed_step=0, offset=0.0) -> None:
    writer = JsonLinesWriter(path, resumed_step=resumed_step)
    for step in steps:
        writer.write_summaries(step, {"train/steering/drawn": np.array([step, 0, 2])})
        writer.write_scalars(step, {"train/loss": np.float32(step + offset)})
        writer.flush()


def test_a_step_is_one_line_with_scalars_and_lists(path):
    write_steps(path, [10, 20])
    lines = path.read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 10, "train/steering/drawn": [10, 0, 2], "train/loss": 10.0},
        {"step": 20, "train/steering/drawn": [20, 0, 2], "train/loss": 20.0},
    ]
    assert path.read_text().endswith("}\n")


def test_nothing_is_on_disk_before_the_flush_and_nothing_twice_after(path):
    writer = JsonLinesWriter(path, resumed_step=0)
    writer.write_scalars(5, {"a": 1})
    writer.write_scalars(5, {"b": 2})
    assert path.read_text() == ""
    writer.flush()
    writer.close()
    assert list(read_metrics(path)) == [{"step": 5, "a": 1.0, "b": 2.0}]


def test_a_resumed_run_has_neither_gap_nor_double(path):
    write_steps(path, [10, 20, 30, 40])
    write_steps(path, [30, 40, 50], resumed_step=20, offset=0.5)
    lines = list(read_metrics(path))
    assert [line["step"] for line in lines] == [10, 20, 30, 40, 50]
    assert [line["train/loss"] for line in lines] == [10.0, 20.0, 30.5, 40.5, 50.5]
    write_steps(path, [10], resumed_step=0)
    assert [line["step"] for line in read_metrics(path)] == [10]


def test_a_torn_last_line_is_left_out_and_gone_after_resuming(path):
    write_steps(path, [10, 20])
    whole = path.read_text()
    for length in range(len(whole) - 1, whole.index("\n"), -7):
        path.write_text(whole[:length])
        seen = [line["step"] for line in read_metrics(path)]
        assert seen == ([10, 20] if length == len(whole) - 1 else [10])
    path.write_text(whole[:-5])
    write_steps(path, [30], resumed_step=20)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [10, 30]
    assert not list(read_metrics(path.parent / "missing.jsonl"))


def test_no_skill_and_a_diverged_number_stay_two_things_up_to_the_report(path):
    writer = JsonLinesWriter(path, resumed_step=0)
    nan, inf = np.float32("nan"), np.float32("inf")
    writer.write_scalars(1, {"none": None, "nan": nan, "inf": inf, "less": -inf, "skill": 0.5})
    writer.flush()
    assert '"none": null' in path.read_text()
    JsonLinesWriter(path, resumed_step=1)  # Reads and writes the lines of a resumed run.
    for (line,) in (list(read_metrics(path)), results.read_lines(path)):
        assert line["none"] is None
        assert math.isnan(line["nan"])
        assert (line["inf"], line["less"], line["skill"]) == (math.inf, -math.inf, 0.5)
        assert verdict.of_skill(line["none"]) == (wording.NO_SKILL, "unknown")
        assert verdict.of_skill(line["nan"])[0].startswith("not a number")
        for name in ("none", "nan", "inf", "less"):
            assert [len(values) for values in plots.series([line], name)] == [0, 0]


@pytest.fixture
def _seconds_pass(monkeypatch):
    """TensorBoard's files are named by the second, and resuming takes longer than that."""
    seconds = itertools.count(1_700_000_000)
    clock = types.SimpleNamespace(time=lambda: float(next(seconds)))
    monkeypatch.setattr("tensorboardX.event_file_writer.time", clock)


def tensorboard(folder) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"images": 0, "histograms": 0}).Reload()


def test_tensorboard_reads_scalars_images_and_histograms(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    writer = TensorBoardWriter(epath.Path(tmp_path), resumed_step=0)
    for step in (10, 20):
        writer.write_scalars(step, {"train/loss": step / 4, "validation/skill": None})
        writer.write_images(step, {"inputs/steering": image})
        writer.write_histograms(step, {"train/steering/labels": np.array([0.0, 0.0, 1.0])})
        writer.write_texts(step, {"note": "written"})
    writer.flush()
    seen = tensorboard(tmp_path)
    assert [(e.step, e.value) for e in seen.Scalars("train/loss")] == [(10, 2.5), (20, 5.0)]
    assert seen.Tags()["scalars"] == ["train/loss"]
    pictures = seen.Images("inputs/steering")
    assert [(p.step, p.height, p.width) for p in pictures] == [(10, 5, 7), (20, 5, 7)]
    with Image.open(io.BytesIO(pictures[0].encoded_image_string)) as decoded:
        np.testing.assert_array_equal(np.asarray(decoded), image)
    histogram = seen.Histograms("train/steering/labels")[0].histogram_value
    assert (histogram.num, histogram.sum, histogram.min, histogram.max) == (3, 1.0, 0.0, 1.0)
    writer.close()


@pytest.mark.usefixtures("_seconds_pass")
def test_tensorboard_forgets_what_came_after_the_resumed_step(tmp_path):
    for resumed, steps, offset in ((0, (10, 20, 30), 0), (20, (30, 40), 0.5)):
        writer = TensorBoardWriter(epath.Path(tmp_path), resumed_step=resumed)
        for step in steps:
            writer.write_scalars(step, {"train/loss": step + offset})
        writer.close()
    assert len(list(tmp_path.iterdir())) == 2
    events = tensorboard(tmp_path).Scalars("train/loss")
    assert [(e.step, e.value) for e in events] == [(10, 10), (20, 20), (30, 30.5), (40, 40.5)]


def test_a_run_s_writer_writes_everywhere(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="jaxdrive")
    writer = writers.make_writer(
        epath.Path(tmp_path), heads=["steering", "brake"], num_steps=200, resumed_step=0
    )
    train = {"train/loss": 0.5, "train/steering/loss": 0.3, "train/brake/loss": None}
    train |= {"train/steering/skill": 0.7, "train/brake/skill": None}
    train |= {"train/learning_rate": 1e-3, "train/images_per_second": 4321.0}
    train |= {"train/epoch": 3.14, "train/waiting_share": 0.25, "train/seconds_left": 125.4}
    train |= {"train/host_memory_gb": 1.24}
    held_out = {"validation/steering/mse": 0.1, "validation/brake/mse": 0.0}
    held_out |= {"validation/steering/skill": 0.4567, "validation/brake/skill": None}
    held_out |= {
        "validation/steering/balanced_skill": 0.25,
        "validation/brake/balanced_skill": None,
    }
    writer.write_scalars(100, train | held_out | {"validation/skill": 0.4567})
    for step in (50, 100):
        sheets = {name: np.full((5, 7, 3), step, np.uint8) for name in ("validation/frames", "a")}
        writer.write_images(step, sheets)
    writer.flush()
    writer.close()
    (line,) = read_metrics(epath.Path(tmp_path) / METRICS_FILE)
    assert line == {"step": 100} | train | held_out | {"validation/skill": 0.4567}
    seen = tensorboard(tmp_path / "tensorboard")
    assert seen.Scalars("train/loss")[0].value == 0.5
    assert [picture.step for picture in seen.Images("validation/frames")] == [50, 100]
    # The newest one alone, and whole.
    assert [path.name for path in tmp_path.glob("*.p*")] == ["heldout.png"]
    with Image.open(tmp_path / "heldout.png") as kept:
        np.testing.assert_array_equal(np.asarray(kept), sheets["validation/frames"])
    shown = [record.getMessage() for record in caplog.records]
    assert shown == [
        "step 100/200 | epoch 3.1 | loss 0.5000 | steering 0.3000 skill 0.700"
        " | brake (no example counted) skill (constant label) | rate 1.0e-03 | 4,321 images/s"
        " | waiting for data 25% | memory 1.2 GB | 2:05 left",
        "    held out: skill steering 0.457 brake (constant label)"
        " | balanced 0.250 (constant label)"
        " | mse steering 0.1000 brake 0.0000",
    ]


def test_the_console_shows_the_memory_of_devices_that_say_it(caplog):
    caplog.set_level(logging.INFO, logger="jaxdrive")
    train = dict.fromkeys(("train/epoch", "train/loss", "train/learning_rate"), 0.0)
    train |= dict.fromkeys(("train/images_per_second", "train/waiting_share"), 0.0)
    train |= {"train/seconds_left": 0.0, "train/host_memory_gb": 1.24}
    train |= {"train/device_memory_gb": 3.14, "train/device_memory_peak_gb": 60.0}
    writers.ConsoleWriter(heads=[], num_steps=20).write_scalars(10, train)
    assert " | memory 1.2 GB | device memory 3.1 GB, peak 60.0 GB | " in caplog.text


def test_other_processes_write_nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    writer = writers.silent_writer()
    writer.write_scalars(1, {"train/loss": 1.0})
    writer.write_images(1, {"inputs": np.zeros((2, 2, 3), np.uint8)})
    writer.flush()
    writer.close()
    assert not list(tmp_path.iterdir())
