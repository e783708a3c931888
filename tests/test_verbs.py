"""A command calls its verb with the flags that it takes; errors of verbs stay plain."""

import errno
from pathlib import Path

import pytest
from etils import epath

from configs import quickstart
from jaxdrive import command_line, compilation_cache, folds, housekeeping, processes
from jaxdrive import run as verbs
from jaxdrive import workdir as workdirs
from jaxdrive.errors import UsageError, UserError

QUICKSTART = f"--config={Path(__file__).parents[1]}/configs/quickstart.py"
# Arguments of drive without further flags, and for the Udacity simulator.
PLAIN = {"domain_randomize": False}
SERVE = {"host": "127.0.0.1", "port": 4567, "set_speed": 10.0, "save_frames": None}


@pytest.fixture
def called(monkeypatch, tmp_path) -> list:
    """The calls of verbs, none of which does anything."""
    monkeypatch.chdir(tmp_path)
    calls = []
    for name in ("prepare", "train", "evaluate", "drive", "drive_ages", "serve", "inspect"):

        def note(config, *workdir, name=name, **arguments):
            calls.append((name, *(folder and folder.name for folder in workdir), arguments))

        monkeypatch.setattr(verbs, name, note)
    monkeypatch.setattr(command_line.logs, "to_console", lambda **_: None)
    monkeypatch.setattr(processes, "join", lambda _: None)
    # It changes settings of JAX for all tests that come after.
    monkeypatch.setattr(compilation_cache, "set_up", lambda *_, **__: None)
    return calls


@pytest.mark.parametrize(
    ("words", "call"),
    [
        (["prepare"], ("prepare", {})),
        (["evaluate", "--workdir=w"], ("evaluate", "w", {"step": None, "split": "test"})),
        (
            ["evaluate", "--workdir=w", "--step=5", "--split=train"],
            ("evaluate", "w", {"step": 5, "split": "train"}),
        ),
        (["drive", "--workdir=w"], ("drive", "w", {"step": None, "tracks": 20} | PLAIN)),
        (
            ["drive", "--workdir=w", "--steps=5,10", "--tracks=3"],
            ("drive_ages", "w", {"steps": [5, 10], "tracks": 3} | PLAIN),
        ),
        (
            ["drive", "--workdir=w", "--tracks=2", "--domain_randomize"],
            ("drive", "w", {"step": None, "tracks": 2, "domain_randomize": True}),
        ),
        (
            ["drive", "--workdir=w", "--simulator=udacity", "--set_speed=0", "--step=5"],
            ("serve", "w", SERVE | {"step": 5, "set_speed": 0.0}),
        ),
        (
            ["drive", "--workdir=w", "--simulator=udacity", "--save_frames=/a/b", "--port=0"],
            ("serve", "w", SERVE | {"step": None, "port": 0, "save_frames": Path("/a/b")}),
        ),
        (["inspect"], ("inspect", None, {"batch": None})),
        (["inspect", "--workdir=w", "--batch=0"], ("inspect", "w", {"batch": 0})),
    ],
)
def test_verbs_are_called_with_their_flags(parse, called, words, call):
    assert command_line.run(parse(*words, QUICKSTART)) == 0
    assert called == [call]


@pytest.mark.parametrize(
    ("words", "number", "split", "seeds"),
    [
        ([], 5, "test", [4]),
        (["--config.data.split.folds=7"], 7, "test", [4]),
        (
            ["--config.data.split.folds=7", "--folds=3", "--split=validation", "--seeds=2,0,2"],
            3,
            "validation",
            [2, 0],
        ),
    ],
)
def test_folds_are_those_of_the_flag_of_the_configuration_or_five(
    parse, called, monkeypatch, words, number, split, seeds
):
    monkeypatch.setattr(folds, "run", lambda *a, **named: called.append((*a, named)))
    udacity = QUICKSTART.replace("quickstart", "udacity")
    command = parse("folds", udacity, "--workdir=w", "--config.seed=4", *words)
    command_line.run(command)
    ((config, workdir, named),) = called
    assert (config["data"]["split"]["folds"], workdir.name) == (number, "w")
    assert named == {"command": command.text, "split": split, "seeds": seeds}


def test_bytes_are_compared_in_place_of_drawing(parse, called, monkeypatch):
    monkeypatch.setattr(housekeeping, "verify", lambda data: called.append(("verify", data)))
    command_line.run(command := parse("inspect", "--verify", QUICKSTART))
    assert called == [("verify", command.config["data"])]


def test_datasets_are_listed_without_devices_or_other_processes(parse, called, monkeypatch):
    monkeypatch.setattr(processes, "join", lambda _: pytest.fail("joined"))
    monkeypatch.setattr(compilation_cache, "set_up", lambda *_, **__: pytest.fail("set up"))
    monkeypatch.setattr(housekeeping, "datasets", lambda *a, **named: called.append((*a, named)))
    command_line.run(parse("datasets", "--config.data.dir=/d", "--delete=a,b", "--delete=c"))
    command_line.run(parse("datasets", "--config.data.dir=/d", "--unused", "--yes"))
    assert called == [
        (Path("/d"), {"delete": ["a", "b", "c"], "unused": False, "yes": False}),
        (Path("/d"), {"delete": [], "unused": True, "yes": True}),
    ]
    with pytest.raises(UserError, match=r"config\.data\.dir=gs://b/d: .* local folder"):
        command_line.run(parse("datasets", "--config.data.dir=gs://b/d"))


def test_compiled_programs_are_kept_beside_the_datasets_of_a_command(parse, called, monkeypatch):
    monkeypatch.setattr(
        compilation_cache, "set_up", lambda choice, datasets: called.append((choice, datasets))
    )
    command_line.run(parse("prepare", QUICKSTART, "--config.data.dir=/here"))
    assert called[0] == ("auto", "/here")
    # Runs that are compared have configurations of their own: the first one decides.
    config = quickstart.get_config().to_dict()
    for name in ("a", "b"):
        config["data"]["dir"] = f"/of_{name}"
        workdirs.write_config(epath.Path(name), config)
    monkeypatch.setattr(verbs, "compare", lambda *_: None)
    command_line.run(parse("compare", "--workdirs=a,b"))
    assert called[-1] == ("auto", "/of_a")


def test_train_is_told_the_command_for_the_record(parse, called):
    command = parse("train", "--workdir=w", QUICKSTART)
    command_line.run(command)
    command_line.run(profiled := parse("train", "--workdir=w", QUICKSTART, "--profile=0:40"))
    assert called == [
        ("train", "w", {"command": command.text, "profile": None}),
        ("train", "w", {"command": profiled.text, "profile": range(40)}),
    ]
    assert profiled.config == command.config


def test_steps_must_be_numbers(parse, called):
    with pytest.raises(UsageError, match=r"--steps takes numbers .* found 5,last"):
        command_line.run(parse("drive", "--workdir=w", QUICKSTART, "--steps=5,last"))
    assert not called


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "/data/part"),
        OSError(errno.EDQUOT, "Disk quota exceeded", "/data/part"),
        ValueError("write failed: No space left on device"),
    ],
)
def test_a_full_disk_is_said_plainly_whoever_found_out(parse, called, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(verbs, "prepare", fail)
    with pytest.raises(
        UserError, match=r"^no space left: cannot write.*--config\.data\.dir"
    ) as caught:
        command_line.run(parse("prepare", QUICKSTART))
    assert ("/data/part" in str(caught.value)) == isinstance(error, OSError)


@pytest.mark.parametrize(
    "error", [ValueError("a mistake of ours"), UserError("No space left on device: our own words")]
)
def test_other_errors_stay_what_they_are(parse, called, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(verbs, "prepare", fail)
    with pytest.raises(type(error)) as caught:
        command_line.run(parse("prepare", QUICKSTART))
    assert caught.value is error
