"""What lies in a folder of datasets is found, and nothing that is used or not ours is deleted."""

import concurrent.futures
import functools
import os
import shutil
from pathlib import Path

import old_datasets
import pytest
import tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxdrive.data import inventory, usage
from jaxdrive.data.dataset import INCOMPLETE, open_dataset
from jaxdrive.data.inventory import ATTEMPT, DATASET, EXISTS, GONE, IMAGES, UNREACHABLE
from jaxdrive.errors import UserError

SESSIONS = tiny.sessions_of()
NAMES = [f"{number:016x}" for number in range(4)]
# What is in a folder of datasets and not jaxdrive's to delete.
STRANGERS = ("compiled", "recording", "0123.incomplete", f"{NAMES[0]}-copy")
# No run was noted, or the only one has this state.
STATES = (None, EXISTS, GONE, UNREACHABLE)


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    """The images of all sessions, for tests to copy."""
    folder = tmp_path_factory.mktemp("stored")
    for session in SESSIONS:
        tiny.write_store(folder, session)
    return folder


def write(folder: Path, name: str, sessions=tuple(SESSIONS)) -> Path:
    return tiny.write(folder / name, sessions, fingerprint=name, recording=f"/of/{name}")


def dataset_of(workdir: str) -> str | None:
    """Runs are called STATE-FINGERPRINT here."""
    state, _, fingerprint = workdir.partition("-")
    return {EXISTS: fingerprint, GONE: "", UNREACHABLE: None}[state]


survey = functools.partial(inventory.survey, dataset_of=dataset_of)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }


def names(items) -> list[str]:
    return [item.name for item in items]


@st.composite
def folders(draw):
    """By dataset, its sessions and the state of its run; and which stores were interrupted."""
    some = st.sets(st.integers(0, len(SESSIONS) - 1), min_size=1)
    of = {
        name: (draw(some), draw(st.sampled_from(STATES)))
        for name in NAMES[: draw(st.integers(0, 4))]
    }
    return of, draw(st.booleans())


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(folders())
def test_what_is_unused_goes_and_all_that_is_used_stays(stored, tmp_path, made):
    of, interrupted = made
    folder = tmp_path / "datasets"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(stored, folder)
    for name, (numbers, state) in of.items():
        write(folder, name, [SESSIONS[number] for number in sorted(numbers)])
        if state:
            usage.note(folder / name, f"{state}-{name}")
    if interrupted:
        (folder / f"{NAMES[-1]}{INCOMPLETE}").mkdir()
    for name in STRANGERS:
        (folder / name).mkdir()
        (folder / name / "manifest.json").write_text('{"another": "program"}')
    before = {name: contents(folder / name) for name in STRANGERS}
    items = survey(folder)
    found = {item.name: item for item in items}
    assert not any(item.fault for item in items)
    assert names(items) == [
        *sorted(path.name for path in stored.iterdir()),
        *of,
        *([f"{NAMES[-1]}{INCOMPLETE}"] * interrupted),
    ]
    for name, (numbers, state) in of.items():
        assert found[name].frames == sum(tiny.SESSIONS[number][0] for number in numbers)
        assert found[name].recording == f"/of/{name}"
        assert set(found[name].runs.values()) == ({state} if state else set())

    going = inventory.unused(items)
    freed = inventory.freed(going.items)
    size = inventory.size_of(folder)
    inventory.delete(going.items)

    staying = [name for name, (_, state) in of.items() if state != GONE]
    left = survey(folder)
    assert names(item for item in left if item.kind == DATASET) == staying
    for name in staying:
        assert open_dataset(folder / name).ids("train") is not None
    for item in left:
        assert item.kind != ATTEMPT
        assert item.kind == DATASET or inventory.users_of(item, left)
    assert not inventory.unused(left).items
    assert size - inventory.size_of(folder) == freed
    assert {name: contents(folder / name) for name in STRANGERS} == before
    new = [name for name, (_, state) in of.items() if state is None]
    assert going.left == ({"no run was trained on it yet": new} if new else {})


def test_images_are_kept_while_a_manifest_cannot_be_read(tmp_path):
    folder = write(tmp_path, NAMES[0]).parent
    manifest = folder / NAMES[0] / "manifest.json"
    for text in ("", "{}", '{"schema_version": 9}', '{"schema_version": 4, "source": "x"}'):
        manifest.write_text(text)
        items = survey(folder)
        (broken,) = (item for item in items if item.kind == DATASET)
        assert str(manifest) in broken.fault or "has schema version" in broken.fault
        found = inventory.unused(items)
        assert not found.items
        images = names(item for item in items if item.kind == IMAGES)
        assert found.left == {
            "its manifest cannot be read": [NAMES[0]],
            f"maybe used by {NAMES[0]}": images,
        }


def test_damage_is_told_of_what_is_listed(tmp_path):
    folder = write(tmp_path, NAMES[0]).parent
    images = names(item for item in survey(folder) if item.kind == IMAGES)
    shard = next((folder / images[0]).glob("*array_record*"))
    shard.write_bytes(shard.read_bytes()[:-1])
    found = {item.name: item.fault for item in survey(folder)}
    assert found[images[0]].startswith(f"damaged dataset: {shard} has ")
    assert found[NAMES[0]] == f"the images of dataset {NAMES[0]}, {images[0]}, are not usable"
    assert not found[images[1]]
    shutil.rmtree(folder / images[0])
    found = {item.name: item.fault for item in survey(folder)}
    assert f"{images[0]}, are missing" in found[NAMES[0]]
    tiny.write_store(folder, SESSIONS[0])
    found = {item.name: item.fault for item in survey(folder)}
    assert found[NAMES[0]].endswith("were read again since: `prepare` writes the dataset again")


def test_datasets_of_the_old_schema_are_never_taken_for_unused(tmp_path):
    for name in NAMES[:2]:
        old_datasets.write(tmp_path / name, SESSIONS, fingerprint=name, source="random")
    # A run of that time shares its shards with another dataset, and was not noted.
    for shard in (tmp_path / NAMES[0]).glob("*array_record*"):
        (tmp_path / NAMES[1] / shard.name).unlink()
        os.link(shard, tmp_path / NAMES[1] / shard.name)
    usage.note(tmp_path / NAMES[0], f"{GONE}-{NAMES[0]}")
    items = survey(tmp_path)
    assert [(item.old, item.fault, item.recording) for item in items] == [(True, "", "random")] * 2
    assert not inventory.unused(items).items
    # Shared shards are on the disk until the last dataset that has them goes.
    both, first = inventory.freed(items), inventory.freed(items[:1])
    shared = sum(path.stat().st_size for path in (tmp_path / NAMES[0]).glob("*array_record*"))
    assert items[0].size + items[1].size - shared == both == inventory.size_of(tmp_path)
    assert first == items[0].size - shared


def test_deleting_a_dataset_takes_what_belongs_to_it_alone(tmp_path):
    write(tmp_path, NAMES[0])
    write(tmp_path, "by_a_name_of_mine")
    for name in (NAMES[0], NAMES[1], "by_a_name_of_mine"):
        (tmp_path / f"{name}-inspect").mkdir()
        (tmp_path / f"{name}-inspect" / "inspect.html").write_text("page")
        (tmp_path / f"{name}.lock").touch()
    (tmp_path / "by_a_name_of_mine.lock").write_text("not one of ours")
    items = survey(tmp_path)
    going = inventory.named(items, [NAMES[0], "by_a_name_of_mine", NAMES[0]], tmp_path)
    assert names(going) == [NAMES[0], "by_a_name_of_mine"]
    inventory.delete(going)
    images = names(item for item in items if item.kind == IMAGES)
    left = {"by_a_name_of_mine.lock", f"{NAMES[1]}-inspect", f"{NAMES[1]}.lock", *images}
    assert {path.name for path in tmp_path.iterdir()} == left


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../outside",
        f"{NAMES[0]}/",
        f"{NAMES[0]}/manifest.json",
        "compiled",
        "x",
        NAMES[1],
    ],
)
def test_nothing_but_an_item_of_the_folder_can_be_named(tmp_path, name):
    folder = tmp_path / "datasets"
    folder.mkdir()
    write(folder, NAMES[0])
    (folder / "compiled").mkdir()
    write(tmp_path, "outside")
    (folder / NAMES[1]).symlink_to(tmp_path / "outside")
    reason = "is a link to" if name == NAMES[1] else "there is no dataset, store of images or"
    with pytest.raises(UserError, match=reason):
        inventory.named(survey(folder), [NAMES[0], name], folder)
    usage.note(tmp_path / "outside", f"{GONE}-outside")
    going = inventory.unused(survey(folder))
    assert not going.items


@pytest.mark.parametrize("kind", [DATASET, IMAGES])
def test_an_interrupted_deletion_leaves_an_attempt(tmp_path, monkeypatch, kind):
    write(tmp_path, NAMES[0])
    attempt = tmp_path / f"{NAMES[0]}{INCOMPLETE}"
    attempt.mkdir()
    (attempt / "labels.parquet").write_text("interrupted before")
    items = survey(tmp_path)
    going = [item for item in items if item.kind == kind]

    whole = shutil.rmtree

    def interrupted(folder):
        if len(list(folder.iterdir())) == 1:
            whole(folder)  # The attempt from before.
            return
        next(path for path in folder.iterdir() if path.is_file()).unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(inventory.shutil, "rmtree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            inventory.delete(going)
    left = survey(tmp_path)
    assert len(left) == len(items) - (kind == DATASET)
    assert not any(item.fault for item in left if item.kind == kind)
    assert names(item for item in left if item.kind == ATTEMPT)
    inventory.delete(left)
    assert not list(tmp_path.iterdir())


def test_notes_of_any_number_of_runs_last(tmp_path):
    folder = write(tmp_path, NAMES[0])
    runs = [f"/runs/{number}" for number in range(50)] + ["gs://bucket/run", "/with a\tspace/é"]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(functools.partial(usage.note, folder), runs * 2))
    assert usage.noted(folder) == sorted(runs)
    # The same dataset is written again, since its images were.
    write(tmp_path, NAMES[0])
    assert usage.noted(folder) == sorted(runs)
    assert {path.suffix for path in (folder / usage.FOLDER).iterdir()} == {".txt"}


def test_a_dataset_that_may_not_be_written_to_is_not_noted_and_no_harm_is_done(tmp_path):
    (tmp_path / usage.FOLDER).write_text("in the place of the folder")
    usage.note(tmp_path, "/runs/a")
    assert usage.noted(tmp_path) == []
