"""All folds of a recording by one command: interrupted, resumed, skipped, summed up, refused."""

import json
import os
import signal

import pytest

from tests.end_to_end.conftest import numbers, steps_saved, wait_for
from tests.end_to_end.test_bad_input import assert_refused, contents
from tests.end_to_end.test_recordings import FIELDS, ROWS
from tests.recordings import record

STEPS = 12
FEW = ("--folds=3", "--split=validation")


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recording")
    record(folder / "monday", ROWS, size=(64, 64))
    return folder


@pytest.fixture
def words(recording) -> tuple[str, str]:
    return "--config=configs/udacity.py", f"--config.data.path={recording}"


def kept(workdir) -> dict[str, bytes]:
    """What training writes of the runs."""
    return {name: text for name, text in contents(workdir).items() if "checkpoints" in name}


def test_interrupted_folds_resume_and_finished_ones_are_skipped(launch, words, tmp_path):
    workdir, fields = (
        tmp_path / "folds",
        FIELDS | {"num_steps": STEPS, "best_by": "steering:natural"},
    )
    running = launch.start("folds", *words, *FEW, workdir=workdir, **fields)
    wait_for(lambda: steps_saved(workdir / "fold_1_seed_0"), running, 300)
    os.killpg(running.pid, signal.SIGINT)
    output, _ = running.communicate(timeout=120)
    assert running.returncode == 130, output
    assert "Traceback" not in output
    assert "the same command goes on" in output
    assert steps_saved(workdir / "fold_0_seed_0")[-1] == STEPS
    assert not (workdir / "folds.json").exists()

    first = kept(workdir / "fold_0_seed_0")
    done = launch("folds", *words, *FEW, workdir=workdir, **fields)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"3 runs of 3 folds in {workdir}; 1 finished already" in done.stdout
    assert "Run 2 of 3: fold 1, seed 0" in done.stdout
    assert kept(workdir / "fold_0_seed_0") == first
    result = json.loads((workdir / "folds.json").read_text())
    assert [(run["fold"], run["seed"]) for run in result["runs"]] == [(0, 0), (1, 0), (2, 0)]
    # Each frame is held out once, except those near to other blocks.
    assert ROWS / 3 < sum(run["frames"] for run in result["runs"]) < ROWS
    for run in result["runs"]:
        evaluation = json.loads(
            (workdir / f"fold_{run['fold']}_seed_0/evaluation.json").read_text()
        )
        assert (evaluation["split"], evaluation["heads"]) == ("validation", run["heads"])

    # What ran before in the same process has left no trace in a run.
    one = {"data.split.folds": 3, "data.split.fold": 2}
    alone = launch("train", *words, workdir=tmp_path / "alone", **fields | one)
    assert alone.returncode == 0, alone.stdout + alone.stderr
    assert numbers(tmp_path / "alone") == numbers(workdir / "fold_2_seed_0")

    every = kept(workdir)
    again = launch("folds", *words, *FEW, workdir=workdir, **fields)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "; 3 finished already" in again.stdout
    assert "Run " not in again.stdout
    assert json.loads((workdir / "folds.json").read_text()) == result
    test = launch("folds", *words, "--folds=3", workdir=workdir, **fields)
    assert test.returncode == 0, test.stdout + test.stderr
    assert "every run scored on its test blocks" in test.stdout
    assert json.loads((workdir / "folds.json").read_text())["split"] == "test"
    assert kept(workdir) == every

    done = launch("folds", *words, *FEW, workdir=workdir, **fields | {"optim.learning_rate": 0.1})
    assert_refused(
        done, "fold_0_seed_0 holds a run of other settings", "optim.learning_rate: 0.001 there, 0.1"
    )
    done = launch("folds", *words, "--folds=4", workdir=workdir, **fields)
    assert_refused(done, "data.split.folds: 3 there, 4 now", "another --workdir")
    assert kept(workdir) == every


def test_recordings_that_cannot_be_dealt_to_folds(launch, words, tmp_path):
    done = launch("folds", *words, "--folds=99", workdir=tmp_path / "run", **FIELDS)
    assert_refused(done, "folds=99: the recordings have 17 blocks", "--folds")
    # Gaps as long as the blocks leave nothing of them.
    gaps = {"data.split.gap_seconds": 0.5}
    done = launch("folds", *words, *FEW, workdir=tmp_path / "run", **FIELDS | gaps)
    assert_refused(done, "fold 0 of 3 has no validation frames", "gap_seconds")
    assert not list((tmp_path / "run").glob("fold_*"))
