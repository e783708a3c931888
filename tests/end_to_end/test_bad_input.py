"""What can go wrong at the door: one clear message, an exit code, no traceback, nothing lost."""

import json
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jaxdrive.data.store import checksum
from tests.end_to_end.conftest import ROOT, environment, steps_saved, wait_for


def assert_refused(done, *told: str, code: int = 1) -> None:
    """The command failed with one message that says what `told` says."""
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    message = done.stderr[done.stderr.index("error: ") :]
    for text in told:
        assert text in message


def copied_dataset(trained, target: Path) -> Path:
    """A copy of the dataset of a run with its stores, for damage."""
    path = Path(json.loads((trained / "run.json").read_text())["dataset"]["path"])
    for store in json.loads((path / "manifest.json").read_text())["stores"]:
        shutil.copytree(path.parent / store["folder"], target / store["folder"])
    return Path(shutil.copytree(path, target / path.name))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_batch_that_does_not_divide(launch, tmp_path):
    done = launch("train", workdir=tmp_path / "run", devices=3)
    assert_refused(done, "config.batch_size=8", "3 devices", "such as 6 or 9")


def test_a_workdir_of_another_model_or_dataset(launch, trained):
    before = contents(trained)
    done = launch("train", workdir=trained, **{"model.common": "(32,)"})
    assert_refused(done, str(trained), "model.common: [64] there, [32] now", "another --workdir")
    done = launch("train", workdir=trained, **{"data.max_steps": 40})
    assert_refused(done, "data.max_steps: 60 there, 40 now")
    assert contents(trained) == before


def test_heads_that_do_not_fit_the_data(launch, trained, tmp_path):
    """The dataset is there already; nothing is written to the workdir."""
    workdir = tmp_path / "run"
    done = launch("train", workdir=workdir, **{"heads.steering.scale": 0.01})
    assert_refused(done, "config.heads.steering has no bin for", "CarRacing track", "-0.01 to 0.01")
    done = launch("train", workdir=workdir, **{"heads.brake.label": "speed"})
    assert_refused(done, "config.scalars.speed is what config.heads.brake.label learns")
    assert not (workdir / "config.json").exists()
    assert not (workdir / "checkpoints").exists()


def test_a_dataset_of_another_schema_version(launch, trained, tmp_path):
    copy = copied_dataset(trained, tmp_path)
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"schema_version": 99}))
    done = launch("evaluate", workdir=trained, **{"data.prepared": copy})
    assert_refused(done, str(copy), "schema version 99", "reads versions 3 and 4", "prepare")


def test_labels_beyond_the_bins_are_told_in_evaluation(launch, trained, tmp_path):
    before = (trained / "evaluation.json").read_bytes()
    copy = copied_dataset(trained, tmp_path)
    table = pq.read_table(copy / "labels.parquet")
    column = table.column_names.index("label/steering")
    steering = table["label/steering"].to_numpy().copy()
    steering[np.flatnonzero(np.asarray(table["split"].to_pylist()) == "test")[:2]] = 3.0
    table = table.set_column(column, "label/steering", pa.array(steering))
    pq.write_table(table, copy / "labels.parquet")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["table"]["xxh3_128"] = checksum(copy / "labels.parquet")
    (copy / "manifest.json").write_text(json.dumps(manifest))
    done = launch("evaluate", workdir=trained, **{"data.prepared": copy})
    (trained / "evaluation.json").write_bytes(before)
    assert done.returncode == 0, done.stderr
    told = "Head steering has no bin for 2 of 30 labels 'steering', such as 3 (CarRacing track"
    assert told in done.stdout
    assert "such labels count as the nearer end" in done.stdout


def test_a_truncated_shard(launch, trained, tmp_path):
    copy = copied_dataset(trained, tmp_path)
    shard = sorted(tmp_path.glob("images-*/*array_record*"))[-1]
    shard.write_bytes(shard.read_bytes()[:-1000])
    done = launch("evaluate", workdir=trained, **{"data.prepared": copy})
    assert_refused(done, str(shard), "its manifest says", "prepare")
    shutil.rmtree(shard.parent)
    done = launch("evaluate", workdir=trained, **{"data.prepared": copy})
    assert_refused(done, f"images of the dataset {copy} are missing", str(shard.parent), "Copy")


def test_a_missing_checkpoint(launch, trained, tmp_path):
    there = ", ".join(map(str, steps_saved(trained)))
    for verb in ("evaluate", "drive"):
        assert_refused(launch(verb, "--step=7", workdir=trained), "step 7", f"there are {there}")
        assert_refused(launch(verb, workdir=tmp_path / "nothing"), "holds no run", "train first")


def test_no_space(launch, trained, tmp_path):
    """The limit on the size of a file stands for a full disk: writing fails the same way."""
    workdir, fields = tmp_path / "run", {"data.dir": tmp_path / "datasets"}
    limited = ["bash", "-c", 'ulimit -f 20; exec "$@"', "limited"]
    command = limited + launch.command("prepare", workdir=workdir, **fields)
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert_refused(done, "no space left", "goes on from there")
    assert not list((tmp_path / "datasets").glob("*/manifest.json"))
    again = launch("prepare", workdir=workdir, **fields)
    assert again.returncode == 0, again.stderr


def test_ctrl_c_while_recording(launch, tmp_path):
    fields = {"data.dir": tmp_path, "data.episodes": 30, "data.max_steps": 1000}
    running = launch.start("prepare", workdir=tmp_path, **fields)
    wait_for(lambda: list(tmp_path.glob("*.incomplete/*.parquet")), running)
    os.killpg(running.pid, signal.SIGINT)
    output, _ = running.communicate(timeout=60)
    assert running.returncode == 130, output
    assert "Traceback" not in output
    assert "nothing is lost, the same command goes on" in output
    assert not list(tmp_path.glob("*/manifest.json"))


def test_a_port_in_use(launch, tmp_path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        words = (f"--coordinator=127.0.0.1:{port}", "--num_processes=2", "--process_id=0")
        done = launch("train", *words, workdir=tmp_path)
    assert_refused(done, f"127.0.0.1:{port}", "in use", "another port")
