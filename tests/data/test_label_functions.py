"""Labels smoothed and led: the means that were asked for, and nothing of another split."""

import dataclasses

import numpy as np
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from jaxdrive.data.label_functions import learned_labels, runs_of, window_means

STEERING = tiny.HEADS["steering"]
seconds = st.floats(0, 3)
moments = st.lists(st.integers(0, 200), min_size=1, max_size=40, unique=True).map(sorted)


def dataset_of(small, times, splits, steering, sessions=None):
    count = len(times)
    return dataclasses.replace(
        small.dataset,
        times=np.asarray(times, float),
        splits=np.asarray(splits),
        cameras=np.full(count, "center"),
        sessions=np.full(count, "a") if sessions is None else np.asarray(sessions),
        labels={"steering": np.asarray(steering, np.float32)},
    )


@given(moments, st.data(), seconds, seconds)
def test_a_mean_is_over_the_window_around_the_later_moment(times, data, half_width, lead):
    times = np.array(times) / 10
    values = np.array(
        data.draw(
            st.lists(st.sampled_from([-1.0, 0.0, 0.5]), min_size=len(times), max_size=len(times))
        )
    )
    found = window_means(times, values, half_width, lead)
    for moment, mean in zip(times + lead, found, strict=True):
        # A window that ends just at a frame may count it or not.
        edge = np.abs(np.abs(times - moment) - half_width)
        if (edge[edge > 0] < 1e-5).any():
            continue
        inside = np.abs(times - moment) <= half_width
        wanted = values[inside].mean() if inside.any() else np.interp(moment, times, values)
        assert mean == pytest.approx(wanted, abs=1e-9)
        assert mean == 0.0 or not inside.any() or values[inside].any()


def test_labels_of_other_splits_sessions_and_gaps_stay_out(small):
    splits = ["train"] * 4 + ["gap"] * 2 + ["validation"] * 4 + ["train"] * 2
    steering = [0, 0, 0, 1, 9, 9, -1, 0, 0, 0, 0.5, 0.5]
    sessions = ["a"] * 11 + ["b"]
    dataset = dataset_of(small, np.arange(12) / 10, splits, steering, sessions)
    head = dataclasses.replace(STEERING, smooth_seconds=10.0 / 2.5)
    learned = learned_labels({"steering": head}, dataset)["steering"]
    wanted = [0.25] * 4 + [9] * 2 + [-0.25] * 4 + [0.5, 0.5]
    np.testing.assert_allclose(learned, wanted, rtol=1e-6)
    assert learned.dtype == np.float32
    # Without either, labels are the recorded ones.
    assert learned_labels({"steering": STEERING}, dataset)["steering"] is dataset.labels["steering"]


@given(st.permutations(list(range(12))))
def test_the_order_of_records_does_not_matter(order):
    times, labels = np.arange(12) / 10, np.sin(np.arange(12))
    plain = window_means(times, labels, 0.15, 0.2)
    columns = {"times": times[order], "sessions": np.full(12, "a"), "splits": np.full(12, "train")}
    dataset = tiny_dataset(**columns, cameras=np.full(12, "center"), labels=labels[order])
    head = dataclasses.replace(STEERING, smooth_seconds=0.15, lead_seconds=0.2)
    learned = learned_labels({"steering": head}, dataset)["steering"]
    np.testing.assert_allclose(learned, plain[order], rtol=1e-6)


def tiny_dataset(*, labels, **columns):
    class Columns:
        pass

    dataset = Columns()
    vars(dataset).update(columns, labels={"steering": labels})
    return dataset


def test_cameras_have_runs_of_their_own(small):
    runs = list(runs_of(small.dataset))
    assert sorted(np.concatenate(runs).tolist()) == list(range(len(small.images)))
    assert len(runs) == 3 * len(tiny.SESSIONS)
    for run in runs:
        assert len(set(small.dataset.cameras[run])) == len(set(small.dataset.splits[run])) == 1
        assert (np.diff(small.dataset.times[run]) > 0).all()
