"""The benchmark of the peers: what it makes of numbers, of workers that fail, and its files."""

import dataclasses
import json
import os
import statistics
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import peers
from benchmarks.peer_workers import configured, lineup, machine, measurement, records
from benchmarks.peer_workers.conversation import ROOT, Worker, WorkerError
from benchmarks.peer_workers.measurement import Measurement, Row
from benchmarks.peer_workers.protocol import children
from benchmarks.peer_workers.workload import Workload

SECONDS = st.floats(1e-3, 10)
ROUNDS = st.lists(SECONDS, min_size=1, max_size=9)
# Makes three updates, whatever it prints.
WORKER = """
from benchmarks.peer_workers.protocol import Work, serve

def make(arguments):
    made = iter(range(1, 4))

    def update():
        print("this goes to the log")
        try:
            return float(next(made))
        except StopIteration:
            raise ValueError(f"{arguments[0]} has no more") from None

    return Work(update, lambda: None, device="cpu", parameters=7)

serve(make, ["numpy"])
"""


def row(peer="ours", cpu=(1.0,), **fields):
    return Row(peer=peer, title=peer, wall=cpu, cpu=cpu, **fields)


def measured(*rows):
    return Measurement("net", "a net", 96, rows, "2026-01-01 12:00", "abc", 9, (0.0, 0.0), 0.0)


def started(folder, *command):
    return Worker([sys.executable, *command], folder / "worker.log", {})


@given(ROUNDS, ROUNDS)
def test_slower_is_beyond_the_tolerance_and_beyond_all_rounds_differences(before, after):
    old, new = statistics.median(before), statistics.median(after)
    spread = max(max(before) - min(before), max(after) - min(after))
    found = measurement.slower(measured(row(cpu=before)), measured(row(cpu=after)))
    assert bool(found) == (new > 1.05 * old and new - old > spread)


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ((1.00, 1.00, 1.00), (1.06, 1.06, 1.06), True),
        ((1.00, 1.00, 1.00), (1.04, 1.04, 1.04), False),
        ((1.00, 1.00, 1.10), (1.06, 1.06, 1.06), False),
        ((1.00, 1.00, 1.00), (1.00, 1.06, 1.10), False),
        ((1.00, 1.01, 1.02), (2.00, 2.01, 2.02), True),
        ((2.00, 2.00, 2.00), (1.00, 1.00, 1.00), False),
    ],
)
def test_what_got_slower_is_named_with_its_numbers(before, after, found):
    changes = measurement.slower(measured(row(cpu=before)), measured(row(cpu=after)))
    assert [change.peer for change in changes] == ["ours"] * found
    if found:
        assert f"{statistics.median(after) * 1e3:.1f} ms" in str(changes[0])


def test_only_what_both_measured_is_compared_and_only_ours_fails_the_run(capsys):
    slow = {name: row(name, cpu=(2.0,)) for name in ("ours", "keras-tf", "torch")}
    gone = dataclasses.replace(slow["torch"], reason="not installed", wall=(), cpu=())
    before = measured(row("ours"), row("keras-tf"), row("torch"))
    assert measurement.slower(measured(row("ours"), gone), measured(slow["torch"])) == []
    assert peers.failures_of(before, measured(row("ours"), slow["keras-tf"], gone)) == []
    assert "keras-tf takes 100.0% more" in capsys.readouterr().out
    (failure,) = peers.failures_of(before, measured(*slow.values()))
    assert "ours takes 100.0% more" in failure
    unmeasured = measured(dataclasses.replace(gone, peer="ours"))
    assert len(peers.failures_of(None, unmeasured)) == 1


@given(st.lists(st.tuples(SECONDS, SECONDS, SECONDS), min_size=1))
def test_speed_does_not_depend_on_how_fast_the_machine_was_in_a_round(rounds):
    own, other, slowness = zip(*rounds, strict=True)
    quiet = measurement.speed(row(cpu=own), row(cpu=other), "wall")
    drifting = [row(cpu=[t * s for t, s in zip(x, slowness, strict=True)]) for x in (own, other)]
    assert measurement.speed(*drifting, "wall") == pytest.approx(quiet)
    twice = row(cpu=[t / 2 for t in own])
    assert measurement.speed(twice, row(cpu=other), "cpu") == pytest.approx(2 * quiet)


def test_another_network_or_device_is_not_compared():
    ours = row(parameters=10, device="cpu")
    wrong = row("smaller", parameters=9, device="cpu")
    elsewhere = row("gpu", parameters=10, device="NVIDIA")
    absent = row("absent", reason="not installed")
    right = row("right", parameters=10, device="cpu")
    found = measurement.mismatches([absent, ours, wrong, elsewhere, right], "ours")
    assert found.keys() == {"smaller", "gpu"}
    assert "9 parameters, ours has 10" in found["smaller"]


def test_history_keeps_the_latest_of_every_machine_and_workload(tmp_path):
    history: records.History = {}
    for cpu in (1.0, 2.0, 3.0, 4.0, 5.0):
        records.add(history, "here", {"net": measured(row(cpu=(cpu, cpu / 3)))})
    records.add(history, "there", {"other": measured(row())})
    records.write(tmp_path / "peers.json", history)
    read = records.read(tmp_path / "peers.json")
    assert [kept["rows"][0]["cpu"][0] for kept in read["here"]["net"]] == [5.0, 4.0, 3.0]
    latest = records.latest(read, "here")["net"]
    assert latest.rows[0].cpu == [5.0, pytest.approx(5 / 3, rel=1e-5)]
    assert records.latest(read, "nowhere") == {}
    assert records.latest(read, "there").keys() == {"other"}
    assert records.read(tmp_path / "none.json") == {}


@pytest.mark.parametrize("name", configured.NETWORKS)
def test_workers_get_the_workload_that_was_sent(name):
    workload = configured.workload_of(name)
    assert Workload.from_json(workload.to_json()) == workload


def test_a_worker_answers_and_says_why_it_failed(tmp_path):
    worker = started(tmp_path, "-c", WORKER, "the worker")
    try:
        assert worker.about["first_loss"] == 1.0
        assert worker.about["parameters"] == 7
        assert worker.about["versions"].keys() == {"python", "numpy"}
        answer = worker.measure(2)
        assert answer["loss"] == 3.0
        assert min(answer["wall"], answer["cpu"]) > 0
        for _ in range(2):
            with pytest.raises(WorkerError, match=r"^ValueError: the worker has no more$"):
                worker.measure(1)
    finally:
        worker.stop()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("import os; os._exit(3)", "ended with exit code 3"),
        (WORKER.replace("float(next(made))", "float('nan')"), "the loss is nan"),
    ],
)
def test_a_worker_that_does_not_start_says_why(tmp_path, script, reason):
    with pytest.raises(WorkerError, match=reason):
        started(tmp_path, "-c", script, "the worker")


def test_processes_of_processes_count():
    inner = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    process = subprocess.Popen([sys.executable, "-c", inner], stdin=subprocess.PIPE)
    try:
        while len(children(process.pid)) < 1:
            assert process.poll() is None
        assert {process.pid, *children(process.pid)} <= set(children(os.getpid()))
    finally:
        process.communicate(b"\n")


def test_the_command_measures_writes_and_goes_on_without_missing_peers(tmp_path):
    missing = str(tmp_path / "python")
    command = [
        *(sys.executable, "-m", "benchmarks.peers", "--networks=loader", "--rounds=7"),
        *("--seconds=0.01", "--device=cpu", f"--output={tmp_path}"),
        *(f"--python={library}={missing}" for library in ("tensorflow", "torch")),
    ]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    page = (tmp_path / "peers.md").read_text()
    assert machine.machine_of("cpu") in page
    assert page.count(f"not measured: {missing} does not start: No such file") == 4
    (kept,) = json.loads((tmp_path / "peers.json").read_text())[machine.machine_of("cpu")]["loader"]
    ours, *others = kept["rows"]
    assert [peer.name for peer in lineup.LOADER_PEERS] == [r["peer"] for r in kept["rows"]]
    assert len(ours["wall"]) == len(ours["cpu"]) == kept["rounds"] == 7
    assert all(other["reason"] for other in others)
