"""What is done to pictures, once more: pixel by pixel, in double precision, by the textbook.

Colours go through Python's colorsys there and back. Pictures are float64 [H, W, 3] in 0 to 1.
"""

import colorsys
import math

import numpy as np


def _each_pixel(image, change) -> np.ndarray:
    return np.array([[change(*pixel) for pixel in row] for row in image])


def value(image, factor) -> np.ndarray:
    def change(*rgb):
        h, s, v = colorsys.rgb_to_hsv(*rgb)
        return colorsys.hsv_to_rgb(h, s, min(v * factor, 1.0))

    return _each_pixel(image, change)


def saturation(image, factor) -> np.ndarray:
    def change(*rgb):
        h, s, v = colorsys.rgb_to_hsv(*rgb)
        return colorsys.hsv_to_rgb(h, min(s * factor, 1.0), v)

    return _each_pixel(image, change)


def hue(image, turn) -> np.ndarray:
    def change(*rgb):
        h, s, v = colorsys.rgb_to_hsv(*rgb)
        return colorsys.hsv_to_rgb((h + turn) % 1.0, s, v)

    return _each_pixel(image, change)


def shadow(image, ends, left, factor) -> np.ndarray:
    height, width, _ = image.shape
    out = image.copy()
    for y in range(height):
        line = ends[0] + (ends[1] - ends[0]) * (y + 0.5) / height
        for x in range(width):
            if ((x + 0.5) / width < line) == left:
                h, lightness, s = colorsys.rgb_to_hls(*image[y, x])
                out[y, x] = colorsys.hls_to_rgb(h, lightness * factor, s)
    return out


def brightness(image, factor) -> np.ndarray:
    return np.clip(image * factor, 0, 1)


def contrast(image, factor) -> np.ndarray:
    mean = sum(image.ravel()) / image.size
    return np.clip(mean + factor * (image - mean), 0, 1)


def power(image, exponent) -> np.ndarray:
    return np.array([v**exponent for v in image.ravel()]).reshape(image.shape)


def mix(image, matrix, offset) -> np.ndarray:
    return np.clip((image - 0.5) @ np.asarray(matrix, float) + 0.5 + offset, 0, 1)


def shift(image, right, down) -> np.ndarray:
    height, width, _ = image.shape
    moved = np.empty_like(image)
    for y in range(height):
        for x in range(width):
            moved[y, x] = image[
                min(max(y - down, 0), height - 1), min(max(x - right, 0), width - 1)
            ]
    return moved


def crop(image, above, below) -> np.ndarray:
    kept = image[above : len(image) - below]
    out = np.empty_like(image)
    for y in range(len(image)):
        place = (y + 0.5) * len(kept) / len(image) - 0.5
        place = min(max(place, 0), len(kept) - 1)
        first = math.floor(place)
        second = min(first + 1, len(kept) - 1)
        out[y] = kept[first] + (place - first) * (kept[second] - kept[first])
    return out


def blur(image, sigma, radius) -> np.ndarray:
    height, width, _ = image.shape
    if not sigma:
        return image
    near = range(-radius, radius + 1)
    kernel = {(i, j): math.exp(-(i * i + j * j) / (2 * sigma**2)) for i in near for j in near}
    out = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            for (i, j), weight in kernel.items():
                row, column = min(max(y + i, 0), height - 1), min(max(x + j, 0), width - 1)
                out[y, x] += weight * image[row, column]
    return out / sum(kernel.values())


def view(image, number) -> np.ndarray:
    """The published list, in its order: seven as they are, then the seven mirrored."""
    image = image[:, ::-1] if number >= 7 else image
    kind = number % 7
    if kind in (1, 2):
        return value(image, (0.25, 1.25)[kind - 1])
    gamma = {0: 1.0, 3: 0.5, 4: 1.5, 5: 2.0, 6: 2.5}[kind]
    return power(image, 1 / gamma)
