"""Between none and equal bins, and limited: the shares that were asked for, drawn exactly."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxdrive.bins import Bins, bin_index
from jaxdrive.data.balance import Balance, Plan, check_balance, make_plans
from jaxdrive.data.draw_weights import (
    Smoothing,
    copies_of,
    equal_bins,
    most_drawn,
    record_weights,
)
from jaxdrive.data.joint import PASSES
from jaxdrive.errors import UserError
from jaxdrive.heads import Head

bins = st.lists(st.integers(0, 6), min_size=1, max_size=80).map(np.array)
powers = st.floats(0, 1)
limits = st.one_of(st.just(0.0), st.floats(1, 20))
smoothings = st.one_of(
    st.none(),
    st.builds(
        Smoothing,
        centres=st.lists(st.floats(-1, 1), min_size=7, max_size=7, unique=True).map(sorted),
        deviation=st.floats(0.01, 3),
    ),
)


@given(bins, powers)
def test_a_bin_of_n_records_is_drawn_as_n_to_the_rest_of_the_power(own, power):
    weights = record_weights(own, power=power, limit=0.0)
    assert weights.sum() == pytest.approx(1)
    counts = np.bincount(own)
    wanted = np.where(counts, counts.astype(float) ** (1 - power), 0)
    found = np.bincount(own, weights=weights)
    np.testing.assert_allclose(found, wanted / wanted.sum(), rtol=1e-9)
    np.testing.assert_allclose(weights, found[own] / counts[own], rtol=1e-9)


@given(bins, powers, smoothings.filter(bool))
def test_smoothing_counts_the_bins_around_under_a_gaussian(own, power, smoothing):
    weights = record_weights(own, power=power, limit=0.0, smoothing=smoothing)
    # By hand, over every pair of records: each adds what the kernel is at its distance.
    centres, deviation = smoothing.centres, smoothing.deviation
    counts = [
        sum(math.exp(-(((centres[a] - centres[b]) / deviation) ** 2) / 2) for b in own) for a in own
    ]
    wanted = np.array(counts) ** -power
    np.testing.assert_allclose(weights, wanted / wanted.sum(), rtol=1e-9)
    narrow = Smoothing([0.0, 1, 2, 3, 4, 5, 6], 0.01)
    np.testing.assert_array_equal(
        record_weights(own, power=power, limit=0.0, smoothing=narrow),
        record_weights(own, power=power, limit=0.0),
    )


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=450))
def test_the_most_drawn_hundredth_is_told(weights):
    weights = np.array(weights) / np.sum(weights)
    found = most_drawn(weights)
    count = next(k for k in range(1, 6) if 100 * k >= len(weights))
    assert found["top_share"] == pytest.approx(sum(sorted(weights.tolist())[::-1][:count]))
    assert found["repeats"] == pytest.approx(max(weights) * len(weights))


@given(bins, powers, limits, smoothings)
def test_no_record_is_above_the_limit_and_the_others_keep_their_proportions(
    own, power, limit, smoothing
):
    free = record_weights(own, power=power, limit=0.0, smoothing=smoothing)
    weights = record_weights(own, power=power, limit=limit, smoothing=smoothing)
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


@given(bins, powers, limits, smoothings)
def test_copies_are_the_shares_in_whole_draws(own, power, limit, smoothing):
    weights = record_weights(own, power=power, limit=limit, smoothing=smoothing)
    copies = copies_of(own, weights, limit=limit)
    assert copies.min() >= 1
    for number in np.unique(own):
        assert np.ptp(copies[own == number]) <= 1
    # One draw is lost or won to rounding, and to drawing each record at least once.
    wanted = np.maximum(weights * PASSES * len(own), 1)
    assert (np.abs(copies - wanted) <= 1 + 1e-9).all()
    if limit:
        assert copies.max() <= limit * PASSES


@given(bins, st.integers(0, 3), st.integers(1, 9), smoothings)
def test_a_pass_of_the_plan_draws_each_record_as_often_as_it_has_copies(
    own, seed, batch_size, smoothing
):
    weights = record_weights(own, power=0.5, limit=3.0, smoothing=smoothing)
    copies = copies_of(own, weights, limit=3.0)
    ids = np.arange(len(own), dtype=np.int32) + 100
    plan = Plan([np.repeat(ids, copies)], seed=seed, stream=1, batch_size=batch_size)
    total = int(copies.sum())
    batches = [plan.draw(position) for position in range(-(-2 * total // batch_size))]
    drawn = np.concatenate(batches)[: 2 * total].reshape(2, total)
    for one_pass in drawn:
        np.testing.assert_array_equal(np.bincount(one_pass - 100, minlength=len(own)), copies)
    np.testing.assert_allclose(plan.shares(100 + len(own))[100:], copies / total)


@given(bins, st.floats(0.01, 1), st.sampled_from([0.5, 1.0, 2.0]))
def test_smoothing_is_in_the_label_s_unit_and_around_exact_values_too(own, deviation, scale):
    head = Head("steering", "angle", scale, -1, 1, Bins((-1, -0.5, 0, 0.25, 1), (0, 1)), "rad")
    labels = (np.array([-1, -0.4, 0, 0.1, 0.3, 0.9, 1]) * scale).astype(np.float32)[own]
    ids = np.arange(len(own), dtype=np.int32)
    balance = Balance("v2", power=0.5, smoothing=deviation)
    plans = make_plans(
        {"steering": head},
        {"steering": labels},
        np.full(len(own), "center"),
        ids,
        balance=balance,
        seed=0,
        batch_size=4,
    )
    # Centres of the bins by hand: -1 to -0.5, to 0, exactly 0, to 0.25, to 1, exactly 1.
    smoothing = Smoothing([scale * x for x in (-0.75, -0.25, 0, 0.125, 0.625, 1)], deviation)
    index = bin_index(head.bins, labels / np.float32(scale))
    weights = record_weights(index, power=0.5, limit=0.0, smoothing=smoothing)
    np.testing.assert_allclose(plans["steering"].shares(len(own)), weights, atol=2 / len(own) / 16)


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
        (Balance("v2", smoothing=-0.1), "balance_smoothing has to be a standard deviation"),
        (Balance("v3", smoothing=float("inf")), "balance_smoothing has to be a standard dev"),
        (Balance("none", smoothing=0.1), "config.balance_smoothing=0.1 are for balance v2"),
        (Balance("none", power=0.5), "are for balance v2 and v3: with config.balance='none'"),
        (Balance("v4", limit=5.0), "are for balance v2 and v3: with config.balance='v4'"),
    ],
)
def test_values_that_mean_nothing_are_refused(balance, told):
    with pytest.raises(UserError, match=told):
        check_balance(balance, "auto")
