"""Correlations against NumPy's, and what is told where there is none."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdrive.bins import Bins
from jaxdrive.evaluation.correlation import correlation, table
from jaxdrive.heads import Head, controls

STEERING = Head("steering", "angle", 0.5, -1.0, 1.0, Bins((-1.0, 1.0)), "rad")
THROTTLE = Head("throttle", "gas", 1.0, 0.0, 1.0, Bins((0.0, 1.0)), "")
BRAKE = dataclasses.replace(THROTTLE, name="brake", label="brake", scale=2.0)
HEADS = {"brake": BRAKE, "steering": STEERING, "throttle": THROTTLE}


@given(st.integers(0, 2**31), st.integers(3, 50))
@settings(max_examples=50, deadline=None)
def test_it_is_pearsons_in_the_labels_unit(seed, frames):
    generator = np.random.default_rng(seed)
    mixed = generator.standard_normal((3, 3)) @ generator.standard_normal((3, frames))
    labels = dict(zip(("brake", "angle", "gas"), np.abs(mixed).astype(np.float32), strict=True))
    predictions = dict(zip(HEADS, (0.4 * mixed).astype(np.float32), strict=True))
    found = correlation(HEADS, predictions, labels)
    said = {name: controls(head, predictions[name]) for name, head in HEADS.items()}
    recorded = {name: labels[head.label] for name, head in HEADS.items()}
    for kind, values in (("labels", recorded), ("predictions", said)):
        rows = np.stack([values[name] for name in HEADS]).astype(np.float64)
        if (rows.std(axis=1) < 1e-3).any():
            continue
        want = np.corrcoef(rows)
        got = [[found[kind][one][other] for other in HEADS] for one in HEADS]
        np.testing.assert_allclose(got, want, atol=1e-6)
        (pair,) = found["together"]
        assert pair["heads"] == ["brake", "throttle"]
        both = [b > 0.05 * 2.0 and t > 0.05 for b, t in zip(rows[0], rows[2], strict=True)]
        assert pair[kind] == pytest.approx(np.mean(both))


def test_a_constant_has_none_and_the_table_says_so():
    labels = {"angle": np.linspace(-0.5, 0.5, 9), "gas": np.full(9, 0.3), "brake": np.zeros(9)}
    said = {"brake": np.linspace(0, 1, 9), "steering": np.linspace(1, -1, 9)}
    found = correlation(HEADS, said | {"throttle": np.linspace(0, 1, 9)}, labels)
    assert found["labels"]["brake"]["throttle"] is None
    assert found["labels"]["steering"]["steering"] == pytest.approx(1)
    lines = table(found)
    assert lines[1].split() == ["brake,", "steering", "constant", "-1.000"]
    assert lines[2].split() == ["brake,", "throttle", "constant", "1.000"]
    # 8 of the 9 predictions are above 5 % of their range.
    assert lines[-1].endswith("together: 0.0% of the labels, 88.9% of the predictions")
    assert table(correlation({"steering": STEERING}, said, labels)) == []
