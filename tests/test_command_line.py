"""Wrong commands are answered in one line with the nearest match; right ones arrive as meant."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from etils import epath

from configs import quickstart
from jaxdrive import command_line
from jaxdrive.errors import UsageError, UserError

ROOT = Path(__file__).parents[1]
QUICKSTART = f"--config={ROOT}/configs/quickstart.py"
UDACITY = f"--config={ROOT}/configs/udacity.py"


def launch(*words) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, ROOT / "launch.py", *words], capture_output=True, text=True, timeout=120
    )


def test_a_command_arrives_as_it_was_meant(parse, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = parse(
        "train",
        QUICKSTART,
        "--workdir=runs/a",
        "--config.seed=7",
        "--config.balance",
        "none",
        "--config.model.channels=(8,)",
        "--config.optim.learning_rate=1",
        "--config.model.batch_norm.use=true",
        "--num_processes=2",
    )
    assert (command.verb, command.workdir) == ("train", epath.Path(tmp_path) / "runs" / "a")
    config = command.config
    assert (config["seed"], config["balance"]) == (7, "none")
    assert config["num_steps"] == quickstart.get_config().num_steps
    assert config["model"]["channels"] == (8,)
    assert config["optim"]["learning_rate"] == 1.0
    assert config["model"]["batch_norm"]["use"] is True
    assert type(config["model"]) is dict
    # Another command may be given from another folder.
    assert config["data"]["dir"] == str(tmp_path / "datasets")
    assert command.flags["num_processes"] == 2
    assert "config" not in command.flags
    assert command.text.startswith("python launch.py train --config=")
    assert command.text.endswith("--num_processes=2")


def test_prepare_needs_no_workdir(parse):
    command = parse("prepare", QUICKSTART)
    assert (command.verb, command.workdir) == ("prepare", None)


@pytest.fixture
def workdir(parse, tmp_path) -> Path:
    """A workdir with the configuration of a run."""
    config = parse("train", QUICKSTART, "--workdir=unused", "--config.seed=42").config
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


@pytest.mark.parametrize("verb", ["evaluate", "drive", "inspect"])
def test_a_run_s_own_configuration_is_used_unless_another_is_named(parse, workdir, verb):
    stored = parse(verb, f"--workdir={workdir}", "--config.drive.tracks=3").config
    assert (stored["seed"], stored["drive"]["tracks"]) == (42, 3)
    assert stored["heads"]["steering"]["scale"] == 0.4
    assert stored["model"]["channels"] == (16, 32, 64)
    assert parse(verb, f"--workdir={workdir}", QUICKSTART).config["seed"] == 0
    with pytest.raises(UsageError, match=r"unknown field config\.drive\.track.*config\.drive\.tr"):
        parse(verb, f"--workdir={workdir}", "--config.drive.track=3")


def test_without_a_run_there_is_no_configuration_to_use(parse, tmp_path):
    with pytest.raises(UserError, match=rf"{tmp_path} holds no run"):
        parse("drive", f"--workdir={tmp_path}")


def test_datasets_are_those_of_a_configuration_of_a_run_or_of_the_default(
    parse, workdir, monkeypatch
):
    monkeypatch.chdir(workdir)
    command = parse("datasets", "--delete=a,b", "--delete=c")
    assert command.config["data"]["dir"] == str(workdir / "datasets")
    assert (command.workdir, command.flags["delete"]) == (None, ["a,b", "c"])
    assert parse("datasets", "--config.data.dir=/x").config["data"]["dir"] == "/x"
    config = json.loads((workdir / "config.json").read_text())
    config["data"]["dir"] = "/of/the/run"
    (workdir / "config.json").write_text(json.dumps(config))
    assert parse("datasets", f"--workdir={workdir}").config["data"]["dir"] == "/of/the/run"
    assert parse("datasets", QUICKSTART).config["num_steps"] == quickstart.get_config().num_steps


def test_weights_to_start_from_are_found_from_where_the_command_was_given(
    parse, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    given = {"runs/a": str(tmp_path / "runs/a"), "gs://b/run": "gs://b/run", "": ""}
    for value, meant in given.items():
        command = parse("prepare", QUICKSTART, f"--config.init_from={value}")
        assert command.config["init_from"] == meant


def test_a_folder_for_compiled_programs_is_found_from_where_the_command_was_given(
    parse, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for value, meant in {"kept": str(tmp_path / "kept"), "auto": "auto", "off": "off"}.items():
        command = parse("prepare", QUICKSTART, f"--config.compilation_cache={value}")
        assert command.config["compilation_cache"] == meant


def test_a_variant_of_a_configuration_is_named_after_a_colon(parse):
    file = f"--config={ROOT}/configs/xception_two_heads.py"
    configs = [parse("prepare", file + variant).config for variant in ("", ":udacity")]
    assert [config["data"]["source"] for config in configs] == ["car_racing", "udacity"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], r"^unknown verb 'trian': did you mean train\? Verbs: prepare, train, eva"),
        (["xyz"], r"^unknown verb 'xyz'\. Verbs: "),
        (["train"], r"^train needs --workdir=DIR"),
        (["drive", QUICKSTART], r"^drive needs --workdir=DIR"),
        (["train", "--workdir=w"], r"^train needs --config=FILE"),
        (["prepare"], r"^prepare needs --config=FILE"),
        (["inspect"], r"^inspect needs --config=FILE"),
        *(
            (
                ["train", QUICKSTART, "--workdir=w", f"--profile={text}"],
                rf"^--profile takes .* '{text}'$",
            )
            for text in ("", "20", "40:20", "5:5", "-1:5", "1.5:3", "a:b", ":5", "1:2:3")
        ),
        (["inspect", QUICKSTART, "--batch=-1"], r"--batch=-1: .*range \[0, 2147483647\]"),
        (
            ["prepare", f"--config={ROOT}/configs/quickstrat.py"],
            r"^no such configuration file: \S+quickstrat\.py: did you mean \S+/quickstart\.py\?",
        ),
        (["prepare", "--config=/nowhere/at/all.py"], r"^no such configuration file: \S+$"),
        (["prepare", f"{QUICKSTART}:udacity"], r"quickstart\.py has no variants: leave out ':ud"),
        (
            ["prepare", f"--config={ROOT}/configs/xception.py:lake"],
            r"xception\.py:lake fails: ValueError: there is no variant 'lake', only car_racing and",
        ),
        (
            ["prepare", QUICKSTART, "--config.data.epsiodes=3"],
            r"^unknown field config\.data\.epsiodes: did you mean config\.data\.episodes\?",
        ),
        (
            ["prepare", QUICKSTART, "-config.num_stpes", "3"],
            r"^unknown field config\.num_stpes: did you mean config\.num_steps\?",
        ),
        (
            ["prepare", QUICKSTART, "--wrokdir=a"],
            r"^unknown flag --wrokdir: did you mean --workdir\?",
        ),
        (["prepare", QUICKSTART, "--config.seed=abc"], r"--config\.seed=abc: .*'abc'"),
        (
            ["prepare", QUICKSTART, "--config.batch_size=1.5"],
            r"--config\.batch_size=1\.5: .*'1\.5'",
        ),
        (["prepare", QUICKSTART, "--config.data.noise=x"], r"--config\.data\.noise=x: .*'x'"),
        (["prepare", QUICKSTART, "--config.heads=3"], r"--config\.heads=3: .*ConfigDict"),
        (["prepare", QUICKSTART, "--config.seed"], r"Missing value for flag --config\.seed"),
        (["evaluate", QUICKSTART, "--workdir=w", "--split=tets"], r"--split=tets: .*train\|valid"),
        (["evaluate", QUICKSTART, "--workdir=w", "--step=x"], r"--step=x: .*'x'"),
        (["drive", QUICKSTART, "--workdir=w", "--tracks=0"], r"--tracks=0: .*range \[1, 100\]"),
        (["drive", QUICKSTART, "--workdir=w", "--tracks=101"], r"--tracks=101: .*\[1, 100\]"),
        (["train", QUICKSTART, "--workdir=w", "--port=1"], r"^--port is for drive; for train"),
        (["drive", QUICKSTART, "--workdir=w", "--port=1"], r"^--port is for --simulator=udacity$"),
        (
            ["drive", QUICKSTART, "--workdir=w", "--simulator=udacity", "--tracks=2"],
            r"^--tracks is for --simulator=car_racing$",
        ),
        (
            ["drive", QUICKSTART, "--workdir=w", "--simulator=udacity", "--port=65536"],
            r"--port=65536: .*\[0, 65535\]",
        ),
        (
            ["drive", QUICKSTART, "--workdir=w", "--simulator=udacity", "--set_speed=nan"],
            r"^--set_speed has to be from 0 to 200, found nan",
        ),
        (["drive", QUICKSTART, "--workdir=w", "--simulator=gta"], r"--simulator=gta: .*udacity"),
        (["folds", UDACITY], r"^folds needs --workdir=DIR"),
        (["folds", "--workdir=w"], r"^folds needs --config=FILE"),
        (
            ["folds", QUICKSTART, "--workdir=w"],
            r"^folds needs a recording: car_racing records .* Use `train`",
        ),
        (
            ["folds", UDACITY, "--workdir=w", "--config.data.prepared=/d"],
            r"^config\.data\.prepared=/d is a dataset with one split: leave it out",
        ),
        *(
            (["folds", UDACITY, "--workdir=w", f"--folds={n}"], rf"^--folds={n} leaves nothing to")
            for n in (-1, 0, 1, 2)
        ),
        (["folds", UDACITY, "--workdir=w", "--folds=x"], r"--folds=x: .*'x'"),
        (["folds", UDACITY, "--workdir=w", "--split=tset"], r"--split=tset: .*train\|valid"),
        (["folds", UDACITY, "--workdir=w", "--split=train"], r"not trained on: --split=validation"),
        *(
            (["folds", UDACITY, "--workdir=w", f"--seeds={text}"], rf"^--seeds takes .*{text}$")
            for text in ("a", "0,-1", "0,,1", "1.5", "2147483648")
        ),
        (["prepare", QUICKSTART, "again"], r"^unexpected 'again': after the verb come only --flag"),
    ],
)
def test_a_wrong_command_is_answered_in_one_line(parse, words, message):
    with pytest.raises(UsageError, match=message) as caught:
        parse(*words)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_comparison_goes_beside_the_first_run_unless_told_otherwise(parse, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = parse("compare", "--workdirs=runs/a,elsewhere/b")
    assert command.flags["workdirs"] == [tmp_path / "runs" / "a", tmp_path / "elsewhere" / "b"]
    assert command.workdir == epath.Path(tmp_path / "runs" / "compare")
    command = parse("compare", "--workdirs=runs/a,runs/b", "--workdir=out")
    assert command.workdir == epath.Path(tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], r"^compare needs --workdirs=A,B,\.\.\., the folders of two runs or more"),
        (["--workdirs=a"], r"two runs or more"),
        (["--workdirs=a,b,./a/"], r"names the same folder twice: \S+/a$"),
        (["--workdirs=a,link"], r"names the same folder twice: \S+/link$"),
        (["--workdirs=a,b", "--workdir=b"], r"/b belongs to a run that is compared"),
        (["--workdirs=a,b", "--workdir=a/x"], r"/a/x belongs to a run that is compared"),
        (["--workdirs=a,b", "--workdir=link/x"], r"/link/x belongs to a run that is compared"),
        (["--workdirs=a,b", QUICKSTART], r"^compare does not take '--config'"),
        (["--workdirs=a,b", "--config.seed=1"], r"^compare does not take '--config\.seed=1'"),
        (["--workdirs=a,b", "--step=1"], r"^--step is for evaluate and drive"),
    ],
)
def test_a_comparison_that_cannot_be_made(parse, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with pytest.raises(UsageError, match=message):
        parse("compare", *words)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "def get_config():\n    raise ValueError('a\\nb')\n",
            r"fails: ValueError: a b \(.* line 2",
        ),
        ("import no_such_module\n", r"fails: ModuleNotFoundError: .*no_such_module.* line 1"),
        ("def get_config(:\n", r"fails: SyntaxError: "),
        ("config = 3\n", r"has no function get_config\(\)"),
    ],
)
def test_a_configuration_that_fails_is_named(parse, tmp_path, text, message):
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(UsageError, match=rf"^the configuration {file} {message}") as caught:
        parse("prepare", f"--config={file}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "words", [(), ("--help",), ("train", "-h"), ("help",), ("train", "--helpfull")]
)
def test_help_lists_every_flag(parse, capsys, words):
    with pytest.raises(SystemExit) as caught:
        parse(*words)
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("what the verbs do\n")
    for flag in (
        "delete",
        "unused",
        "yes",
        "verify",
        "workdir",
        "step",
        "steps",
        "tracks",
        "split",
        "folds",
        "seeds",
        "batch",
        "simulator",
        "host",
        "port",
        "set_speed",
        "save_frames",
        "profile",
        "coordinator",
        "num_processes",
        "process_id",
    ):
        assert f"\n  --{flag}: " in text


def test_launch_prints_its_verbs_and_flags():
    result = launch("--help")
    assert (result.returncode, result.stderr) == (0, "")
    for verb in command_line.VERBS:
        assert f"\n  {verb} " in result.stdout
    assert "--config=FILE" in result.stdout
    assert "--config.field=value" in result.stdout
    assert "\n  --workdir: " in result.stdout


def test_launch_leaves_with_one_line_and_code_two():
    result = launch("train", QUICKSTART, "--workdir=unused", "--config.optim.learning_rat=1")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        "error: unknown field config.optim.learning_rat: did you mean config.optim.learning_rate?\n"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--workdir=w", "--tracks=3"], "--tracks is for drive; for train see the fields"),
        (["drive", "--workdir=w", "--profile=0:5"], "--profile is for train; for drive see"),
        (["train", "--workdir=w", "--batch=3"], "--batch is for inspect; for train see the fields"),
        (["drive", "--workdir=w", "--split=test"], "--split is for evaluate and folds"),
        (["train", "--workdir=w", "--folds=5"], "--folds is for folds; for train see the fields"),
        (["train", "--workdir=w", "--seeds=5"], "--seeds is for folds; for train see the fields"),
        (["train", "--workdir=w", "--verify"], "--verify is for inspect; for train see the fields"),
        (["prepare", "--delete=a"], "--delete is for datasets; for prepare see the fields"),
        (["inspect", "--verify", "--batch=0"], "draws nothing: leave out --batch"),
        (["datasets", "--delete=a", "--unused"], "what nobody uses: give one"),
        (["datasets", "--yes"], "--yes answers what --delete and --unused ask: give one of them"),
        (["drive", "--workdir=w", "--step=1", "--steps=1,2"], "give one"),
    ],
)
def test_flags_that_a_verb_does_not_take_are_refused(parse, words, message):
    with pytest.raises(UsageError, match=message):
        parse(*words, QUICKSTART)
