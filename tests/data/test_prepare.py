"""A dataset is made once and whole, however often it is asked for, interrupted or killed."""

import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import jaxdrive
from jaxdrive.data import dataset as datasets
from jaxdrive.data import prepare as preparing
from jaxdrive.data import store_writer
from jaxdrive.data.dataset import open_dataset
from jaxdrive.data.frames import fit_image
from jaxdrive.data.image_reader import ImageReader
from jaxdrive.data.prepare import fingerprint, prepare
from jaxdrive.data.sources import car_racing
from jaxdrive.data.store import store_folder, store_key
from jaxdrive.errors import UserError

# Prepares, or waits with its workers alive once the first session is written.
SCRIPT = """
import contextlib
import json, logging, os, signal, sys, types
from jaxdrive.data import prepare as preparing

def wait():
    print("one session is written", flush=True)
    signal.pause()

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    os.cpu_count = lambda: 1
    if sys.argv[2] == "wait":
        nothing = lambda **_: None
        bar = types.SimpleNamespace(update=wait, set_postfix=nothing)
        preparing.progress_bar = lambda **_: contextlib.nullcontext(bar)
    preparing.prepare(json.loads(sys.argv[1]))
"""


def settings(folder: Path, **changes):
    """config.data for three episodes of ten frames."""
    return {
        "source": "car_racing",
        "path": "",
        "on_bad": "skip",
        "split": {"block_seconds": 0.0, "gap_seconds": 0.0, "validation": 0.1, "test": 0.1},
        "prepared": "",
        "dir": str(folder),
        "episodes": 1,
        "validation_episodes": 1,
        "test_episodes": 1,
        "noise": 0.2,
        "key_presses": False,
        "action_repeat": 2,
        "max_steps": 20,
        "crop_top": 4,
        "crop_bottom": 12,
        "height": 20,
        "width": 24,
        "resize": "stretch",
    } | changes


@pytest.fixture(autouse=True)
def _one_worker(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A dataset that was made without disturbance."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "cpu_count", lambda: 1)
        return prepare(settings(tmp_path_factory.mktemp("datasets")))


def write_parts(data, indices) -> list[Path]:
    """The folders that an interrupted `prepare` leaves when these sessions were written."""
    sessions = car_racing.sessions(data, car_racing.find(data))
    fit = preparing.fit_of(data)
    partials = []
    for index in indices:
        folder = store_folder(Path(data["dir"]), store_key(sessions[index], fit))
        partials.append(store_writer.begin(folder))
        store_writer.write_part(partials[-1], 0, sessions[index], fit)
    return partials


def same_frames(one, other) -> bool:
    """Whether datasets hold the same frames, wherever their images are."""
    texts = ("splits", "cameras", "sessions", "origins", "times")
    everything = np.arange(len(one.times))
    return (
        all(getattr(one, name).tolist() == getattr(other, name).tolist() for name in texts)
        and all((one.labels[name] == other.labels[name]).all() for name in one.labels)
        and (ImageReader(one).read(everything) == ImageReader(other).read(everything)).all()
    )


def no_recording(*_, **__):
    raise AssertionError("nothing was to be recorded")


def test_frames_are_the_expert_s_and_fitted(prepared):
    data = settings(prepared.path.parent)
    assert prepared.path.name == fingerprint(data)
    assert prepared.manifest["frames"] == {
        "train": 10,
        "validation": 10,
        "test": 10,
        "gap": 0,
    }
    assert prepared.manifest["settings"]["noise"] == 0.2
    assert prepared.splits.tolist() == [
        *["train"] * 10,
        *["validation"] * 10,
        *["test"] * 10,
    ]
    frames = [
        frame
        for session in car_racing.sessions(data, car_racing.find(data))
        for frame in session.read()
    ]
    for name in ("steering", "throttle", "brake", "speed"):
        recorded = np.array([frame.labels[name] for frame in frames], np.float32)
        np.testing.assert_array_equal(prepared.labels[name], recorded)
    fitted = [fit_image(frame.image, preparing.fit_of(data)) for frame in frames]
    assert fitted[0].shape == (20, 24, 3)
    np.testing.assert_array_equal(ImageReader(prepared).read(np.arange(30)), np.stack(fitted))


def test_what_is_made_is_opened_without_recording_again(prepared, monkeypatch):
    monkeypatch.setattr(preparing, "_write_stores", no_recording)
    files = [prepared.path, *(store.path for store in prepared.stores)]
    before = {path: path.stat() for folder in files for path in folder.iterdir()}
    again = prepare(settings(prepared.path.parent))
    assert again.path == prepared.path
    after = {path: path.stat() for folder in files for path in folder.iterdir()}
    assert before.keys() == after.keys()
    for name, stat in before.items():
        assert (after[name].st_ino, after[name].st_mtime_ns) == (stat.st_ino, stat.st_mtime_ns)
    assert not list(prepared.path.parent.glob("*.incomplete"))


@pytest.mark.parametrize(
    ("change", "shared"),
    [
        ({"dir": "elsewhere"}, True),
        ({"on_bad": "fail"}, True),
        ({"split": {}}, True),
        ({"episodes": 2}, False),
        ({"validation_episodes": 0}, False),
        ({"test_episodes": 2}, False),
        ({"noise": 0.1}, False),
        ({"key_presses": True}, False),
        ({"action_repeat": 3}, False),
        ({"max_steps": 21}, False),
        ({"crop_top": 0}, False),
        ({"crop_bottom": 0}, False),
        ({"height": 21}, False),
        ({"width": 25}, False),
        ({"resize": "pad"}, False),
    ],
)
def test_settings_that_decide_the_frames_get_a_folder_of_their_own(change, shared, monkeypatch):
    plain = fingerprint(settings("here"))
    assert (fingerprint(settings("here") | change) == plain) == shared
    monkeypatch.setattr(car_racing, "RECORDING_VERSION", 99)
    assert fingerprint(settings("here")) != plain


def test_key_presses_are_other_labels_of_the_same_frames(prepared, tmp_path):
    pressed = prepare(settings(tmp_path, key_presses=True, test_episodes=0))
    train = prepared.splits == "train"
    np.testing.assert_array_equal(
        ImageReader(pressed).read(np.arange(10)), ImageReader(prepared).read(np.flatnonzero(train))
    )
    for name in ("throttle", "brake", "speed"):
        np.testing.assert_array_equal(pressed.labels[name][:10], prepared.labels[name][train])
    assert (pressed.labels["steering"] == 0).sum() > (prepared.labels["steering"] == 0).sum()
    assert pressed.manifest["settings"]["key_presses"] is True
    # Recordings from before key presses keep their names.
    assert "key_presses" not in prepared.manifest["settings"]


def test_parts_that_are_whole_are_kept(prepared, tmp_path):
    data = settings(tmp_path)
    unfinished, whole = write_parts(data, [0, 1])
    (unfinished / "part-0000.json").unlink()
    (unfinished / "part-0000-000.array_record").write_bytes(b"cut off while it was written")
    kept = (whole / "part-0000-000.array_record").stat().st_ino
    dataset = prepare(data)
    assert same_frames(dataset, prepared)
    assert dataset.stores[1].shards[0].path.stat().st_ino == kept
    assert not list(tmp_path.glob("*.incomplete"))


@pytest.mark.parametrize(
    ("module", "name"), [(store_writer, "_write_tfds_metadata"), (datasets, "label_names")]
)
def test_an_interrupted_joining_starts_clean(prepared, tmp_path, monkeypatch, module, name):
    data = settings(tmp_path)
    write_parts(data, [0, 1, 2])

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, name, interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare(data)
    assert list(tmp_path.glob("*.incomplete"))
    assert same_frames(prepare(data), prepared)
    assert not list(tmp_path.glob("*.incomplete"))


def start(data, mode: str, script: Path) -> subprocess.Popen:
    script.write_text(SCRIPT)
    return subprocess.Popen(
        [sys.executable, str(script), json.dumps(data), mode],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(jaxdrive.__file__).parents[1])},
    )


def test_killed_then_asked_for_twice_at_once_it_is_made_once(prepared, tmp_path):
    data = settings(tmp_path)
    folder = tmp_path / fingerprint(data)
    with start(data, "wait", tmp_path / "script.py") as process:
        try:
            assert process.stdout.readline().startswith("Preparing 3 sessions")
            assert process.stdout.readline() == "one session is written\n"
        finally:
            process.kill()
        # A worker holds the other end of this pipe too: it ends only when all of them are gone.
        process.communicate(timeout=60)
    (store,) = tmp_path.glob("images-*[!e]")
    assert (store / "store.json").exists()
    assert not folder.exists()

    processes = [start(data, "go", tmp_path / "script.py") for _ in range(2)]
    texts = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    made, opened = sorted(texts, key=len, reverse=True)
    assert "Preparing 3 sessions" in made
    assert "The images of 1 session are stored already" in made
    assert opened.startswith("Another process is at work on the datasets in")
    assert same_frames(open_dataset(folder), prepared)
    assert not list(tmp_path.glob("*.incomplete"))


def test_a_full_disk_is_said_before_recording(tmp_path, monkeypatch):
    monkeypatch.setattr(preparing, "_write_stores", no_recording)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=1_200_000))
    with pytest.raises(
        UserError, match=rf"no space left .* in {tmp_path}: 1 MB are free"
    ) as caught:
        prepare(settings(tmp_path))
    assert "--config.data.dir" in str(caught.value)


def test_a_named_dataset_is_opened_and_nothing_is_made(prepared, tmp_path):
    data = settings(tmp_path / "unused", prepared=str(prepared.path), episodes=9)
    assert prepare(data).manifest == prepared.manifest
    assert fingerprint(data) == prepared.manifest["fingerprint"] == prepared.path.name
    assert not (tmp_path / "unused").exists()
    for use in (prepare, fingerprint):
        with pytest.raises(UserError, match=rf"{tmp_path} holds no prepared dataset"):
            use(data | {"prepared": str(tmp_path)})


def test_settings_that_cannot_be_prepared_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(preparing, "_write_stores", no_recording)
    with pytest.raises(UserError, match=r"config\.data\.source='cows' is not known: one of car_r"):
        prepare(settings(tmp_path, source="cows"))
    with pytest.raises(UserError, match=r"no recording to train on: raise config\.data\.episodes"):
        prepare(settings(tmp_path, episodes=0))
    assert [path.name for path in tmp_path.iterdir()] in ([], [".prepare.lock"])


def test_a_crop_that_leaves_nothing_is_refused_by_the_worker_too(tmp_path):
    with pytest.raises(UserError, match=r"data\.crop_top=50 .* leave nothing of a picture of 96"):
        prepare(settings(tmp_path, crop_top=50, crop_bottom=46))
