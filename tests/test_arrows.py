"""The house keeps its shape: who may import whom, what the step may touch, how long files are."""

import ast
import dataclasses
import itertools
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted([*ROOT.glob("jaxdrive/**/*.py"), *ROOT.glob("configs/*.py"), ROOT / "launch.py"])

# From the top of the house to its ground: a room may import itself and every lower one.
STOREYS = [
    {"launch"},
    {"command_line"},
    {"run", "housekeeping", "folds"},
    {"evaluation"},
    {"driving"},
    {"training"},
    {"data", "data.sources"},
    {"models"},
    {"heads"},
    {"bins"},
]
# Import nothing of the house; "version" is jaxdrive/__init__.py.
LEAVES = {"errors", "logs", "version", "durations", "views"}
BESIDE = {
    "models": {"heads", "bins", "native"} | LEAVES,
    "native": {"native", "logs"},
    "workdir": LEAVES,
    "checks": {"heads"} | LEAVES,
    "errors": set(),
    "allocator": set(),
    "compilation_cache": {"logs"},
    "processes": {"errors"},
    "durations": {"errors"},
    "views": set(),
    "logs": set(),
    "version": set(),
    "simulators": {"simulators"},
}
ABOVE_WORKDIR = {
    "launch",
    "command_line",
    "run",
    "housekeeping",
    "folds",
    "evaluation",
    "driving",
    "training",
}
ABOVE_SIMULATORS = {"driving", "data.sources"}

DISK = {"etils", "glob", "io", "mmap", "os", "pathlib", "shutil", "sys", "tempfile"}
CLOCK = {"datetime", "time", "timeit"}


@dataclasses.dataclass(frozen=True)
class Import:
    """A module that is imported somewhere in a file, and the line that does it."""

    module: str
    line: int


def rooms_for(room: str) -> set[str]:
    """The rooms that `room` may import."""
    if room in BESIDE:
        return {room, *BESIDE[room]} if room in ("models", "simulators") else BESIDE[room]
    level = next(i for i, storey in enumerate(STOREYS) if room in storey)
    allowed = set(itertools.chain(*STOREYS[level:])) | LEAVES
    allowed -= {"models"} if room.startswith("data") else set()
    allowed |= {"workdir"} if room in ABOVE_WORKDIR else set()
    allowed |= {"native"} if room == "training" else set()
    allowed |= {"checks", "compilation_cache", "processes"} if room == "command_line" else set()
    allowed |= {"allocator"} if room == "launch" else set()
    return allowed | ({"simulators"} if room in ABOVE_SIMULATORS else set())


def room_of(module: str) -> str:
    """jaxdrive.data.sources.car_racing -> data.sources; jaxdrive.heads -> heads."""
    parts = module.split(".")
    if parts[0] != "jaxdrive":
        return parts[0]
    if len(parts) == 1:
        return "version"
    return "data.sources" if parts[1:3] == ["data", "sources"] else parts[1]


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def imports_of(source: str) -> list[Import]:
    """Every import of a file, those inside functions included, as full names of modules."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import; name the module"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.append(Import(inner if inner in MODULES else node.module, node.lineno))
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called.split(".")[-1] not in ("import_module", "__import__"), (
                f"line {node.lineno}: {called} hides what is imported"
            )
    return found


def in_the_house(source: str) -> list[Import]:
    return [i for i in imports_of(source) if i.module.split(".")[0] in ("jaxdrive", "launch")]


def complaint(path: Path, item: Import, reason: str) -> str:
    return f"{path.relative_to(ROOT)}, line {item.line}: imports {item.module}, {reason}"


def test_no_import_escapes_the_reader():
    source = """
import json, jaxdrive.logs as logs
from jaxdrive.training import checkpoint
from jaxdrive.heads import Head
def function():
    if True:
        from jaxdrive.simulators import recorder
    class Inner:
        import jaxdrive
"""
    assert sorted(item.module for item in imports_of(source)) == [
        "jaxdrive",
        "jaxdrive.heads",
        "jaxdrive.logs",
        "jaxdrive.simulators.recorder",
        "jaxdrive.training.checkpoint",
        "json",
    ]
    for hidden in ("from . import heads", "importlib.import_module('jaxdrive')"):
        with pytest.raises(AssertionError, match="line 1"):
            imports_of(hidden)


@pytest.mark.parametrize(
    ("room", "may", "may_not"),
    [
        ("launch", {"command_line", "errors"}, {"simulators", "configs"}),
        ("training", {"data", "models", "heads", "workdir"}, {"driving", "run", "simulators"}),
        ("driving", {"simulators", "training"}, {"evaluation", "run"}),
        ("data", {"heads", "data.sources"}, {"models", "simulators", "training", "workdir"}),
        ("models", {"heads", "errors"}, {"data", "data.sources", "training", "workdir"}),
        ("heads", {"errors"}, {"data", "models", "training"}),
        ("native", {"logs"}, {"errors", "models", "training"}),
        ("simulators", {"simulators"}, {"errors", "logs", "heads", "version"}),
        ("errors", set(), {"logs", "version"}),
    ],
)
def test_the_table_of_rooms_says_what_the_design_says(room, may, may_not):
    assert may <= rooms_for(room)
    assert not may_not & rooms_for(room)


@pytest.mark.parametrize("module", [m for m in MODULES if not m.startswith("configs")])
def test_imports_follow_the_arrows(module):
    allowed = rooms_for(room_of(module))
    wrong = [
        complaint(MODULES[module], item, f"but may import only {sorted(allowed)}")
        for item in in_the_house(MODULES[module].read_text())
        if room_of(item.module) not in allowed
    ]
    assert not wrong, "\n".join(wrong)


def test_nothing_imports_tensorflow_or_torch_and_configs_are_plain():
    wrong = []
    for module, path in MODULES.items():
        for item in imports_of(path.read_text()):
            top = item.module.split(".")[0]
            if top in ("tensorflow", "torch", "configs", "tests") and room_of(module) != "configs":
                wrong.append(complaint(path, item, "which nothing here may"))
            plain = top in ("ml_collections", "configs")
            if room_of(module) == "configs" and not plain:
                wrong.append(complaint(path, item, "but a configuration is data"))
    assert not wrong, "\n".join(wrong)


def imported_by(module: str) -> set[str]:
    """Every module that importing `module` imports, those inside functions left out."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        if name in MODULES:
            body = ast.parse(MODULES[name].read_text()).body
            at_top = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
            waiting += [item.module for item in imports_of("\n".join(map(ast.unparse, at_top)))]
    return found


def test_only_driving_the_udacity_simulator_loads_a_server():
    assert {"socketio", "aiohttp"} <= imported_by("jaxdrive.driving.udacity_server")
    assert not {"socketio", "engineio", "aiohttp"} & imported_by("jaxdrive.run")


def below_the_step() -> dict[str, str]:
    """Module -> source of all that runs when jaxdrive.training.step is imported."""
    found: dict[str, str] = {}
    waiting = ["jaxdrive.training.step"]
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        found[module] = MODULES[module].read_text()
        waiting += [item.module for item in in_the_house(found[module])]
        waiting += [module.rpartition(".")[0]] if "." in module else []
    return found


def test_the_step_touches_no_data_module_no_disk_and_no_clock():
    sources = below_the_step()
    assert {"jaxdrive", "jaxdrive.heads", "jaxdrive.training.metrics"} <= sources.keys()
    wrong = []
    for module, source in sources.items():
        wrong += [
            complaint(MODULES[module], item, "and is part of the step")
            for item in imports_of(source)
            if item.module.split(".")[0] in DISK | CLOCK or item.module.startswith("jaxdrive.data")
        ]
        calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
        wrong += [f"{module} opens files" for c in calls if ast.unparse(c.func) == "open"]
    assert not wrong, "\n".join(wrong)


def test_files_and_functions_stay_short():
    limits = {ROOT / "launch.py": 100, ROOT / "jaxdrive/training/loop.py": 300}
    too_long = []
    for path in FILES:
        text = path.read_text()
        lines, limit = len(text.splitlines()), limits.get(path, 400)
        if lines > limit:
            too_long.append(f"{path.relative_to(ROOT)} has {lines} lines, at most {limit}")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                if lines > 80:
                    too_long.append(
                        f"{path.relative_to(ROOT)}: {node.name} has {lines}, at most 80"
                    )
    assert not too_long, "\n".join(too_long)
    assert limits.keys() <= set(FILES)
