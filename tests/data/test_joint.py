"""Weights inside bins make the other heads' labels as even as the recordings allow."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdrive.data.joint import PASSES, even_copies


def shares_of(own, cells, copies):
    """w[b, c] and q[c] of the objective, counted one by one."""
    weights = np.zeros((own.max() + 1, cells.max() + 1))
    for bin_number, cell, count in zip(own, cells, copies, strict=True):
        weights[bin_number, cell] += count
    weights = weights[weights.sum(axis=1) > 0]
    weights /= weights.sum(axis=1, keepdims=True)
    return weights, weights.mean(axis=0)


@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=40))
@settings(max_examples=200, deadline=None)
def test_no_draw_could_be_moved_to_a_cell_that_is_drawn_less(rows):
    # So many of each frame that rounding to whole draws hides nothing.
    own, first, second = np.repeat(np.array(rows), 40, axis=0).T
    copies = even_copies(own, [first, second])
    assert copies.min() >= 1
    for bin_number in set(own):
        assert copies[own == bin_number].sum() == PASSES * (own == bin_number).sum()
    cells = 4 * first + second
    weights, mixed = shares_of(own, cells, copies)
    least, _ = shares_of(own, cells, np.ones(len(own)))
    for row, floor in zip(weights, least / PASSES, strict=True):
        for cell in np.flatnonzero(row > floor + 0.01):
            assert mixed[cell] <= mixed[row > 0].min() + 0.01


def test_a_table_solved_by_hand():
    # Two bins of the head, three cells, the one in the middle in both; even is a third of each.
    own = np.array([0] * 90 + [0] * 10 + [1] * 10 + [1] * 90)
    cells = np.array([0] * 90 + [1] * 10 + [1] * 10 + [2] * 90)
    weights, mixed = shares_of(own, cells, even_copies(own, [cells]))
    np.testing.assert_allclose(mixed, 1 / 3, atol=1e-3)
    np.testing.assert_allclose(weights, [[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]], atol=2e-3)


def test_frames_of_a_cell_are_drawn_alike():
    own, cells = np.zeros(7, int), np.array([0, 0, 0, 0, 0, 1, 2])
    copies = even_copies(own, [cells])
    assert copies[:5].max() - copies[:5].min() <= 1
    assert copies.sum() == 7 * PASSES
    # A third of the draws for each cell, as far as whole numbers allow, but for one in PASSES.
    assert abs(copies[5] - copies[6]) <= 1
    assert copies[5] > 2 * PASSES
