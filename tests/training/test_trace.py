"""Traces: exactly the updates asked for, each operation with the path that the compiler knows."""

import gzip
import json
import logging
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from etils import epath

from jaxdrive.training import profiler, trace
from jaxdrive.training.hlo_names import ADDED, source_names
from jaxdrive.training.profiler import Profiler, steps_to_trace


@jax.jit
def update(x):
    """Has a weight gradient for which a CPU's compiler makes an operation without a path."""
    with jax.named_scope("changes"):
        x = jnp.tanh(x)

    def loss(kernel):
        out = jax.lax.conv(x, kernel, (2, 2), "SAME")
        return jnp.maximum(out, 0).mean()

    with jax.named_scope("pass_steering"):
        gradient = jax.grad(loss)(jnp.ones((8, 4, 3, 3)))
    return x + gradient.mean()


def train(profiling: Profiler, steps: range) -> None:
    """Makes updates as the loop does."""
    x = jnp.ones((2, 4, 32, 32))
    for step in steps:
        profiling.at(step, x)
        with jax.profiler.StepTraceAnnotation("train", step_num=step):
            x = update(x)
    profiling.at(steps.stop, x)


def events_of(workdir: Path) -> list[dict]:
    (file,) = (workdir / "profile").glob(trace.JSON_PATTERN)
    return json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]


def steps_in(workdir: Path) -> list[int]:
    """The updates that a trace holds whole."""
    return sorted(
        int(event["args"]["step_num"]) for event in events_of(workdir) if event["name"] == "train"
    )


@pytest.fixture(scope="module")
def traced(tmp_path_factory) -> Path:
    """The workdir of a run of which steps 3 to 5 were traced, its step having been compiled."""
    workdir = tmp_path_factory.mktemp("run")
    with Profiler(range(3, 5), epath.Path(workdir)) as profiling:
        train(profiling, range(9))
    return workdir


def test_a_trace_holds_the_updates_asked_for(traced):
    assert steps_in(traced) == [3, 4]


def test_operations_are_called_by_what_the_compiler_knows_of_them(traced):
    (xspace,) = (traced / "profile").glob("plugins/profile/*/*.xplane.pb")
    found = source_names(xspace.read_bytes())
    text = update.lower(jnp.ones((2, 4, 32, 32))).compile().as_text()
    lines = re.findall(r'^\s*(?:ROOT )?%?([\w.-]+) = .*op_name="([^"]*/[^"]*)"', text, re.MULTILINE)
    assert len(lines) > 5
    for name, path in lines:
        assert found["jit_update", name] == path
    compiled = [event for event in events_of(traced) if "hlo_op" in event.get("args", ())]
    named = [event for event in compiled if event["args"]["hlo_module"] == "jit_update"]
    assert {event["args"]["hlo_op"] for event in named} <= set(re.findall(r"[\w.-]+", text))
    for event in named:
        assert event["name"] == (event["args"]["source"] or event["args"]["hlo_op"])
    paths = {event["name"] for event in named}
    assert any("/changes/" in path for path in paths)
    # What the weight gradient waits for last is the backward pass, not the changed images.
    added = [path for path in paths if path.endswith(ADDED)]
    assert any("/pass_steering/transpose(" in path for path in added)


def test_the_table_adds_up_to_the_operations(traced):
    """Operations inside others count once, whatever the depth of the names."""
    (file,) = (traced / "profile").glob(f"plugins/profile/*/{trace.PARTS_FILE}")
    head, *tables = file.read_text().split("\n\n")
    assert head.startswith("Steps 3 to 5: milliseconds a step")
    spent = sum(event["dur"] for event in events_of(traced) if "hlo_op" in event.get("args", ()))
    for table in tables:
        rows = [line.rsplit(maxsplit=3) for line in table.splitlines()[1:]]
        assert {"update/changes", "update/pass_steering"} <= {row[0] for row in rows}
        assert all(abs(float(f) + float(b) - float(a)) < 0.002 for _, f, b, a in rows)
        assert 0 < sum(float(row[3]) for row in rows) <= spent / 1000 / 2 + 0.01
        assert float(next(row for row in rows if row[0] == "update/pass_steering")[2]) > 0


def test_operations_inside_others_count_once():
    def event(ts, dur, source):
        return {"ts": ts, "dur": dur, "args": {"source": source}}

    # a holds b and d, b holds c; e follows.
    events = [event(10, 1, "e"), event(2, 3, "b"), event(0, 10, "a"), event(3, 1, "c")]
    events.append(event(5, 2, "d"))
    own = {one.source: round(one.seconds * 1e6) for one in trace._own_times(events)}
    assert own == {"a": 5, "b": 2, "c": 1, "d": 2, "e": 1}


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        (
            "jit(train_step)/pass_brake/transpose(jvp(MultiHead))/backbone/Conv_1/mul",
            ("train_step/pass_brake", "train_step/pass_brake/backbone/Conv_1"),
        ),
        (
            "jit(train_step)/pass_brake/transpose(pass_brake)/jvp(MultiHead)/backbone/select_n",
            ("train_step/pass_brake", "train_step/pass_brake/backbone"),
        ),
        (
            "jit(train_step)/pass_all/jvp(MultiHead)/MultiHead._head/brake_0/dot_general",
            ("train_step/pass_all", "train_step/pass_all/brake_0"),
        ),
        ("jit(train_step)/pass_all/jvp(loss_brake)/sub", ("train_step/pass_all", None)),
        ("jit(train_step)/add", ("train_step", "train_step")),
        ("jit(add)/add", ("add", "add")),
    ],
)
def test_paths_become_parts(source, parts):
    assert trace.part_of(source, 2) == parts[0]
    assert trace.part_of(source, 4) == (parts[1] or "train_step/pass_all/loss_brake")


def fail_while_traced(workdir: Path) -> None:
    with Profiler(range(2, 100), epath.Path(workdir)) as profiling:
        train(profiling, range(5))
        raise ZeroDivisionError


def test_a_run_that_fails_within_the_range_leaves_its_trace(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="jaxdrive")
    with pytest.raises(ZeroDivisionError):
        fail_while_traced(tmp_path)
    assert steps_in(tmp_path) == [2, 3, 4]
    assert "Trace of steps 2 to 5: open" in caplog.text


def test_a_run_that_takes_updates_again_is_traced_once(tmp_path):
    """As after updates that were skipped."""
    with Profiler(range(2, 4), epath.Path(tmp_path)) as profiling:
        train(profiling, range(5))
        train(profiling, range(3, 6))
    assert steps_in(tmp_path) == [2, 3]


def test_a_trace_that_cannot_be_written_does_not_end_the_run(tmp_path, caplog):
    (tmp_path / profiler.FOLDER).write_text("in the way")
    with Profiler(range(1, 2), epath.Path(tmp_path)) as profiling:
        train(profiling, range(3))
    assert "The trace could not be written" in caplog.text


def test_a_run_that_ends_before_the_range_says_so(tmp_path, caplog):
    with Profiler(range(7, 9), epath.Path(tmp_path)) as profiling:
        train(profiling, range(3))
    assert "No trace was written: training ended at step 3, and the trace starts at step 7" in (
        caplog.text
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("asked", "step", "found", "message"),
    [
        (None, 0, range(0), None),
        (range(3, 9), 0, range(3, 9), None),
        (range(3, 9), 5, range(5, 9), "traces steps 5 to 9 alone: the run starts at step 5"),
        (range(3, 90), 0, range(3, 24), "traces steps 3 to 24 alone"),
        (range(3, 9), 9, range(0), "traces nothing: the run starts at step 9 and ends at step 24"),
        (range(24, 30), 0, range(0), "traces nothing"),
    ],
)
def test_a_range_that_the_run_does_not_have(asked, step, found, message, caplog):
    steps = steps_to_trace(asked, step, 24)
    assert list(steps) == list(found)
    assert (message in caplog.text) if message else not caplog.text
