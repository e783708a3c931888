"""Tubs read as they were recorded; what cannot be read is told record by record."""

import shutil

import numpy as np
import pyarrow.csv
import pytest
import tiny
from PIL import Image

from configs import donkey as donkey_config
from jaxdrive.data import dataset as datasets
from jaxdrive.data.dataset import open_dataset
from jaxdrive.data.frames import BadRow
from jaxdrive.data.prepare import fingerprint, fit_of
from jaxdrive.data.sources import donkey
from jaxdrive.data.split import rule_of, splits_of
from jaxdrive.errors import UserError
from tests import tubs

COUNT = 20


def settings(path, **changes) -> dict:
    """config.data for pictures of 12 x 16 that are kept as they are."""
    config = donkey_config.get_config().data.to_dict()
    fit = {"crop_top": 0, "crop_bottom": 0, "height": 12, "width": 16}
    return config | fit | {"path": str(path)} | changes


def read_all(path, **changes):
    return {
        s.name: list(s.read())
        for s in donkey.sessions(settings(path, **changes), donkey.find(settings(path, **changes)))
    }


def write(folder, data):
    """What `prepare` does, in this process and without a lock."""
    sessions = donkey.sessions(data, donkey.find(data))
    about = {"fit": fit_of(data), "rule": rule_of(data), "on_bad": data["on_bad"]}
    tiny.write(folder, sessions, **about, fingerprint=fingerprint(data))
    return open_dataset(folder)


def test_records_are_frames_of_their_session(tmp_path):
    records = tubs.record(tmp_path, COUNT, sessions=["one", "two"], per_catalog=7, deleted=[0, 12])
    sessions = read_all(tmp_path)
    assert list(sessions) == ["one", "two"]
    kept = [record for record in records if record["_index"] not in (0, 12)]
    frames = [frame for own in sessions.values() for frame in own]
    assert len(frames) == len(kept)
    # A session begins where it did before records of it were deleted.
    first = {"one": 0, "two": 10}
    for frame, record in zip(frames, kept, strict=True):
        angle, throttle = tubs.values_of(record["_index"])
        assert frame.labels == {
            "steering": angle,
            "throttle": max(throttle, 0),
            "brake": max(-throttle, 0),
        }
        passed = (record["_index"] - first[record["_session_id"]]) * tubs.INTERVAL_MS / 1000
        assert frame.time == pytest.approx(passed, abs=1e-9)
        with Image.open(tmp_path / "images" / record["cam/image_array"]) as picture:
            np.testing.assert_array_equal(frame.image, np.asarray(picture), strict=True)
    assert frames[-1].origin == "catalog_2.catalog, row 6, center"


def test_tubs_below_a_folder_are_merged_and_other_manifests_are_not_tubs(tmp_path):
    tubs.record(tmp_path / "b", 3)
    tubs.record(tmp_path / "a", 4, start_ms=tubs.START_MS + 10**6, sessions=["x"])
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "manifest.json").write_text('{"schema_version": 3}')
    sessions = donkey.sessions(settings(tmp_path), donkey.find(settings(tmp_path)))
    assert [(s.name, s.start) for s in sessions] == [
        ("a/x", tubs.START_MS / 1000 + 1000),
        ("b", tubs.START_MS / 1000),
    ]


@pytest.mark.parametrize("clock", ["too fast", "none", "none in one record"])
def test_without_a_usable_clock_records_tell_the_time(tmp_path, clock, caplog):
    records = tubs.record(tmp_path, COUNT, interval_ms=3, deleted=[1])
    for record in records if clock == "none" else records[4:5] if "one" in clock[5:] else ():
        del record["_timestamp_ms"]
    tubs.write(tmp_path, records, deleted=[1])
    (session,) = donkey.sessions(
        settings(tmp_path, frames_per_second=20.0),
        donkey.find(settings(tmp_path, frames_per_second=20.0)),
    )
    times = [frame.time for frame in session.read()]
    assert times == pytest.approx([0.0, *(index / 20 for index in range(2, COUNT))])
    assert session.start is None


@pytest.mark.parametrize("block_seconds", [0.0, 0.2])
def test_deleting_records_moves_no_other_one_into_another_split(tmp_path, block_seconds):
    split = {"block_seconds": block_seconds, "gap_seconds": 0.0, "validation": 0.3, "test": 0.3}
    found = []
    for deleted in range(4):
        folder = tmp_path / str(deleted)
        tubs.record(folder, COUNT, deleted=range(deleted))
        data = settings(folder, split=split)
        (session,) = donkey.sessions(data, donkey.find(data))
        times = np.array([frame.time for frame in session.read()])
        found.append(splits_of([session], [times], rule_of(data))[0].tolist())
        assert session.start == tubs.START_MS / 1000
    assert all(splits == found[0][deleted:] for deleted, splits in enumerate(found))


def break_line(folder, text):
    catalog = folder / "catalog_0.catalog"
    lines = catalog.read_text().splitlines()
    lines[2] = text
    catalog.write_text("\n".join(lines))


def change(folder, **values):
    records = tubs.record(folder / "again", COUNT)
    shutil.rmtree(folder / "again")
    records[2] |= {name.replace("_", "/", 1): value for name, value in values.items()}
    tubs.write(folder, records)


def image(folder):
    return folder / "images" / "2_cam_image_array_.jpg"


# What is done to the third record: the reason, words of the detail.
DAMAGE = {
    "image of no bytes": (lambda f: image(f).write_bytes(b""), "image empty", "0 bytes"),
    "image removed": (lambda f: image(f).unlink(), "image missing", "images/2_cam"),
    "image cut off": (
        lambda f: image(f).write_bytes(image(f).read_bytes()[:-150]),
        "image damaged",
        "truncated",
    ),
    "image of another size": (
        lambda f: Image.new("RGB", (8, 8)).save(image(f)),
        "image of another size",
        "is 8x8, the recording's first is 16x12",
    ),
    "no JSON": (lambda f: break_line(f, '{"_index": 2, "cam'), "row is no JSON", "catalog_0"),
    "no index": (lambda f: break_line(f, "{}"), "row has no _index", "catalog_0"),
    "angle NaN": (lambda f: change(f, user_angle=float("nan")), "label is no number", "nan"),
    "no angle": (lambda f: change(f, user_angle=None), "label is no number", "user/angle is None"),
    "throttle too high": (
        lambda f: change(f, user_throttle=1.5),
        "label out of range",
        "user/throttle is 1.5, outside -1 to 1",
    ),
    "angle too far": (
        lambda f: change(f, user_angle=-2.0),
        "label out of range",
        "steering is -2.0, outside -1 to 1",
    ),
    "driven by a pilot": (
        lambda f: change(f, user_mode="local_angle"),
        "not driven by a person",
        "'local_angle'",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_bad_record_is_listed_and_costs_nothing_else(tmp_path, damage):
    do, reason, detail = DAMAGE[damage]
    tub = tmp_path / "tub"
    tubs.record(tub, COUNT, deleted=[5])
    do(tub)
    dataset = write(tmp_path / "dataset", settings(tub))
    bad = dataset.manifest["bad_rows"]
    assert bad["reasons"] == {reason: 1}
    assert bad["list"][0]["origin"] == "catalog_0.catalog, row 3, center"
    assert detail in bad["list"][0]["detail"]
    rows = pyarrow.csv.read_csv(dataset.path / datasets.ROWS).to_pylist()
    assert len(rows) == COUNT
    assert sum(row["deleted"] for row in rows) + len(dataset.times) + bad["count"] == COUNT
    assert rows[2]["left_out"] == f"center: {reason}"
    with pytest.raises(UserError, match="row 3"):
        write(tmp_path / "refused", settings(tub, on_bad="fail"))


def test_a_copied_tub_is_a_duplicate_and_one_of_the_same_names_is_not(tmp_path):
    tubs.record(tmp_path / "in" / "a", 6)
    tubs.record(tmp_path / "in" / "b", 6, start_ms=tubs.START_MS + 10**6)
    shutil.copytree(tmp_path / "in" / "a", tmp_path / "in" / "c")
    read = read_all(tmp_path / "in")
    assert not [item for name in "ab" for item in read[name] if isinstance(item, BadRow)]
    assert {(item.reason, item.detail) for item in read["c"]} == {
        ("duplicate", f"{i}_cam_image_array_.jpg is that of a/catalog_0.catalog, row {i + 1}")
        for i in range(6)
    }


def test_a_catalog_that_is_missing_is_told(tmp_path):
    tubs.record(tmp_path, COUNT, per_catalog=12)
    (tmp_path / "catalog_1.catalog").unlink()
    (items,) = read_all(tmp_path).values()
    assert len(items) == 13
    assert items[-1] == BadRow(
        "catalog_1.catalog, row 0, center", "catalog missing", "catalog_1.catalog"
    )


def test_a_folder_that_holds_no_tub_is_named(tmp_path):
    with pytest.raises(UserError, match=r"holds a manifest\.json"):
        donkey.sessions(settings(tmp_path), donkey.find(settings(tmp_path)))
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(UserError, match=r"manifest\.json is not that of a tub"):
        donkey.sessions(settings(tmp_path), donkey.find(settings(tmp_path)))
