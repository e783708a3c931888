"""Trees of recordings: merged, grown, copied, broken; nothing is lost and nothing moves."""

import datetime
import shutil

import numpy as np
import pyarrow.csv
from test_udacity import DAMAGE, ORIGINS, ROWS, change_log, image, recorded, settings, write

from jaxdrive.data import dataset as datasets
from jaxdrive.data import store_writer
from jaxdrive.data.dataset import open_dataset
from jaxdrive.data.image_reader import ImageReader
from jaxdrive.data.prepare import fit_of, prepare
from jaxdrive.data.sources import udacity
from jaxdrive.data.store import store_folder, store_key
from tests import recordings
from tests.recordings import CAMERAS, image_name, record, write_log

__all__ = ["recorded"]


def test_frames_and_bad_rows_of_all_sessions_add_up(tmp_path, monkeypatch):
    for number, (do, *_) in enumerate(DAMAGE.values()):
        day = recordings.START + datetime.timedelta(days=1)
        monkeypatch.setattr(recordings, "START", day)
        folder = tmp_path / "all" / f"{number:02}"
        record(folder, ROWS)
        do(folder)
    dataset = open_dataset(write(tmp_path / "dataset", settings(tmp_path / "all")))
    bad = dataset.manifest["bad_rows"]
    assert bad["count"] == len(bad["list"]) == sum(bad["reasons"].values())
    assert bad["count"] == sum(len(cameras) for _, cameras, *_ in DAMAGE.values())
    assert bad["count"] + len(dataset.times) == 3 * ROWS * len(DAMAGE)
    assert sum(dataset.manifest["frames"].values()) == len(dataset.times)
    assert not set(dataset.origins) & {row["origin"] for row in bad["list"]}
    assert not list(dataset.path.glob("part-*"))
    rows = pyarrow.csv.read_csv(dataset.path / datasets.ROWS).to_pylist()
    assert len(rows) == ROWS * len(DAMAGE)
    assert sum(row["frames"] for row in rows) == len(dataset.times)
    told = {row["origin"]: row["left_out"] for row in rows if row["left_out"]}
    assert set(told) == {row["origin"].rpartition(", ")[0] for row in bad["list"]}


def test_a_tree_with_every_fault_is_prepared_and_its_counts_add_up(tmp_path):
    """300 images of no bytes, 40 rows of missing files, mixed headers, Windows paths, a copy."""
    tree = tmp_path / "tree"
    for number, name in enumerate(("windows", "posix", "deep/relative")):
        record(tree / name, 150, first=1000 * number)
    change_log(tree / "windows", ORIGINS["Windows"])
    change_log(tree / "windows", ORIGINS["names above"])
    change_log(tree / "deep/relative", ORIGINS["relative"])
    change_log(tree / "deep/relative", ORIGINS["names in capitals, with spaces"])
    empty = [image(tree / "windows", camera, row) for row in range(20, 120) for camera in CAMERAS]
    for file in empty:
        file.write_bytes(b"")
    for row in range(1000, 1040):
        for camera in CAMERAS:
            image(tree / "posix", camera, row).unlink()
    copied = shutil.copytree(tree / "posix", tree / "copy of posix")

    data = settings(tree, dir=str(tmp_path / "datasets"))
    dataset = prepare(data)
    bad = dataset.manifest["bad_rows"]
    assert len(empty) == 300
    # What is missing cannot be told to be a copy.
    assert bad["reasons"] == {"duplicate": 3 * 110, "image empty": 300, "image missing": 2 * 3 * 40}
    listed = {row["origin"] for row in bad["list"]}
    assert len(listed) == len(bad["list"]) == bad["count"]
    # A row of names is the file's first.
    assert {
        f"windows/driving_log.csv, row {row + 2}, {camera}"
        for row in range(20, 120)
        for camera in CAMERAS
    } <= listed
    assert bad["count"] + len(dataset.times) == 3 * (4 * 150)
    rows = pyarrow.csv.read_csv(dataset.path / datasets.ROWS).to_pylist()
    assert len(rows) == 4 * 150
    assert sum(row["frames"] for row in rows) == len(dataset.times)
    assert sum(3 - row["frames"] for row in rows) == bad["count"]
    assert rows[0]["session"] == copied.name


def test_a_row_that_came_before_is_a_duplicate_and_every_other_is_not(recorded, tmp_path):
    # "a" holds the recording, "b" the same as a copy with two rows more, "c" one of those again.
    shutil.copytree(recorded, tmp_path / "in" / "a")
    second = tmp_path / "in" / "b"
    log = record(second, ROWS + 2)
    for row in range(ROWS):
        shutil.copy(image(recorded, "center", row), image(second, "center", row))
    shutil.copytree(second / "IMG", tmp_path / "in" / "c" / "IMG")
    write_log(tmp_path / "in" / "c", [log[-1], log[-1]])
    dataset = open_dataset(write(tmp_path / "dataset", settings(tmp_path / "in")))
    bad = dataset.manifest["bad_rows"]
    assert bad["reasons"] == {"duplicate": 3 * ROWS + 6}
    assert bad["list"][0]["origin"] == "b/driving_log.csv, row 1, center"
    assert (
        bad["list"][0]["detail"] == f"{image_name('center', 0)} is that of a/driving_log.csv, row 1"
    )
    assert bad["list"][-1]["detail"].endswith(f"is that of b/driving_log.csv, row {ROWS + 2}")
    assert len(dataset.times) == 3 * (ROWS + 2)
    held = {session["name"]: session["records"] for session in dataset.manifest["sessions"]}
    assert held == {"a": 3 * ROWS, "b": 6, "c": 0}


def test_a_run_that_is_added_is_read_alone_and_moves_no_frame(tmp_path):
    split = {"block_seconds": 0.5, "gap_seconds": 0.0, "validation": 0.3, "test": 0.3}
    data = settings(tmp_path / "runs", dir=str(tmp_path / "datasets"), split=split)
    record(tmp_path / "runs" / "monday", 40)
    first = prepare(data)
    record(tmp_path / "runs" / "friday", 20, first=100)
    # A picture that is read again would be found damaged.
    for file in (tmp_path / "runs" / "monday" / "IMG").iterdir():
        file.write_bytes(bytes(file.stat().st_size))
    grown = prepare(data)
    assert grown.path != first.path
    assert not grown.manifest["bad_rows"]["count"]
    friday = grown.sessions == "friday"
    assert friday.sum() == 60
    for name in ("splits", "times", "cameras", "origins"):
        old, new = getattr(first, name), getattr(grown, name)[~friday]
        assert new.tolist() == old.tolist()
    ids = np.flatnonzero(~friday)
    np.testing.assert_array_equal(
        ImageReader(grown).read(ids), ImageReader(first).read(np.arange(len(ids)))
    )
    assert first.manifest == open_dataset(first.path).manifest


def test_another_split_or_label_reads_no_image(tmp_path, caplog):
    log = record(tmp_path / "run", 60)
    data = settings(tmp_path / "run", dir=str(tmp_path / "datasets"))
    first = prepare(data)
    kept = [shard.path.stat() for store in first.stores for shard in store.shards]
    images = ImageReader(first).read(np.arange(180))
    # An image that is read again would be found damaged. The first one tells the size of all.
    for file in (tmp_path / "run" / "IMG").iterdir():
        if file != image(tmp_path / "run", "center", 0):
            file.write_bytes(bytes(file.stat().st_size))
    folds = [data["split"] | {"block_seconds": 0.5, "folds": 3, "fold": fold} for fold in range(3)]
    others = [prepare(data | {"split": split}) for split in folds]
    changed = [[*row[:3], "0.125", *row[4:]] for row in log]
    write_log(tmp_path / "run", changed)
    others.append(prepare(data))
    assert others[-1].labels["steering"].tolist() == [0.125] * 180
    assert len({dataset.path for dataset in [first, *others]}) == 5
    for dataset in others:
        assert not dataset.manifest["bad_rows"]["count"]
        assert [store.path for store in dataset.stores] == [store.path for store in first.stores]
        np.testing.assert_array_equal(ImageReader(dataset).read(np.arange(180)), images)
    assert [shard.path.stat() for store in first.stores for shard in store.shards] == kept
    assert len(list((tmp_path / "datasets").glob("images-*"))) == 1


def test_a_damaged_store_is_read_again(tmp_path, caplog):
    record(tmp_path / "runs" / "monday", 20)
    data = settings(tmp_path / "runs", dir=str(tmp_path / "datasets"))
    first = prepare(data)
    images = ImageReader(first).read(np.arange(60))
    (shard,) = first.stores[0].shards
    content = bytearray(shard.path.read_bytes())
    content[content.index(images[30].tobytes())] ^= 1
    shard.path.write_bytes(content)
    record(tmp_path / "runs" / "friday", 20, first=100)
    grown = prepare(data)
    assert f"The images in {shard.path.parent} are read again: {shard.path}" in caplog.text
    monday = np.flatnonzero(grown.sessions == "monday")
    np.testing.assert_array_equal(ImageReader(grown).read(monday), images)
    # The table of the first dataset is made again when that one is asked for.
    shutil.rmtree(tmp_path / "runs" / "friday")
    np.testing.assert_array_equal(ImageReader(prepare(data)).read(np.arange(60)), images)


def test_a_copy_that_comes_before_the_original_moves_no_frame(tmp_path):
    split = {"block_seconds": 0.5, "gap_seconds": 0.1, "validation": 0.3, "test": 0.3}
    data = settings(tmp_path / "runs", dir=str(tmp_path / "datasets"), split=split)
    log = record(tmp_path / "runs" / "monday", 150)

    def splits():
        """By moment and camera, the split of every frame."""
        dataset = prepare(data)
        starts = {held["name"]: held["start"] for held in dataset.manifest["sessions"]}
        moments = [
            (round(starts[name] + time, 3), camera)
            for name, time, camera in zip(
                dataset.sessions, dataset.times, dataset.cameras, strict=True
            )
        ]
        return dict(zip(moments, dataset.splits, strict=True)), set(dataset.sessions)

    before, _ = splits()
    assert len(set(before.values())) == 4
    shutil.copytree(tmp_path / "runs" / "monday", tmp_path / "runs" / "a copy")
    write_log(tmp_path / "runs" / "a copy", log[25:45])
    after, sessions = splits()
    assert sessions == {"a copy", "monday"}
    assert after == before


def test_a_size_is_the_recording_s_not_the_session_s(recorded, tmp_path):
    shutil.copytree(recorded, tmp_path / "in" / "a")
    record(tmp_path / "in" / "b", 3, size=(64, 32), first=100)
    dataset = open_dataset(write(tmp_path / "dataset", settings(tmp_path / "in")))
    assert dataset.manifest["bad_rows"]["reasons"] == {"image of another size": 9}
    assert set(dataset.sessions) == {"a"}


def test_pieces_of_an_interrupted_attempt_do_not_come_twice(tmp_path):
    record(tmp_path / "run", 600)
    data = settings(tmp_path / "run", dir=str(tmp_path / "datasets"))
    (session,) = udacity.sessions(data, udacity.find(data))
    assert len(session.pieces) > 2
    folder = store_folder(tmp_path / "datasets", store_key(session, fit_of(data)))
    partial = store_writer.begin(folder)
    store_writer.write_part(partial, 1, session.piece(1), fit_of(data))
    kept = (partial / "part-0001-000.array_record").stat().st_ino
    dataset = prepare(data)
    assert len(dataset.times) == dataset.stores[0].records == 3 * 600
    assert dataset.stores[0].shards[1].path.stat().st_ino == kept
    assert not list(folder.glob("part-*"))
