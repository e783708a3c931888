"""Pictures fill the network's size: stretched, or with their proportions kept."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxdrive.data.frames import Fit, fit_image

sides = st.integers(1, 40)


@given(
    height=sides,
    width=sides,
    rows=sides,
    columns=sides,
    resize=st.sampled_from(["stretch", "pad", "crop"]),
)
def test_a_grey_picture_stays_grey_on_all_that_it_covers(height, width, rows, columns, resize):
    picture = np.full((rows, columns, 3), 77, np.uint8)
    fitted = fit_image(picture, Fit(0, 0, height, width, resize))
    assert fitted.shape == (height, width, 3)
    assert fitted.dtype == np.uint8
    assert fitted.flags.c_contiguous
    covered = (fitted == 77).all(axis=2)
    assert ((fitted == 0).all(axis=2) | covered).all()
    if resize != "pad":
        assert covered.all()
        return
    # Black fills one direction at most, alike on both sides.
    assert covered.all(axis=0).any() or covered.all(axis=1).any()
    scale = min(height / rows, width / columns)
    assert covered.sum() == max(1, round(scale * rows)) * max(1, round(scale * columns))


def test_proportions_are_kept_by_pad_and_crop_and_not_by_stretch():
    # A bright square in a picture twice as wide as high.
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[8:28, 32:52] = 255

    def square(resize):
        bright = fit_image(picture, Fit(0, 0, 20, 20, resize))[..., 0] > 127
        return bright.any(axis=1).sum(), bright.any(axis=0).sum()

    assert square("stretch") == (10, 5)
    assert square("pad") == (5, 5)
    assert square("crop") == (10, 10)


@pytest.mark.parametrize("size", [(8, 5), (8, 20), (3, 5)])
def test_shrinking_averages_the_area_whether_or_not_the_other_side_grows(size):
    generator = np.random.default_rng(0)
    picture = generator.integers(0, 256, (8, 20, 3), np.uint8)
    fitted = fit_image(picture, Fit(0, 0, *size))
    # One row or column more on a side that does not shrink must not change what shrinking does.
    wider = fit_image(picture, Fit(0, 0, 8, 5))
    exact = picture.reshape(8, 5, 4, 3).mean(axis=2)
    np.testing.assert_allclose(wider, exact, atol=0.51)
    if size == (3, 5):
        assert abs(float(fitted.mean()) - picture.mean()) < 1
    taller = fit_image(picture, Fit(0, 0, 9, 5))
    np.testing.assert_allclose(taller[4], wider[[3, 4]].mean(axis=0), atol=1.01)


def test_rows_are_cut_before_anything_else():
    picture = np.repeat(np.arange(10, dtype=np.uint8)[:, None, None], 3, axis=2).repeat(4, axis=1)
    kept = fit_image(picture, Fit(crop_top=2, crop_bottom=3, height=5, width=4))
    assert kept[:, 0, 0].tolist() == [2, 3, 4, 5, 6]
