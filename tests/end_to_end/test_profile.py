"""`train --profile=A:B`: the run stays what it was, and its trace names the parts of its step."""

import gzip
import json
import os
import re
import signal
from pathlib import Path

from tests.end_to_end.conftest import TINY, final_state, numbers, steps_saved, wait_for
from tests.end_to_end.test_train import assert_same_bits

HEADS = ("brake", "steering", "throttle")
UNDRIVEN = {"drive.tracks": 0}


def trace_of(workdir: Path, output: str) -> tuple[list[int], set[str]]:
    """The updates and the names of a trace, read from the file that the output says to open."""
    file = re.search(r"open (\S+) at https://ui.perfetto.dev", output)[1]
    assert Path(file).is_relative_to(workdir / "profile")
    events = json.loads(gzip.decompress(Path(file).read_bytes()))["traceEvents"]
    steps = [event["args"]["step_num"] for event in events if event["name"] == "train"]
    return sorted(map(int, steps)), {event["name"] for event in events}


def test_a_traced_run_is_the_same_run(trained, launch, tmp_path):
    """The range crosses log lines, measurements and checkpoints."""
    workdir = tmp_path / "traced"
    done = launch("train", "--profile=6:18", workdir=workdir, **UNDRIVEN)
    assert done.returncode == 0, done.stderr
    assert numbers(workdir) == numbers(trained)
    assert_same_bits(final_state(workdir), final_state(trained))
    steps, names = trace_of(workdir, done.stdout)
    assert steps == list(range(6, 18))
    assert {"wait for data", "measure held-out frames", "save checkpoint"} <= names
    paths = [name for name in names if name.startswith("jit(train_step)/")]
    for part in ("pass_all/", "optimizer/", *(f"augment_{head}/" for head in HEADS)):
        assert any(part in path for path in paths), part
    for head in HEADS:
        assert any(f"{head}_output" in path and "transpose(" in path for path in paths)
    parts = Path(
        re.search(r"Time by part: train_step/pass_all .*\((\S+)\)", done.stdout)[1]
    ).read_text()
    assert "train_step/pass_all/backbone/Conv_0" in parts

    again = launch("train", "--profile=6:18", workdir=workdir, **UNDRIVEN)
    assert again.returncode == 0, again.stderr
    nothing = "--profile=6:18 traces nothing: the run starts at step 24 and ends at step 24"
    assert nothing in again.stdout


def test_a_run_stopped_while_it_is_traced_leaves_trace_and_checkpoint(launch, tmp_path):
    workdir = tmp_path / "stopped"
    last = 100_000
    words = ("train", f"--profile=5:{last}")
    fields = UNDRIVEN | {"num_steps": last, "log_every": 1, "eval_every": 0, "keep_every": 0}
    running = launch.start(*words, workdir=workdir, **(fields | {"checkpoint_every": last}))
    metrics = workdir / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and metrics.read_text().count("\n") >= 9, running)
    os.killpg(running.pid, signal.SIGTERM)
    output, _ = running.communicate(timeout=120)
    assert running.returncode == 128 + signal.SIGTERM, output
    assert "Traceback" not in output
    step = max(steps_saved(workdir))
    assert f"stopped by SIGTERM at step {step}, which is saved" in output
    steps, _ = trace_of(workdir, output)
    assert steps == list(range(5, step))
    assert step > TINY["log_every"]
