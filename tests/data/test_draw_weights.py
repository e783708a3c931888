"""Between none and equal bins, and limited: the shares that were asked for, drawn exactly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxdrive.data.balance import Balance, Plan, check_balance
from jaxdrive.data.draw_weights import copies_of, equal_bins, record_weights
from jaxdrive.data.joint import PASSES
from jaxdrive.errors import UserError

bins = st.lists(st.integers(0, 6), min_size=1, max_size=80).map(np.array)
powers = st.floats(0, 1)
limits = st.one_of(st.just(0.0), st.floats(1, 20))


@given(bins, powers)
def test_a_bin_of_n_records_is_drawn_as_n_to_the_rest_of_the_power(own, power):
    weights = record_weights(own, power=power, limit=0.0)
    assert weights.sum() == pytest.approx(1)
    counts = np.bincount(own)
    wanted = np.where(counts, counts.astype(float) ** (1 - power), 0)
    found = np.bincount(own, weights=weights)
    np.testing.assert_allclose(found, wanted / wanted.sum(), rtol=1e-9)
    np.testing.assert_allclose(weights, found[own] / counts[own], rtol=1e-9)


@given(bins, powers, limits)
def test_no_record_is_above_the_limit_and_the_others_keep_their_proportions(own, power, limit):
    free = record_weights(own, power=power, limit=0.0)
    weights = record_weights(own, power=power, limit=limit)
    assert weights.sum() == pytest.approx(1)
    if not limit:
        np.testing.assert_array_equal(weights, free)
        return
    most = limit / len(own)
    assert (weights <= most * (1 + 1e-9)).all()
    below = weights < most * (1 - 1e-9)
    ratios = weights[below] / free[below]
    np.testing.assert_allclose(ratios, ratios[:1].repeat(len(ratios)), rtol=1e-9)
    # What a limit takes away goes to the others: none of those gets less.
    assert (ratios >= 1 - 1e-9).all()


@given(bins, powers, limits)
def test_copies_are_the_shares_in_whole_draws(own, power, limit):
    weights = record_weights(own, power=power, limit=limit)
    copies = copies_of(own, weights, limit=limit)
    assert copies.min() >= 1
    for number in np.unique(own):
        assert np.ptp(copies[own == number]) <= 1
    # One draw is lost or won to rounding, and to drawing each record at least once.
    wanted = np.maximum(weights * PASSES * len(own), 1)
    assert (np.abs(copies - wanted) <= 1 + 1e-9).all()
    if limit:
        assert copies.max() <= limit * PASSES


@given(bins, st.integers(0, 3), st.integers(1, 9))
def test_a_pass_of_the_plan_draws_each_record_as_often_as_it_has_copies(own, seed, batch_size):
    weights = record_weights(own, power=0.5, limit=3.0)
    copies = copies_of(own, weights, limit=3.0)
    ids = np.arange(len(own), dtype=np.int32) + 100
    plan = Plan([np.repeat(ids, copies)], seed=seed, stream=1, batch_size=batch_size)
    total = int(copies.sum())
    batches = [plan.draw(position) for position in range(-(-2 * total // batch_size))]
    drawn = np.concatenate(batches)[: 2 * total].reshape(2, total)
    for one_pass in drawn:
        np.testing.assert_array_equal(np.bincount(one_pass - 100, minlength=len(own)), copies)
    np.testing.assert_allclose(plan.shares(100 + len(own))[100:], copies / total)


def test_the_ends_are_equal_bins_and_frames_as_recorded():
    own = np.repeat([0, 1, 2], [50, 3, 7])
    assert equal_bins(own, record_weights(own, power=1.0, limit=0.0))
    assert not equal_bins(own, record_weights(own, power=0.9, limit=0.0))
    assert not equal_bins(own, record_weights(own, power=1.0, limit=2.0))
    np.testing.assert_allclose(record_weights(own, power=0.0, limit=0.0), 1 / 60)
    assert (copies_of(own, record_weights(own, power=0.0, limit=0.0), limit=0.0) == PASSES).all()


@pytest.mark.parametrize(
    ("balance", "told"),
    [
        (Balance("v2", power=1.5), "balance_power has to be from 0"),
        (Balance("v2", power=float("nan")), "balance_power has to be from 0"),
        (Balance("v3", limit=0.5), "balance_limit has to be at least 1"),
        (Balance("v2", limit=-1.0), "balance_limit has to be at least 1"),
        (Balance("none", power=0.5), "are for balance v2 and v3: with config.balance='none'"),
        (Balance("v4", limit=5.0), "are for balance v2 and v3: with config.balance='v4'"),
    ],
)
def test_values_that_mean_nothing_are_refused(balance, told):
    with pytest.raises(UserError, match=told):
        check_balance(balance, "auto")
