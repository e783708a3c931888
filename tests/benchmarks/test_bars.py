"""The run of all bars: what holds, what fails, and what is kept of earlier runs."""

import json
import math
import sys

import pytest

from benchmarks import bars
from benchmarks.bar_list import CHECKS, Bar, Check, last_json

LEAST = Bar("least", "a number of at least 3", "number", 3, at_least=True)
MOST = Bar("most", "a number of at most 3", "number", 3)


def check(name, bar, *scripts, limit=60, needs=""):
    return Check(
        name,
        lambda inputs: [["-c", script, str(inputs.folder)] for script in scripts],
        lambda folder, printed: last_json(printed),
        (bar,),
        limit,
        needs,
    )


def says(number):
    return f"print('something'); print('{json.dumps({'number': number})}')"


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs checks through the command; returns its exit code, and the kept results by bar."""

    def run(checks, *flags):
        monkeypatch.setattr(bars, "CHECKS", checks)
        monkeypatch.setattr(bars.rounds, "busy_share", lambda seconds: 0.0)
        monkeypatch.setattr(sys, "argv", ["bars", f"--output={tmp_path / 'results'}", *flags])
        code = bars.main()
        file = tmp_path / "results" / "bars.json"
        return code, json.loads(file.read_text()) if file.exists() else {}

    return run


def test_names_are_unique_and_every_limit_is_a_few_minutes():
    names = [bar.name for check in CHECKS for bar in check.bars]
    assert len(names) == len(set(names))
    assert len(CHECKS) == len({check.name for check in CHECKS})
    assert all(0 < check.limit <= 900 for check in CHECKS)


@pytest.mark.parametrize(
    ("bar", "number", "holds"),
    [
        *((LEAST, 3, True), (LEAST, 4, True), (LEAST, 2.9, False), (LEAST, math.nan, False)),
        *((MOST, 3, True), (MOST, 2, True), (MOST, 3.1, False), (MOST, math.nan, False)),
    ],
)
def test_a_bar_holds_on_its_side_of_the_bound(bar, number, holds):
    assert bar.holds(number) == holds


def test_a_bar_that_does_not_hold_fails_the_run(run):
    code, kept = run((check("a", LEAST, says(4)), check("b", MOST, says(4))))
    assert code == 1
    assert {name: result["number"] for name, result in kept.items()} == {"least": 4, "most": 4}
    assert run((check("a", LEAST, says(4)),))[0] == 0


def test_what_is_not_run_keeps_its_result(run, tmp_path):
    both = (check("a", LEAST, says(4)), check("b", MOST, says(2)))
    assert run(both)[0] == 0
    changed = (check("a", LEAST, says(5)), check("b", MOST, says(1)))
    code, kept = run(changed, "--only=a")
    assert code == 0
    assert (kept["least"]["number"], kept["most"]["number"]) == (5, 2)
    page = (tmp_path / "results" / "bars.md").read_text()
    assert "| a number of at least 3 | at least 3 | 5 | yes |" in page
    assert "| a number of at most 3 | at most 3 | 2 | yes |" in page


@pytest.mark.parametrize(
    ("scripts", "limit", "reason"),
    [
        (["import sys; sys.exit('broken')"], 60, "exit code 1: broken"),
        (["import sys; sys.exit('broken')", says(4)], 60, "exit code 1: broken"),
        (["print('no json')"], 60, "no number to read: JSONDecodeError"),
        (["import time; time.sleep(60)"], 0.5, "took too long"),
    ],
)
def test_a_command_that_fails_gives_its_reason(run, scripts, limit, reason):
    code, kept = run((check("a", LEAST, *scripts, limit=limit),))
    assert code == 1
    assert kept["least"]["number"] is None
    assert reason in kept["least"]["reason"]


def test_commands_share_a_folder_and_what_they_print(run):
    first = "import sys; open(sys.argv[1] + '/file', 'w').write('4'); print('noise')"
    second = "import sys; print('{\"number\": ' + open(sys.argv[1] + '/file').read() + '}')"
    code, kept = run((check("a", LEAST, first, second),))
    assert (code, kept["least"]["number"]) == (0, 4)


def test_a_recording_that_is_not_given_skips_the_check(run, capsys, tmp_path):
    needing = check("a", LEAST, says(2), needs="udacity")
    assert run((needing,)) == (0, {})
    assert "--udacity=DIR" in capsys.readouterr().out
    assert run((needing,), f"--udacity={tmp_path}")[0] == 1


def test_a_number_that_was_left_out_is_no_failure(run):
    assert run((check("a", LEAST, "print('{}')"),)) == (0, {})
