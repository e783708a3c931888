"""The command line: verb, configuration and flags, by absl and ml_collections.

Says in one line what is wrong with it. What a verb does stands in `run.py`.
"""

import dataclasses
import difflib
import inspect
import itertools
import os
import runpy
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from absl import flags, logging
from etils import epath
from ml_collections import ConfigDict, config_flags

from jaxdrive import checks, durations, logs
from jaxdrive.errors import UsageError

VERBS = ("prepare", "train", "evaluate", "drive", "inspect", "compare", "folds", "datasets")
# Those that find the configuration of a run in its workdir, where none is named.
_OF_A_RUN = ("evaluate", "drive", "inspect", "datasets")
# The configuration of those that are not about one run, where nothing else is named.
_DEFAULT_CONFIG = Path(__file__).parents[1] / "configs" / "default.py"
_SPLITS = ("train", "validation", "test")
# By simulator, the flags that only driving in it takes.
_SIMULATORS = {
    "car_racing": ("tracks", "steps", "domain_randomize"),
    "udacity": ("host", "port", "set_speed", "save_frames"),
}
# Flags that not every verb takes.
_ONLY_FOR = {
    "step": ("evaluate", "drive"),
    "split": ("evaluate", "folds"),
    "batch": ("inspect",),
    "verify": ("inspect",),
    **dict.fromkeys(("delete", "unused", "yes"), ("datasets",)),
    **dict.fromkeys(("folds", "seeds"), ("folds",)),
    "workdirs": ("compare",),
    "profile": ("train",),
    "simulator": ("drive",),
} | dict.fromkeys(itertools.chain(*_SIMULATORS.values()), ("drive",))


@dataclasses.dataclass(frozen=True)
class Command:
    """What the user asked for.

    Attributes:
      verb: One of `VERBS`.
      config: The configuration with its overrides; empty for `compare`.
      workdir: The run's folder; None for `prepare`, and for `inspect` and `datasets` where none is
        named.
      flags: The other flags, by name.
      text: The command as typed.
    """

    verb: str
    config: dict[str, Any]
    workdir: epath.Path | None
    flags: Mapping[str, Any]
    text: str


def _define_flags(values: flags.FlagValues) -> None:
    define: dict[str, Any] = {"flag_values": values}
    flags.DEFINE_string("workdir", None, "Folder of the run: local, or gs://...", **define)
    flags.DEFINE_list("workdirs", [], "compare: folders of runs, e.g. runs/a,runs/b.", **define)
    flags.DEFINE_integer("step", None, "Checkpoint to use; default: the best.", **define)
    flags.DEFINE_list("steps", [], "drive: checkpoints to compare, e.g. 500,1000.", **define)
    tracks_help = "drive: number of tracks, seeds 0, 1, ..."
    flags.DEFINE_integer("tracks", None, tracks_help, 1, 100, **define)
    randomize_help = "drive: every track in random colours of its own."
    flags.DEFINE_boolean("domain_randomize", False, randomize_help, **define)
    simulator_help = "drive: in which simulator; that of udacity calls a server."
    flags.DEFINE_enum("simulator", "car_racing", list(_SIMULATORS), simulator_help, **define)
    flags.DEFINE_string("host", "127.0.0.1", "udacity: address to listen on.", **define)
    port_help = "udacity: port to listen on; 0 = any free one."
    flags.DEFINE_integer("port", 4567, port_help, 0, 65535, **define)
    speed_help = "udacity: mph to keep; 0 = the network presses the pedals."
    flags.DEFINE_float("set_speed", 10.0, speed_help, **define)
    flags.DEFINE_string("save_frames", "", "udacity: folder for the pictures.", **define)
    flags.DEFINE_enum("split", "test", _SPLITS, "evaluate, folds: which frames.", **define)
    flags.DEFINE_integer("folds", None, "folds: how many; default: config's, or 5.", **define)
    flags.DEFINE_list("seeds", [], "folds: e.g. 0,1,2; default: config.seed.", **define)
    batch_help = "inspect: position of the batch to draw, instead of the dataset."
    flags.DEFINE_integer("batch", None, batch_help, 0, 2**31 - 1, **define)
    verify_help = "inspect: compare all bytes of the dataset with its checksums, and no more."
    flags.DEFINE_boolean("verify", False, verify_help, **define)
    delete_help = "datasets: names of folders to delete, e.g. A,B; asks first."
    flags.DEFINE_multi_string("delete", [], delete_help, **define)
    unused_help = "datasets: delete what no run and no dataset uses; asks first."
    flags.DEFINE_boolean("unused", False, unused_help, **define)
    flags.DEFINE_boolean("yes", False, "datasets: delete without asking.", **define)
    profile_help = "train: trace the updates from step A to step B, e.g. 20:40, to DIR/profile."
    flags.DEFINE_string("profile", None, profile_help, **define)
    flags.DEFINE_string("coordinator", None, "host:port of process 0.", **define)
    flags.DEFINE_integer("num_processes", None, "Processes of this run.", **define)
    flags.DEFINE_integer("process_id", None, "Number of this process, from 0.", **define)


def parse(argv: Sequence[str], *, help_text: str) -> Command:
    """Reads the command line; prints the help and leaves where that is asked for.

    Raises:
      UsageError: It is wrong; the text says how, with the nearest match.
    """
    if len(argv) < 2 or any(word in ("-h", "--help", "help", "--helpfull") for word in argv[1:]):
        print(help_text.strip())
        print("\nFlags:")
        print(_flag_help())
        sys.exit(0)
    verb, words = argv[1], list(argv[2:])
    if verb not in VERBS:
        nearest = _nearest(verb, VERBS) or "."
        raise UsageError(f"unknown verb {verb!r}{nearest} Verbs: {', '.join(VERBS)}")
    given = flags.FlagValues()
    _define_flags(given)
    flags.DEFINE_string("config", None, "Configuration file, or FILE:VARIANT.", flag_values=given)
    with _flag_errors(sorted(given)):
        # What is left is for the configuration.
        rest = given([argv[0], *words], known_only=True)
    _check_flags(verb, given)
    workdir = epath.Path(_absolute(given["workdir"].value)) if given["workdir"].value else None
    others: dict[str, Any] = {name: given[name].value for name in given if name != "config"}
    if others["profile"] is not None:
        others["profile"] = durations.step_range("--profile", others["profile"])
    if verb == "compare":
        others["workdirs"], workdir = _compared(given, rest[1:], workdir)
        return Command(verb, {}, workdir, others, " ".join(["python", *argv]))
    if workdir is None and verb not in ("prepare", "inspect", "datasets"):
        raise UsageError(f"{verb} needs --workdir=DIR, the folder of the run")
    base = _find_config(verb, given["config"].value, workdir)
    _check_fields(base, rest)
    values = flags.FlagValues()
    with _flag_errors(sorted(given)):
        config_flags.DEFINE_config_dict("config", base, flag_values=values, sys_argv=rest)
        rest = values(rest)
    if len(rest) > 1:
        raise UsageError(f"unexpected {rest[1]!r}: after the verb come only --flags")
    config = values["config"].value.to_dict()  # type: ignore[union-attr]
    for name in ("dir", "path", "prepared"):
        if config["data"][name]:
            config["data"][name] = _absolute(config["data"][name])
    if verb == "folds":
        config["data"]["split"]["folds"] = checks.folds_of(config, given["folds"].value)
        others["seeds"] = _numbers("--seeds", others["seeds"]) or [config["seed"]]
    if config["init_from"]:
        config["init_from"] = _absolute(config["init_from"])
    if config["compilation_cache"] not in ("", *checks.CACHE_WORDS):
        config["compilation_cache"] = _absolute(config["compilation_cache"])
    return Command(verb, config, workdir, others, " ".join(["python", *argv]))


def _compared(
    given: flags.FlagValues, rest: Sequence[str], workdir: epath.Path | None
) -> tuple[list[epath.Path], epath.Path]:
    """The runs to compare, and where to write what is found."""
    strangers = ["--config"] if given["config"].present else rest
    if strangers:
        raise UsageError(
            f"compare does not take {strangers[0]!r}: runs are compared as their workdirs say, with"
            " --workdirs=A,B,... and --workdir=DIR for what is found"
        )
    names = [_absolute(name) for name in given["workdirs"].value or () if name]
    if len(names) < 2:
        raise UsageError("compare needs --workdirs=A,B,..., the folders of two runs or more")
    real = [_real(name) for name in names]
    for index, run in enumerate(real):
        if run in real[:index]:
            raise UsageError(f"--workdirs names the same folder twice: {names[index]}")
    target = workdir or epath.Path(names[0]).parent / "compare"
    real_target = _real(str(target))
    for run in real:
        if run in (real_target, *real_target.parents):
            raise UsageError(
                f"{target} belongs to a run that is compared, which stays as it is: name another"
                " --workdir for the comparison"
            )
    return [epath.Path(name) for name in names], target


def _real(path: str) -> epath.Path:
    """A local folder by its own name, whatever links lead to it."""
    return epath.Path(path if "://" in path else os.path.realpath(path))


def _absolute(path: str) -> str:
    """Orbax takes no other; and the next command may be given in another folder."""
    return path if "://" in path else os.path.abspath(path)


def _check_flags(verb: str, given: flags.FlagValues) -> None:
    for name, verbs in _ONLY_FOR.items():
        if given[name].present and verb not in verbs:
            raise UsageError(
                f"--{name} is for {' and '.join(verbs)}; for {verb} see the fields of the"
                " configuration (configs/default.py)"
            )
    if given["verify"].value and given["batch"].present:
        raise UsageError("--verify compares bytes and draws nothing: leave out --batch")
    if given["delete"].present and given["unused"].value:
        raise UsageError("--delete deletes what you name, --unused what nobody uses: give one")
    if verb == "folds" and given["split"].value == "train":
        raise UsageError("folds scores frames that were not trained on: --split=validation or test")
    if given["yes"].value and not (given["delete"].present or given["unused"].value):
        raise UsageError("--yes answers what --delete and --unused ask: give one of them too")
    if given["step"].present and given["steps"].present:
        raise UsageError("--step drives with one checkpoint, --steps compares several: give one")
    for simulator, names in _SIMULATORS.items():
        present = [name for name in names if given[name].present]
        if present and simulator != given["simulator"].value:
            raise UsageError(f"--{present[0]} is for --simulator={simulator}")
    if not 0 <= float(given["set_speed"].value or 0) <= 200:
        raise UsageError(f"--set_speed has to be from 0 to 200, found {given['set_speed'].value}")


def _flag_help() -> str:
    values = flags.FlagValues()
    _define_flags(values)
    return "\n".join(f"  --{name}: {values[name].help}" for name in sorted(values))


def _find_config(verb: str, file: str | None, workdir: epath.Path | None) -> ConfigDict:
    """The configuration that --config names, that of the run in the workdir, or the default."""
    if file is not None:
        return _load_config(file)
    if verb == "datasets" and workdir is None:
        return _load_config(str(_DEFAULT_CONFIG))
    if verb not in _OF_A_RUN or workdir is None:
        raise UsageError(f"{verb} needs --config=FILE, e.g. --config=configs/quickstart.py")
    from jaxdrive import workdir as workdirs

    return ConfigDict(_with_tuples(workdirs.read_config(workdir)))


def _check_fields(config: ConfigDict, words: Sequence[str]) -> None:
    fields = _fields(config)
    for word in words:
        name = word.lstrip("-").partition("=")[0]
        if name.startswith("config.") and name.removeprefix("config.") not in fields:
            field = name.removeprefix("config.")
            raise UsageError(f"unknown field {name}{_nearest(field, fields, 'config.')}")


def _load_config(name: str) -> ConfigDict:
    """The configuration of FILE, or of FILE:VARIANT, whose get_config takes the variant's name."""
    file, *variant = [name] if Path(name).is_file() else name.rsplit(":", 1)
    path = Path(file)
    if not path.is_file():
        there = [str(other) for other in sorted((path.parent).glob("*.py"))]
        raise UsageError(f"no such configuration file: {file}{_nearest(file, there)}")
    try:
        names = runpy.run_path(file)
        if "get_config" in names:
            get_config = names["get_config"]
            if variant and not inspect.signature(get_config).parameters:
                raise UsageError(f"{file} has no variants: leave out ':{variant[0]}'")
            return get_config(*variant)
    except UsageError:
        raise
    except Exception as error:
        line = traceback.extract_tb(error.__traceback__)[-1]
        raise UsageError(
            f"the configuration {name} fails: {type(error).__name__}:"
            f" {' '.join(str(error).split())} ({line.filename}, line {line.lineno})"
        ) from error
    raise UsageError(f"the configuration {file} has no function get_config(): see configs/")


def _with_tuples(value: Any) -> Any:
    """JSON has no tuples, a configuration has no lists."""
    if isinstance(value, Mapping):
        return {name: _with_tuples(item) for name, item in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def _fields(config: ConfigDict, prefix: str = "") -> list[str]:
    names = []
    for name, value in config.items():
        names.append(prefix + name)
        if isinstance(value, ConfigDict):
            names += _fields(value, f"{prefix}{name}.")
    return names


def _nearest(word: str, known: Sequence[str], prefix: str = "") -> str:
    matches = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
    return f": did you mean {prefix}{matches[0]}?" if matches else ""


@contextmanager
def _flag_errors(known: Sequence[str]) -> Iterator[None]:
    """Turns what absl and ml_collections raise for a wrong flag into one line."""
    try:
        yield
    except flags.UnrecognizedFlagError as error:
        nearest = _nearest(error.flagname, known, "--")
        raise UsageError(f"unknown flag --{error.flagname}{nearest}") from error
    except (flags.Error, TypeError, ValueError, AttributeError, KeyError) as error:
        raise UsageError(" ".join(str(error).split())) from error


def run(command: Command) -> int:
    """Carries out a command; returns the exit code.

    Raises:
      UserError: Something that the user can mend went wrong.
    """
    # Libraries log tracebacks of errors that they raise as well; ours tell those once.
    logging.set_verbosity(logging.FATAL)
    if command.verb == "datasets":
        return _datasets(command)
    import jax

    from jaxdrive import compilation_cache, processes
    from jaxdrive import workdir as workdirs

    processes.join(command.flags)
    logs.to_console(quiet=jax.process_index() != 0)
    with workdirs.plain_system_errors():
        if command.verb != "compare":
            checks.check(command.config)
        serving = command.flags["simulator"] == "udacity"
        if serving:
            checks.check_serving(command.config, set_speed=command.flags["set_speed"])
        elif command.verb == "drive":
            checks.check_driving(command.config)
        # A comparison has no configuration: it takes the first run's.
        config = command.config or workdirs.read_config(command.flags["workdirs"][0])
        compilation_cache.set_up(config["compilation_cache"], datasets=config["data"]["dir"])
        # A comparison is computed before its folder is made and locked; a server only reads.
        if command.workdir is None or command.verb == "compare" or serving:
            _dispatch(command)
        else:
            with workdirs.only_one(command.workdir):
                _dispatch(command)
    return 0


def _datasets(command: Command) -> int:
    """Carries out the verb that needs neither devices nor other processes."""
    from jaxdrive import housekeeping, workdir

    given = command.flags
    names = [name for text in given["delete"] for name in text.split(",")]
    logs.to_console(quiet=False)
    with workdir.plain_system_errors():
        checks.check(command.config)
        folder = Path(command.config["data"]["dir"])
        housekeeping.datasets(folder, delete=names, unused=given["unused"], yes=given["yes"])
    return 0


def _dispatch(command: Command) -> None:
    from jaxdrive import folds, housekeeping
    from jaxdrive import run as verbs

    config, workdir, given = command.config, command.workdir, command.flags
    if command.verb == "prepare":
        verbs.prepare(config)
        return
    if given["verify"]:
        housekeeping.verify(config["data"])
        return
    if command.verb == "inspect":
        verbs.inspect(config, workdir, batch=given["batch"])
        return
    assert workdir is not None
    if command.verb == "compare":
        verbs.compare(given["workdirs"], workdir)
    elif command.verb == "train":
        verbs.train(config, workdir, command=command.text, profile=given["profile"])
    elif command.verb == "folds":
        folds.run(config, workdir, command=command.text, split=given["split"], seeds=given["seeds"])
    elif command.verb == "evaluate":
        verbs.evaluate(config, workdir, step=given["step"], split=given["split"])
    elif given["simulator"] == "udacity":
        served = {name: given[name] for name in ("step", "host", "port", "set_speed")}
        folder = Path(_absolute(given["save_frames"])) if given["save_frames"] else None
        verbs.serve(config, workdir, save_frames=folder, **served)
    else:
        settings = {"domain_randomize": given["domain_randomize"]}
        settings["tracks"] = given["tracks"] or config["drive"]["tracks"] or 20
        if words := given["steps"]:
            verbs.drive_ages(config, workdir, steps=_numbers("--steps", words), **settings)
        else:
            verbs.drive(config, workdir, step=given["step"], **settings)


def _numbers(flag: str, words: Sequence[str]) -> list[int]:
    if not all(word.isdecimal() and int(word) < 2**31 for word in words):
        raise UsageError(f"{flag} takes numbers below 2**31 with commas, found {','.join(words)}")
    return list(dict.fromkeys(map(int, words)))
