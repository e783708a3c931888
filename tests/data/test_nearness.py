"""How near training frames come to held-out ones is measured as two loops would, and refused."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxdrive.data.nearness import leak, nearest_training, nearness_lines
from jaxdrive.data.split import GAP, SPLITS

STARTS = {"a": None, "b": 100.0, "c": 103.0, "d": None}
rows = st.lists(
    st.tuples(
        st.sampled_from(sorted(STARTS)),
        st.integers(0, 60).map(lambda tenths: tenths / 10),
        st.sampled_from([*SPLITS, GAP]),
    ),
    min_size=1,
    max_size=30,
)


def dataset_of(small, rows):
    sessions, times, splits = (np.array(column) for column in zip(*rows, strict=True))
    manifest = {"sessions": [{"name": name, "start": start} for name, start in STARTS.items()]}
    origins = np.array([f"row {row}" for row in range(len(rows))])
    changed = {"sessions": sessions, "times": times, "splits": splits, "origins": origins}
    return dataclasses.replace(small.dataset, manifest=manifest, **changed)


@given(rows)
def test_every_frame_is_compared_with_every_training_frame_on_its_clock(small, rows):
    def moment(row):
        return (rows[row][0], 0.0) if STARTS[rows[row][0]] is None else ("", STARTS[rows[row][0]])

    found = nearest_training(dataset_of(small, rows))
    for split, seconds in found.items():
        own = [row for row in range(len(rows)) if rows[row][2] == split]
        for row, distance in zip(own, seconds, strict=True):
            clock, start = moment(row)
            others = [
                abs(rows[row][1] + start - rows[other][1] - moment(other)[1])
                for other in range(len(rows))
                if rows[other][2] == "train" and moment(other)[0] == clock
            ]
            assert distance == pytest.approx(min(others, default=np.inf))


def test_a_recording_cut_into_folders_is_refused_below_the_gap(small):
    # "c" begins 70 ms after "b" ends, in another split.
    rows = [("b", 2.93, "train"), ("c", 0.0, "validation"), ("c", 0.6, "validation")]
    dataset = dataset_of(small, rows)
    nearest = nearest_training(dataset)
    assert leak(dataset, nearest, gap_seconds=0.07) == ""
    told = leak(dataset, nearest, gap_seconds=0.5)
    assert "1 of 2 validation frames" in told
    assert "0.07 s away, is that of row 1 in session c" in told
    assert "gap_seconds=0.5" in told
    assert nearness_lines(nearest) == [
        "validation: the nearest training frame in time is at least 0.07 s away (median 0.37 s)"
    ]
    apart = dataset_of(small, [("a", 0.0, "train"), ("d", 0.0, "test")])
    assert nearness_lines(nearest_training(apart)) == [
        "test: no training frame is in a session of its frames"
    ]
