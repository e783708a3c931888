"""A recording with its faults, from the folder to the report; and folders that hold none."""

import json

import pytest

from tests.end_to_end.conftest import steps_saved
from tests.end_to_end.test_bad_input import assert_refused
from tests.recordings import COLUMNS, image_name, record, write_log

ROWS = 120

# The smallest pictures that PilotNet takes, and blocks that leave each split some of 8 seconds.
FIELDS = {
    "num_steps": 4,
    "log_every": 2,
    "eval_every": 2,
    "checkpoint_every": 2,
    "batch_size": 4,
    "data.crop_top": 0,
    "data.crop_bottom": 0,
    "data.height": 61,
    "data.width": 61,
    "data.split.block_seconds": 0.5,
    "data.split.gap_seconds": 0.1,
    "model.batch_norm.use": False,
    "drive.tracks": 0,
}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Two sessions; in the first, six of 363 frames are bad."""
    folder = tmp_path_factory.mktemp("recordings")
    first = folder / "monday" / "first"
    log = record(first, ROWS + 1, size=(64, 64))
    log[7][COLUMNS.index("steering")] = "nan"
    write_log(first, log)
    (first / "IMG" / image_name("center", 3)).unlink()
    (first / "IMG" / image_name("left", 4)).write_bytes(b"")
    damaged = first / "IMG" / image_name("right", 5)
    damaged.write_bytes(damaged.read_bytes()[:-50])
    record(folder / "tuesday", ROWS, size=(64, 64), first=1000)
    return folder


def start(launch, verb, path, workdir, **fields):
    words = ("--config=configs/udacity.py:pedals", f"--config.data.path={path}")
    return launch(verb, *words, workdir=workdir, **(FIELDS | fields))


def test_from_a_recording_to_the_report(launch, recordings, tmp_path):
    workdir = tmp_path / "run"
    done = start(launch, "train", recordings, workdir)
    assert done.returncode == 0, done.stdout + done.stderr
    assert steps_saved(workdir)[-1] == 4
    dataset = json.loads((workdir / "run.json").read_text())["dataset"]
    with open(f"{dataset['path']}/manifest.json") as file:
        manifest = json.load(file)
    assert manifest["bad_rows"]["reasons"] == {
        "label is no number": 3,
        "image missing": 1,
        "image empty": 1,
        "image damaged": 1,
    }
    assert manifest["table"]["rows"] + 6 == 3 * (2 * ROWS + 1)
    warnings = [line for line in done.stdout.splitlines() if "are bad" in line]
    assert len(warnings) == 1
    for words in ("Of 723 frames, 6 are bad", "image missing (1)", dataset["path"]):
        assert words in warnings[0]
    evaluation = json.loads((workdir / "evaluation.json").read_text())
    assert evaluation["heads"].keys() == {"steering", "throttle", "brake"}
    # Only the camera in the middle drives, so only its frames are measured.
    assert 0 < evaluation["frames"] < dataset["frames"]["test"] / 2
    page = (workdir / "report.html").read_text()
    assert "launch.py drive" not in page

    assert_refused(
        launch("drive", workdir=workdir), "'udacity' has no simulator", "--simulator=udacity"
    )
    done = start(
        launch, "train", recordings, tmp_path / "other", **{"heads.steering.label": "wheel"}
    )
    assert_refused(done, "config.heads.steering.label", "'wheel'", "brake, pedals, speed, steering")
    done = start(launch, "prepare", recordings, workdir, **{"data.on_bad": "fail"})
    row = "monday/first/driving_log.csv, row 8, center: label is no number"
    assert_refused(done, row, str(recordings / "monday" / "first"), "on_bad=skip")


def test_windows_that_are_to_choose_and_are_not_there(launch, recordings, tmp_path):
    """Blocks of half a second hold a window of one only where two of a split meet."""
    windowed = {"best_by": "steering:windowed"}
    done = start(launch, "train", recordings, tmp_path / "run", **windowed)
    told = (
        "config.best_by='steering:windowed' cannot",
        "validation frames have 1 window.",
        "steering:natural",
    )
    assert_refused(done, *told)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_folder_without_a_recording(launch, tmp_path):
    done = start(launch, "train", tmp_path / "none", tmp_path / "run")
    assert_refused(done, f"no recording in {tmp_path / 'none'}", "--config.data.path=DIR")
    (tmp_path / "empty").mkdir()
    write_log(tmp_path / "empty", [])
    done = start(launch, "prepare", tmp_path / "empty", tmp_path / "run")
    assert_refused(done, f"in {tmp_path / 'empty'}: session . holds no usable frame: it is empty")


def test_a_split_without_frames(launch, recordings, tmp_path):
    whole = {"data.split.block_seconds": 0, "data.split.validation": 0.01}
    done = start(launch, "train", recordings, tmp_path / "run", **whole)
    assert_refused(done, "no validation frames", "raise config.data.split.validation", "block_sec")
