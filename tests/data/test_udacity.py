"""Logs of every origin read alike; what cannot be read is told row by row and camera by camera."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image

from configs import udacity as udacity_config
from jaxdrive.data.dataset import open_dataset
from jaxdrive.data.frames import BadRow, Frame
from jaxdrive.data.image_reader import ImageReader
from jaxdrive.data.prepare import fingerprint, fit_of
from jaxdrive.data.sources import pictures, udacity
from jaxdrive.data.split import rule_of
from jaxdrive.errors import UserError
from tests.recordings import (
    CAMERAS,
    COLUMNS,
    INTERVAL,
    image_name,
    labels_of,
    record,
    write_log,
)

ROWS = 8


def settings(path, **changes) -> dict:
    """config.data for pictures of 32x16 that are kept as they are."""
    config = udacity_config.get_config().data.to_dict()
    fit = {"crop_top": 0, "crop_bottom": 0, "height": 16, "width": 32}
    return config | fit | {"path": str(path)} | changes


def read_all(path) -> dict[str, list[Frame | BadRow]]:
    """What every session yields, by its name."""
    return {
        s.name: list(s.read())
        for s in udacity.sessions(settings(path), udacity.find(settings(path)))
    }


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    """A recording that is whole."""
    folder = tmp_path_factory.mktemp("recorded") / "run"
    record(folder, ROWS)
    return folder


@pytest.fixture
def recording(recorded, tmp_path) -> Path:
    """A copy of it, to be changed."""
    return shutil.copytree(recorded, tmp_path / "run")


def change_log(folder: Path, change) -> None:
    log = folder / "driving_log.csv"
    log.write_bytes(change(log.read_text()).encode())


def with_paths(form: str):
    return lambda text: text.replace("/home/someone/IMG/", form)


NAMES = ",".join(COLUMNS) + "\n"
ORIGINS = {
    "as the simulator writes it": lambda text: text,
    "names above": lambda text: NAMES + text,
    "names in capitals, with spaces": lambda text: NAMES.title().replace(",", " , ") + text,
    "leading spaces": lambda text: text.replace(",", ", "),
    "Windows": with_paths("C:\\Users\\some one\\Desktop\\IMG\\"),
    "relative": with_paths("IMG/"),
    "names alone": with_paths(""),
    "lines end as on Windows": lambda text: text.replace("\n", "\r\n"),
    "a mark of byte order": lambda text: "\N{ZERO WIDTH NO-BREAK SPACE}" + text,
    "no end of line at the end": lambda text: text.rstrip("\n"),
    "empty lines between": lambda text: text.replace("\n", "\n\n"),
    "columns in another order": lambda text: "\n".join(
        ",".join(reversed(line.split(","))) for line in (NAMES + text).splitlines()
    ),
    "columns beside": lambda text: "".join(f"{line},7\n" for line in (NAMES + text).splitlines()),
    "scientific notation": lambda text: "\n".join(
        ",".join([*line.split(",")[:3], *(f"{float(x):.9E}" for x in line.split(",")[3:])])
        for line in text.splitlines()
    ),
}


@pytest.mark.parametrize("origin", ORIGINS)
def test_logs_of_every_origin_read_alike(recording, origin):
    change_log(recording, ORIGINS[origin])
    (frames,) = read_all(recording).values()
    assert [frame.camera for frame in frames] == [*CAMERAS] * ROWS
    for index, frame in enumerate(frames):
        row = index // 3
        np.testing.assert_allclose(list(frame.labels.values()), list(labels_of(row).values()))
        assert frame.labels.keys() == labels_of(row).keys()
        assert frame.time == pytest.approx(row * INTERVAL, abs=1e-9)
        with Image.open(recording / "IMG" / image_name(frame.camera, row)) as picture:
            np.testing.assert_array_equal(frame.image, np.asarray(picture), strict=True)
        assert frame.image.mean(axis=(0, 1)).argmax() == CAMERAS.index(frame.camera)


def test_every_folder_with_a_log_is_a_session_of_its_own(recorded, tmp_path):
    for number, name in enumerate(("b/2", "b/1", "a", "c/deep/er")):
        record(tmp_path / "in" / name, ROWS, first=100 + 100 * number)
    shutil.copytree(recorded, tmp_path / "elsewhere")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "c" / "back").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "in" / "a")
    (tmp_path / "in" / "notes").mkdir()
    sessions = read_all(tmp_path / "in")
    assert list(sessions) == ["a", "b/1", "b/2", "c/deep/er", "link"]
    assert {len(items) for items in sessions.values()} == {3 * ROWS}
    assert sessions["b/1"][4].origin == "b/1/driving_log.csv, row 2, left"
    assert [*read_all(tmp_path / "in" / "a")] == ["."]


def edit(folder: Path, row: int, column: str, text: str | None) -> None:
    """Changes one field of the log; None removes it and all behind it."""
    lines = [line.split(",") for line in (folder / "driving_log.csv").read_text().splitlines()]
    at = COLUMNS.index(column)
    lines[row][at:] = [] if text is None else [text, *lines[row][at + 1 :]]
    write_log(folder, lines)


def image(folder: Path, camera: str, row: int) -> Path:
    return folder / "IMG" / image_name(camera, row)


def truncate(folder: Path, camera: str, row: int) -> None:
    file = image(folder, camera, row)
    file.write_bytes(file.read_bytes()[:-200])


def make_folder(folder: Path, camera: str, row: int) -> None:
    # A folder in a picture's place cannot be opened by anyone, root included.
    image(folder, camera, row).unlink()
    image(folder, camera, row).mkdir()


def resize(folder: Path, camera: str, row: int) -> None:
    Image.new("RGB", (16, 16)).save(image(folder, camera, row))


# What is done to a recording: cameras of row 2 that it hits, the reason, words of the detail.
DAMAGE = {
    "image removed": (
        lambda f: image(f, "left", 2).unlink(),
        ["left"],
        "image missing",
        f"IMG/{image_name('left', 2)}",
    ),
    "label beyond float32": (
        lambda f: edit(f, 2, "speed", "1e39"),
        list(CAMERAS),
        "label out of range",
        "speed is 1e+39",
    ),
    "image not named": (
        lambda f: edit(f, 2, "right", ""),
        ["right"],
        "image missing",
        "names none",
    ),
    "image of no bytes": (
        lambda f: image(f, "center", 2).write_bytes(b""),
        ["center"],
        "image empty",
        "0 bytes",
    ),
    "image cut off": (
        lambda f: truncate(f, "left", 2),
        ["left"],
        "image damaged",
        "truncated",
    ),
    "text for an image": (
        lambda f: image(f, "left", 2).write_text("<html>"),
        ["left"],
        "image damaged",
        "is no picture",
    ),
    "image that does not open": (
        lambda f: make_folder(f, "right", 2),
        ["right"],
        "image cannot be opened",
        "Is a directory",
    ),
    "image of another size": (
        lambda f: resize(f, "center", 2),
        ["center"],
        "image of another size",
        "is 16x16, the recording's first is 32x16",
    ),
    "label not a number": (
        lambda f: edit(f, 2, "throttle", "fast"),
        CAMERAS,
        "label is no number",
        "throttle is 'fast'",
    ),
    "label NaN": (
        lambda f: edit(f, 2, "speed", "NaN"),
        CAMERAS,
        "label is no number",
        "speed is nan",
    ),
    "label infinite": (
        lambda f: edit(f, 2, "speed", "-inf"),
        CAMERAS,
        "label is no number",
        "speed is -inf",
    ),
    "steering too far": (
        lambda f: edit(f, 2, "steering", "-1.01"),
        CAMERAS,
        "label out of range",
        "steering is -1.01, outside -1 to 1",
    ),
    "brake below zero": (
        lambda f: edit(f, 2, "brake", "-0.1"),
        CAMERAS,
        "label out of range",
        "brake is -0.1, outside 0 to 1",
    ),
    "row cut off": (
        lambda f: edit(f, 2, "brake", None),
        CAMERAS,
        "too few columns",
        "5 instead of 7: brake, speed missing",
    ),
    "no time": (
        lambda f: [edit(f, 2, camera, f"{camera}.jpg") for camera in CAMERAS],
        CAMERAS,
        "no time in the image's name",
        "'center.jpg' is not like center_2019",
    ),
    "no such time": (
        lambda f: [edit(f, 2, c, f"{c}_2019_02_30_00_00_00_000.jpg") for c in CAMERAS],
        CAMERAS,
        "no time in the image's name",
        "is not like",
    ),
}


def write(folder: Path, data: dict) -> Path:
    """What `prepare` does, in this process and without a lock."""
    sessions = udacity.sessions(data, udacity.find(data))
    about = {"fit": fit_of(data), "rule": rule_of(data), "on_bad": data["on_bad"]}
    tiny.write(folder, sessions, **about, fingerprint=fingerprint(data))
    return folder


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_bad_row_is_listed_and_costs_nothing_else(recorded, recording, tmp_path, damage):
    whole = open_dataset(write(tmp_path / "whole", settings(recorded)))
    assert whole.manifest["bad_rows"] == {"count": 0, "reasons": {}, "list": []}
    do, cameras, reason, detail = DAMAGE[damage]
    do(recording)
    damaged = open_dataset(write(tmp_path / "damaged", settings(recording)))
    bad = damaged.manifest["bad_rows"]
    assert bad["count"] == len(cameras)
    assert bad["reasons"] == {reason: len(cameras)}
    origins = [f"driving_log.csv, row 3, {camera}" for camera in cameras]
    assert [(row["origin"], row["reason"]) for row in bad["list"]] == [(o, reason) for o in origins]
    assert all(detail in row["detail"] for row in bad["list"])
    kept = np.flatnonzero(~np.isin(whole.origins, origins))
    assert damaged.origins.tolist() == whole.origins[kept].tolist()
    np.testing.assert_array_equal(damaged.times, whole.times[kept])
    for name, values in damaged.labels.items():
        np.testing.assert_array_equal(values, whole.labels[name][kept])
    np.testing.assert_array_equal(
        ImageReader(damaged).read(np.arange(len(kept))), ImageReader(whole).read(kept)
    )
    with pytest.raises(UserError) as caught:
        write(tmp_path / "refused", settings(recording, on_bad="fail"))
    for words in (str(recording), origins[0], reason, detail, "--config.data.on_bad=skip"):
        assert words in str(caught.value)


@pytest.mark.parametrize("opens_at", [1, 2, 3])
def test_a_locked_picture_is_tried_three_times(recording, monkeypatch, opens_at):
    # By its mode alone it could be read by root, as whom tests may run.
    locked, tries = str(image(recording, "left", 2)), []

    def refusing(path, mode, **how):
        if path == locked:
            tries.append(path)
            if len(tries) <= opens_at:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return open(path, mode, **how)

    monkeypatch.setattr(pictures, "open", refusing, raising=False)
    bad = [item for item in read_all(recording)["."] if isinstance(item, BadRow)]
    told = f"{image_name('left', 2)}: Permission denied, tried 3 times"
    assert len(tries) == min(opens_at + 1, 3)
    assert bad == [BadRow("driving_log.csv, row 3, left", "image cannot be opened", told)] * (
        opens_at == 3
    )


def test_a_mended_recording_is_read_anew_and_a_moved_one_is_not(recording, tmp_path):
    def fingerprint_of(path, **changes):
        return fingerprint(settings(path, **changes))

    first = fingerprint_of(recording)
    assert fingerprint_of(shutil.copytree(recording, tmp_path / "moved")) == first
    assert fingerprint_of(recording, on_bad="fail") != first
    split = settings(recording)["split"]
    for name in ("block_seconds", "gap_seconds", "validation", "test"):
        assert fingerprint_of(recording, split=split | {name: 0.15}) != first
    folds = [split | {"folds": folds, "fold": fold} for folds in (4, 5) for fold in (0, 1)]
    assert len({first, *(fingerprint_of(recording, split=split) for split in folds)}) == 5
    found = {first}
    for do in (
        lambda: edit(recording, 0, "brake", "0.5"),
        lambda: image(recording, "left", 2).unlink(),
        lambda: image(recording, "left", 2).write_bytes(b""),
        lambda: shutil.copy(image(recording, "left", 3), image(recording, "left", 2)),
        lambda: shutil.copytree(recording, recording / "second"),
        lambda: (recording / "second").rename(recording / "third"),
    ):
        do()
        found.add(fingerprint_of(recording))
    assert len(found) == 7


def test_a_folder_that_holds_no_recording_is_named(recording, tmp_path):
    def refused(path, *told):
        for use in (udacity.find, fingerprint):
            with pytest.raises(UserError) as caught:
                use(settings(path))
            for words in (*told, "--config.data.path=DIR"):
                assert words in str(caught.value)

    refused("", "config.data.source='udacity' needs a recording")
    refused(tmp_path / "none", f"no recording in {tmp_path / 'none'}", "there is no such folder")
    log = recording / "driving_log.csv"
    refused(log, f"no recording in {log}", "it is a file")
    log.unlink()
    refused(recording, f"no recording in {recording}", "driving_log.csv")
    log.mkdir()
    refused(recording, f"no recording in {recording}", "driving_log.csv")


@pytest.mark.parametrize(
    ("do", "told"),
    [
        (lambda f: (f / "driving_log.csv").write_text(""), "it is empty"),
        (lambda f: (f / "driving_log.csv").write_text(NAMES), "it is empty"),
        (lambda f: shutil.rmtree(f / "IMG"), "24 are bad: image missing (24). The first:"),
    ],
)
def test_a_recording_without_a_usable_row_is_named(recording, tmp_path, do, told):
    do(recording)
    with pytest.raises(UserError) as caught:
        write(tmp_path / "dataset", settings(recording))
    assert f"in {recording}: session . holds no usable frame: {told}" in str(caught.value)


def test_a_log_that_is_no_log_is_named(recording):
    change_log(recording, lambda text: NAMES.replace("brake", "reverse") + text)
    with pytest.raises(UserError, match=rf"{recording}/driving_log.csv has no column 'brake'"):
        udacity.sessions(settings(recording), udacity.find(settings(recording)))
    (recording / "driving_log.csv").write_text("x" * 200_000)
    with pytest.raises(UserError, match=rf"{recording}/driving_log.csv, row 1: this is no table"):
        udacity.sessions(settings(recording), udacity.find(settings(recording)))
