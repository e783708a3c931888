"""Every change of pictures against the same in plain Python, within one grey level."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdrive.training import pixels
from jaxdrive.training.augment import change_images
from jaxdrive.views import TRANSFORMS
from tests.training import pixel_reference as reference
from tests.training.test_augment import OFF, drawn

ROWS, HEIGHT, WIDTH = 6, 9, 8


@pytest.fixture(autouse=True)
def _strict_dtypes():
    with jax.numpy_dtype_promotion("strict"):
        yield


def pictures(seed: int = 0) -> np.ndarray:
    """Random colours, with black, white, greys and pure colours among them: uint8."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (ROWS, HEIGHT, WIDTH, 3), np.uint8)
    images[:, 0] = generator.choice([0, 255], (ROWS, WIDTH, 3))
    images[:, 1] = generator.integers(0, 256, (ROWS, WIDTH, 1))
    images[:, 2, :3] = generator.integers(0, 3, (ROWS, 3, 3))
    return images


def numbers(*values) -> jax.Array:
    return jnp.asarray(values, jnp.float32)


def assert_same(function, images, *by_row, want) -> None:
    """`function` of all pictures equals `want` of each, told by its strengths."""
    got = np.asarray(jax.jit(function)(jnp.asarray(images, jnp.float32) / 255, *by_row))
    assert got.dtype == np.float32
    moved = 0.0
    for row, image in enumerate(images):
        expected = want(image / 255, *(np.asarray(values)[row] for values in by_row))
        np.testing.assert_allclose(got[row], expected, atol=1e-4)
        moved = max(moved, np.abs(expected - image / 255).max())
    assert moved > 0.1


FACTORS = numbers(0.0, 0.3, 0.9, 1.0, 1.4, 2.0)


@pytest.mark.parametrize(
    ("function", "want", "strengths"),
    [
        (pixels.scale_value, reference.value, FACTORS),
        (pixels.brighten, reference.brightness, FACTORS),
        (pixels.contrast, reference.contrast, FACTORS),
        (pixels.saturate, reference.saturation, FACTORS),
        (pixels.raise_to, reference.power, numbers(0.2, 0.4, 1.0, 1.5, 2.0, 3.0)),
        (pixels.turn_hue, reference.hue, numbers(0.0, 0.5, -0.5, 0.1, -0.2, 1 / 3)),
    ],
)
def test_colours_change_as_by_the_textbook(function, want, strengths):
    assert_same(function, pictures(), strengths, want=want)


def test_a_shadow_darkens_one_side_of_its_line():
    ends = jnp.asarray([[0.2, 0.9], [1, 0], [0.5, 0.5], [0, 0], [0, 1], [0.7, 0.1]], jnp.float32)
    left = jnp.asarray([True, False, True, False, False, True])
    lightness = numbers(0.5, 0.5, 0.2, 0.5, 1.0, 0.0)
    assert_same(pixels.shadow, pictures(), ends, left, lightness, want=reference.shadow)


def test_cropped_rows_are_stretched_back():
    cut = jnp.asarray([[0, 0], [3, 0], [0, 4], [2, 3], [8, 0], [0, 8]], jnp.int32)
    assert_same(pixels.crop, pictures(), cut, want=lambda v, cut: reference.crop(v, *cut))


@pytest.mark.parametrize("radius", [1, 4])
def test_a_blur_is_a_gaussian_in_two_dimensions(radius):
    assert_same(
        lambda values, sigma: pixels.blur(values, sigma, radius=radius),
        pictures(),
        numbers(0.0, 0.3, 0.7, 1.0, 1.3, 5.0),
        want=lambda values, sigma: reference.blur(values, sigma, radius),
    )


@given(st.integers(0, 13), st.integers(0, 10**6))
@settings(max_examples=28, deadline=None)
def test_every_view_is_the_published_one(number, seed):
    images = pictures(seed)
    changes = drawn(OFF, "steering", rows=ROWS)
    transform = jnp.full(ROWS, number, jnp.int32)
    got = np.asarray(change_images(OFF, changes, jnp.asarray(images), transform))
    for row, image in enumerate(images):
        want = reference.view(image / 255, number) * 255
        np.testing.assert_allclose(got[row], want, atol=0.501)
    assert TRANSFORMS[number].mirrored == (number >= 7)
    if number in (0, 7):
        np.testing.assert_array_equal(got, images[:, :, :: -1 if number else 1])


def test_noise_is_normal_and_each_picture_has_its_own():
    keys = jax.random.key_data(jax.random.split(jax.random.key(3), 3))
    grey = jnp.full((3, 150, 160, 3), 0.5, jnp.float32)
    noise = np.asarray(pixels.add_noise(grey, numbers(0.1, 0.1, 0.0), keys)) - 0.5
    assert (noise[2] == 0).all()
    for row in noise[:2] / 0.1:
        # 24,000 pixels: four standard errors of each moment, colour by colour.
        assert np.abs(row.mean(axis=(0, 1))).max() < 4 / np.sqrt(24000)
        assert np.abs(row.std(axis=(0, 1)) - 1).max() < 4 / np.sqrt(48000)
        assert abs((row**4).mean() - 3) < 4 * np.sqrt(96 / 72000)
        for within, share in ((1, 0.6827), (2, 0.9545), (3, 0.9973)):
            assert abs((np.abs(row) < within).mean() - share) < 0.008
        between = np.corrcoef(row.reshape(-1, 3).T)[np.triu_indices(3, 1)]
        beside = np.corrcoef(row[:, 1:].ravel(), row[:, :-1].ravel())[0, 1]
        assert max(np.abs(between).max(), abs(beside)) < 0.03
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.02


@given(st.integers(0, 2**8 - 1), st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_to_mirror_twice_is_to_do_nothing(which, seed):
    images = jnp.asarray(pictures(seed))
    some = jnp.asarray([bool(which >> row & 1) for row in range(ROWS)])
    once = pixels.mirror(images, some)
    np.testing.assert_array_equal(pixels.mirror(once, some), images)
    for row in range(ROWS):
        np.testing.assert_array_equal(once[row], images[row][:, :: -1 if some[row] else 1])
