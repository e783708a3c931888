"""Results on real recordings: what is resumed, and what a comparison fold by fold says."""

import argparse
import json

import pytest

from benchmarks import real_compare, real_results


def line(name, fold, ratio, *, seed=0, mae=0.2, windows=10, flags=()):
    window = {"windows": windows, "rmse": ratio * 0.5, "straight_on": 0.5, "ratio": ratio}
    run = (name, "udacity", "", fold, seed, "validation", list(flags))
    scores = {"mae": mae, "mse": 0.1, "skill": 0.5}
    return {
        **dict(zip(real_results.KEYS, run, strict=True)),
        "seconds": 30.0,
        "heads": {"steering": {"natural": scores, "balanced": scores}},
        "windowed": {"steering": [window | {"r2": 0.5, "correlation": None}]},
    }


def cells(lines, title):
    """The cells behind a title, of every table."""
    rows = [text.strip("| ").split(" | ") for text in real_compare.tables(lines)]
    return [row[1:] for row in rows if row[0] == title]


@pytest.fixture
def arguments(tmp_path):
    return argparse.Namespace(
        recordings={"udacity": "somewhere"},
        folds=[0, 1],
        seeds=[0, 1],
        variant="",
        split="validation",
        output=tmp_path / "folder" / "results.jsonl",
    )


def test_the_interval_of_three_folds_is_students():
    found = real_compare.difference({0: 2.0, 2: 3.0, 4: 4.0, 3: 9.0}, {0: 1.0, 2: 1.0, 4: 1.0})
    assert found.folds == 3
    assert found.mean == pytest.approx(2)
    # The 95 % quantile with two degrees of freedom is 2.920.
    half = 2.919986 / 3**0.5
    assert (found.low, found.high) == (pytest.approx(2 - half), pytest.approx(2 + half))
    assert str(found) == "+2.000 (+0.314 to +3.686), excludes 0"
    assert "includes 0" in str(real_compare.difference({0: 1.0, 1: 3.0}, {0: 0.0, 1: 0.0}))
    assert "no interval" in str(real_compare.difference({0: 1.0}, {0: 0.0}))
    assert real_compare.difference({0: 1.0}, {1: 0.0}) is None


def test_seeds_are_averaged_before_folds_and_windows_are_pooled():
    ours = [line("shipped", 0, 0.2), line("shipped", 0, 0.4, seed=1), line("shipped", 1, 0.5)]
    peer = [line("ridge_none", 0, 0.9, windows=30), line("ridge_none", 1, 0.5, mae=0.4)]
    own = cells(ours + peer, "ours")[0]
    assert (own[0], own[-2:]) == ("0.400", ["2", "2"])
    scores, differences = cells(ours + peer, "ridge, frames as recorded")
    assert scores[:2] == ["0.700", f"{((30 * 0.81 + 10 * 0.25) / 40) ** 0.5:.3f}"]
    # Folds differ by -0.6 and 0; the quantile with one degree of freedom is 6.314.
    assert differences[0] == "-0.300 (-2.194 to +1.594), includes 0"
    assert scores[3] == "unknown"


def test_two_runs_of_a_fold_and_seed_are_not_mixed():
    lines = [line("keras_usual", 0, 0.5), line("keras_usual", 0, 0.6, flags=["--seconds=9"])]
    with pytest.raises(SystemExit, match=r"fold 0, seed 0.*\[\] and '' \['--seconds=9'\]"):
        real_compare.tables(lines)


def test_an_interrupted_command_makes_only_what_is_missing(arguments, capsys):
    made = []

    def make(run):
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append((run["fold"], run["seed"]))
        return {key: line("", 0, 0.5)[key] for key in ("seconds", "heads", "windowed")}

    def repeat(*flags):
        made.clear()
        real_results.complete(arguments, real_results.runs(arguments, ["net"], flags), make)

    with pytest.raises(KeyboardInterrupt):
        repeat()
    assert made == [(0, 0), (0, 1), (1, 0)]
    repeat()
    assert made == [(1, 1)]
    repeat()
    assert made == []
    assert " 4 runs" in capsys.readouterr().out.splitlines()[-1]
    arguments.folds = [0]
    repeat("--other=1")
    assert made == [(0, 0), (0, 1)]
    assert len(real_results.read(arguments.output)) == 6
    assert all("commit" in line for line in real_results.read(arguments.output))


def test_a_torn_line_is_named(arguments):
    arguments.output.parent.mkdir()
    arguments.output.write_text(json.dumps(line("net", 0, 0.5)) + '\n{"name": "ne')
    with pytest.raises(SystemExit, match="line 2 is no JSON"):
        real_results.read(arguments.output)


def test_peers_get_the_median_seconds_of_our_runs():
    lines = [line("shipped", fold, 0.5) | {"seconds": fold} for fold in (1, 2, 9)]
    lines.append(line("other", 0, 0.5) | {"seconds": 100})
    assert real_results.usual_seconds(lines, "udacity") == 2
    with pytest.raises(SystemExit, match="no run 'shipped' of donkey"):
        real_results.usual_seconds(lines, "donkey")
