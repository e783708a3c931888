"""What can be done to pictures, as pure functions: the same for every picture, strengths by row.

Pictures are float32 [b, H, W, 3] in 0 to 1, red, green and blue, and come back as such; `mirror`
and `shift` take any dtype. Strengths are float32 [b] unless said. What is drawn at random, and in
which order things are done, stands in `augment.py`.

Hue, saturation, value and lightness are those of HSV and HLS (A. R. Smith, "Color gamut transform
pairs", 1978). None of them needs the way there and back: to scale one of them and keep the others
stretches a pixel's colours about its brightest colour, about black, or about its lightness.

Where colours depend on each other they are taken apart into planes: else XLA computes all that
comes before anew for each use, which took four times as long for three changes together on a CPU.
"""

import functools
import math
import statistics
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

# Random bits behind the noise of one colour of a pixel: three fit into a word.
_NOISE_BITS = 10


def mirror(images: jax.Array, mirrored: jax.Array) -> jax.Array:
    """Swaps left and right where `mirrored`, bool [b]."""
    return jnp.where(_per_picture(mirrored), images[:, :, ::-1], images)


def shift(images: jax.Array, pixels: jax.Array) -> jax.Array:
    """Moves the content to the right and down, int32 [b, 2]; the border's pixels are repeated."""

    def one(image: jax.Array, moved: jax.Array) -> jax.Array:
        rows = jnp.clip(jnp.arange(image.shape[0]) - moved[1], 0, image.shape[0] - 1)
        columns = jnp.clip(jnp.arange(image.shape[1]) - moved[0], 0, image.shape[1] - 1)
        return image[rows][:, columns]

    return jax.vmap(one)(images, pixels)


def crop(values: jax.Array, cut: jax.Array) -> jax.Array:
    """Cuts rows away above and below, int32 [b, 2], and stretches the rest to the old height.

    Rows are interpolated linearly between the middles of pixels.
    """
    height = values.shape[1]

    def one(image: jax.Array, rows: jax.Array) -> jax.Array:
        above, left = rows[0], (height - rows[0] - rows[1]).astype(jnp.float32)
        middles = jnp.arange(height, dtype=jnp.float32) + 0.5
        place = jnp.clip(middles * (left / height) - 0.5, 0, left - 1)
        lower = jnp.floor(place)
        share = (place - lower)[:, None, None]
        first = lower.astype(jnp.int32) + above
        second = jnp.minimum(first + 1, height - rows[1] - 1)
        return image[first] * (1 - share) + image[second] * share

    return jax.vmap(one)(values, cut)


def scale_value(values: jax.Array, factor: jax.Array) -> jax.Array:
    """V of HSV times `factor`, at most 1: a bright pixel keeps its hue and saturation."""
    planes = _planes(values)
    highest, _ = _extremes(planes)
    # Black stays black: its largest factor is infinite.
    stretch = jnp.minimum(_per_plane(factor), 1 / highest)
    return _joined(plane * stretch for plane in planes)


def brighten(values: jax.Array, factor: jax.Array) -> jax.Array:
    """All values times `factor`, each colour clipped by itself."""
    return jnp.clip(values * _per_picture(factor), 0, 1)


def raise_to(values: jax.Array, exponent: jax.Array) -> jax.Array:
    """Values to the power of `exponent`."""
    # A quarter of the power function's time on CPU; the logarithm of black is minus infinity.
    return jnp.exp(_per_picture(exponent) * jnp.log(values))


def shadow(values: jax.Array, ends: jax.Array, side: jax.Array, lightness: jax.Array) -> jax.Array:
    """Scales the lightness L of HLS on one side of a line across the picture.

    Args:
      values: Pictures.
      ends: Where the line leaves the top and the bottom edge, as shares of the width, [b, 2].
      side: Whether the shadow lies to the left of the line, bool [b].
      lightness: Factor on L, 0 to 1.
    """
    height, width = values.shape[1:3]
    down = (jnp.arange(height, dtype=jnp.float32) + 0.5) / height
    right = (jnp.arange(width, dtype=jnp.float32) + 0.5) / width
    line = ends[:, :1] + (ends[:, 1:] - ends[:, :1]) * down[None]
    left_of_it = right[None, None] < line[:, :, None]
    shaded = left_of_it == side[:, None, None]
    planes = _planes(values)
    highest, lowest = _extremes(planes)
    before = (highest + lowest) / 2
    after = before * jnp.where(shaded, _per_plane(lightness), jnp.float32(1))
    # How far colours may lie apart at a lightness, of which saturation is the share that they do.
    apart_before, apart_after = (1 - jnp.abs(2 * level - 1) for level in (before, after))
    stretch = jnp.where(apart_before > 0, apart_after / apart_before, jnp.float32(1))
    return _joined(after + (plane - before) * stretch for plane in planes)


def contrast(values: jax.Array, factor: jax.Array) -> jax.Array:
    """Stretches values about the mean of all of the picture's, then clips them."""
    mean = values.mean(axis=(1, 2, 3), keepdims=True)
    return jnp.clip(mean + (values - mean) * _per_picture(factor), 0, 1)


def saturate(values: jax.Array, factor: jax.Array) -> jax.Array:
    """S of HSV times `factor`, at most 1."""
    planes = _planes(values)
    highest, lowest = _extremes(planes)
    # Where colours are alike there is nothing to stretch.
    largest = highest / jnp.maximum(highest - lowest, jnp.finfo(jnp.float32).tiny)
    stretch = jnp.minimum(_per_plane(factor), largest)
    return _joined(highest - (highest - plane) * stretch for plane in planes)


def turn_hue(values: jax.Array, turn: jax.Array) -> jax.Array:
    """Moves H of HSV along the circle by this share of it."""
    red, green, blue = planes = _planes(values)
    highest, lowest = _extremes(planes)
    apart = highest - lowest
    divisor = jnp.where(apart > 0, apart, jnp.float32(1))
    sixths = jnp.where(
        highest == red,
        (green - blue) / divisor,
        jnp.where(highest == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    turned = sixths + 6 * _per_plane(turn)

    def plane(start: int) -> jax.Array:
        place = (turned + start) / 6
        place = 6 * (place - jnp.floor(place))
        return highest - apart * jnp.clip(jnp.minimum(place, 4 - place), 0, 1)

    # Where each colour is highest, it stays so for a third of the circle.
    return _joined(plane(start) for start in (5, 3, 1))


def mix_colours(values: jax.Array, matrix: jax.Array, offset: jax.Array) -> jax.Array:
    """New colours of the old ones, about mid-grey, clipped.

    Args:
      values: Pictures.
      matrix: What each of the old colours gives to the new ones, [b, 3, 3].
      offset: Added to each new colour, [b, 3].
    """
    centred = values - 0.5
    # As sums, which fuse with what is around them; a product of matrices so small does not.
    mixed = sum(centred[..., colour, None] * matrix[:, None, None, colour] for colour in range(3))
    return jnp.clip(mixed + 0.5 + offset[:, None, None], 0, 1)


def blur(values: jax.Array, sigma: jax.Array, *, radius: int) -> jax.Array:
    """Blurs with a Gaussian of `sigma` pixels, cut off at `radius`; border pixels are repeated."""
    places = jnp.arange(-radius, radius + 1, dtype=jnp.float32)
    # The least sigma leaves a picture as it is.
    weights = jnp.exp(-0.5 * jnp.square(places[None] / jnp.maximum(sigma, 1e-2)[:, None]))
    weights = weights / weights.sum(axis=1, keepdims=True)
    for axis in (1, 2):
        edges = [(0, 0)] * 4
        edges[axis] = (radius, radius)
        # The barrier keeps XLA from padding anew for every tap, which takes seven times as long.
        padded = jax.lax.optimization_barrier(jnp.pad(values, edges, mode="edge"))
        size = values.shape[axis]
        values = functools.reduce(
            jnp.add,
            (
                _per_picture(weights[:, tap])
                * jax.lax.slice_in_dim(padded, tap, tap + size, axis=axis)
                for tap in range(2 * radius + 1)
            ),
        )
    return values


def add_noise(values: jax.Array, std: jax.Array, keys: jax.Array) -> jax.Array:
    """Adds normal numbers, one for every colour of every pixel, then clips.

    Every number is one of 1,024 quantiles of the normal distribution (up to 3.3 standard
    deviations), scaled to a standard deviation of exactly 1: far finer than grey levels are, at a
    third of the random words.

    Args:
      values: Pictures.
      std: Standard deviation in 0 to 1.
      keys: Data of a random key for every picture, uint32 [b, 2].
    """
    height, width = values.shape[1:3]

    def words(key: jax.Array) -> jax.Array:
        return jax.random.bits(jax.random.wrap_key_data(key), (height, width), jnp.uint32)

    shifts = jnp.asarray([0, _NOISE_BITS, 2 * _NOISE_BITS], jnp.uint32)
    numbers = (jax.vmap(words)(keys)[..., None] >> shifts[None, None, None]) & jnp.uint32(
        2**_NOISE_BITS - 1
    )
    noise = jnp.asarray(_normal_quantiles())[numbers]
    return jnp.clip(values + _per_picture(std) * noise, 0, 1)


@functools.cache
def _normal_quantiles() -> np.ndarray:
    count = 2**_NOISE_BITS
    normal = statistics.NormalDist()
    quantiles = np.asarray([normal.inv_cdf((place + 0.5) / count) for place in range(count)])
    return (quantiles / math.sqrt(np.mean(np.square(quantiles)))).astype(np.float32)


def _planes(values: jax.Array) -> list[jax.Array]:
    return [values[..., colour] for colour in range(3)]


def _joined(planes: Iterable[jax.Array]) -> jax.Array:
    return jnp.stack(list(planes), axis=-1)


def _extremes(planes: Sequence[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """The highest and the lowest colour of every pixel, [b, H, W]."""
    red, green, blue = planes
    return (
        jnp.maximum(jnp.maximum(red, green), blue),
        jnp.minimum(jnp.minimum(red, green), blue),
    )


def _per_picture(values: jax.Array) -> jax.Array:
    return values[:, None, None, None]


def _per_plane(values: jax.Array) -> jax.Array:
    return values[:, None, None]
