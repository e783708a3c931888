"""Batches are what the plan and the table say, from any position, split over any processes."""

import itertools

import numpy as np
import pytest
import tiny

from jaxdrive.data.balance import Balance, make_plans
from jaxdrive.data.image_reader import ImageReader
from jaxdrive.data.loader import Examples, Rows, frame_batches, train_batches

BATCH = 12
SCALARS = {"speed": 0.125}


@pytest.fixture(scope="module")
def examples(small) -> Examples:
    return Examples(
        small.dataset, ImageReader(small.dataset), tiny.HEADS, small.dataset.labels, SCALARS
    )


@pytest.fixture(scope="module")
def plans(small):
    ids = small.dataset.ids("train")
    return make_plans(
        tiny.HEADS,
        small.dataset.labels,
        small.dataset.cameras,
        ids,
        balance=Balance("v2"),
        seed=4,
        batch_size=BATCH,
    )


def some_batches(examples, plans, *, position=0, rows=Rows(), count=3, **changes):  # noqa: B008
    arguments = {"supervise": "own", "views": "none", "threads": 2, "prefetch": 3} | changes
    batches = train_batches(examples, plans, position=position, rows=rows, **arguments)
    return list(itertools.islice(batches, count))


def by_hand(small, ids: np.ndarray, sign: int = 1) -> dict[str, np.ndarray]:
    """What the heads are to learn from these records; sign -1: from their mirrored pictures."""
    corrections = [{"center": 0, "left": 0.25, "right": -0.25}[small.cameras[i]] for i in ids]
    steering = small.labels["steering"][ids] + np.array(corrections, np.float32)
    return {
        "steering": sign * np.clip(steering / np.float32(0.5), -1, 1),
        "throttle": small.labels["throttle"][ids],
    }


@pytest.mark.parametrize(
    ("supervise", "learned"),
    [
        ("own", {"steering": {"steering"}, "throttle": {"throttle"}}),
        ("all", {head: set(tiny.HEADS) for head in tiny.HEADS}),
    ],
)
def test_batches_are_what_plan_and_table_say(small, examples, plans, supervise, learned):
    clipped = 0
    for position, batch in enumerate(some_batches(examples, plans, supervise=supervise, count=5)):
        assert batch.keys() == tiny.HEADS.keys()
        for head, part in batch.items():
            ids = plans[head].draw(position)
            np.testing.assert_array_equal(part["record"], ids, strict=True)
            np.testing.assert_array_equal(part["mask"], np.ones(BATCH, bool), strict=True)
            inputs = part["inputs"]
            assert inputs.keys() == {"image", "speed"}
            np.testing.assert_array_equal(inputs["image"], small.images[ids], strict=True)
            speed = small.labels["speed"][ids] * np.float32(0.125)
            np.testing.assert_array_equal(inputs["speed"], speed, strict=True)
            assert part["labels"].keys() == learned[head]
            assert part["mirrored"].keys() == learned[head]
            for name, values in part["labels"].items():
                np.testing.assert_array_equal(values, by_hand(small, ids)[name], strict=True)
                expected = by_hand(small, ids, sign=-1)[name]
                np.testing.assert_array_equal(part["mirrored"][name], expected, strict=True)
                clipped += (np.abs(small.labels[name][ids]) > tiny.HEADS[name].scale).sum()
    assert clipped  # Labels beyond the scale were among them.


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        if isinstance(one[name], dict):
            assert_same(one[name], other[name])
        else:
            np.testing.assert_array_equal(one[name], other[name], strict=True)


@pytest.mark.parametrize("threads", [1, 4])
def test_a_stream_that_starts_later_is_the_rest_of_the_whole_one(examples, plans, threads):
    whole = some_batches(examples, plans, count=9)
    rest = some_batches(examples, plans, position=5, count=4, threads=threads, prefetch=1)
    for one, other in zip(whole[5:], rest, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_rows_of_all_processes_together_are_the_global_batch(examples, plans, count):
    whole = some_batches(examples, plans, position=2, supervise="all")
    shares = [
        some_batches(examples, plans, position=2, supervise="all", rows=Rows(index, count))
        for index in range(count)
    ]
    for batch, *parts in zip(whole, *shares, strict=True):
        for head, expected in batch.items():
            assert all(len(part[head]["record"]) == BATCH // count for part in parts)
            joined = {
                kind: np.concatenate([part[head][kind] for part in parts])
                for kind in ("record", "mask")
            } | {
                kind: {
                    name: np.concatenate([part[head][kind][name] for part in parts])
                    for name in expected[kind]
                }
                for kind in ("inputs", "labels", "mirrored")
            }
            assert_same(joined, expected)


@pytest.mark.parametrize("batch_size", [4, 8, 40, 64])
@pytest.mark.parametrize("count", [1, 2])
def test_frames_come_in_order_each_once_and_the_first_ones_fill_the_last_batch(
    small, examples, batch_size, count
):
    ids = np.concatenate([small.dataset.ids(split) for split in ("test", "train")])[:40]
    assert (np.diff(ids) < 0).any()  # Not simply the order of the table.
    shares = [
        list(
            frame_batches(examples, ids, batch_size=batch_size, rows=Rows(index, count), threads=3)
        )
        for index in range(count)
    ]
    filled = np.resize(ids, -(-len(ids) // batch_size) * batch_size).reshape(-1, batch_size)
    assert [len(share) for share in shares] == [len(filled)] * count
    for expected, *parts in zip(filled, *shares, strict=True):
        inputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        np.testing.assert_array_equal(inputs["image"], small.images[expected], strict=True)
        speed = small.labels["speed"][expected] * np.float32(0.125)
        np.testing.assert_array_equal(inputs["speed"], speed, strict=True)
