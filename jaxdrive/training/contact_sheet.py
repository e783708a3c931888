"""Draws pictures side by side, with the values of every head beneath and on them.

A head whose range has two sides (steering, before any other) is also a needle on the picture:
upright is 0, leaning fully is the end of the head's range. Which pictures and which values is left
to the callers.
"""

import functools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxdrive.heads import Head

# What values are, from the thick line to the thin one: two hues that colour-blind readers tell
# apart, from Okabe and Ito's palette (https://jfly.uni-koeln.de/color/).
COLOURS = ("#0072B2", "#D55E00")
_INK, _SOFT, _TRACK = "#1d2125", "#5a626b", "#E4E6E8"
_MIN_WIDTH, _MIN_HEIGHT = 192, 100
# Of a sheet, at which it is still read on a screen without scrolling sideways.
_MAX_WIDTH = 1700
_GAP = 14
_MARGIN = 12
_LINE = 15
_BAR = 5
# Between straight up and a needle at the end of its range.
_FULL_LEAN = math.radians(60)
_WIDTHS = (7, 3)

Values = Mapping[str, Mapping[str, np.ndarray]]


def contact_sheet(
    images: np.ndarray,
    captions: Sequence[Sequence[str]],
    values: Values,
    heads: Mapping[str, Head],
    *,
    title: Sequence[str],
    columns: int,
) -> np.ndarray:
    """Draws pictures under their captions, with values as needles, bars and numbers.

    Args:
      images: uint8 [n, H, W, 3]; small ones are enlarged by whole numbers, so that pixels show.
      captions: Of every picture, lines of text.
      values: By what they are ("label", "prediction"; two at most) and by head name, [n] in the
        label's unit.
      heads: By name; those that have values are drawn.
      title: Lines of text on top; a legend follows them.
      columns: Pictures in a row, fewer where they are wide.

    Returns:
      uint8 [rows, columns, 3].
    """
    zoom = max(-(-_MIN_WIDTH // images.shape[2]), -(-_MIN_HEIGHT // images.shape[1]))
    height, width = images.shape[1] * zoom, images.shape[2] * zoom
    shown = {name: head for name, head in heads.items() if any(name in v for v in values.values())}
    wrapped = [[part for line in lines for part in _wrap(line, width)] for lines in captions]
    caption_height = _LINE * max(map(len, wrapped)) + 3
    gauge_height = _LINE + len(values) * _BAR + 5
    tile = (width, caption_height + height + len(shown) * gauge_height)

    columns = max(1, min(columns, len(images), _MAX_WIDTH // (width + _GAP)))
    sheet_width = max(2 * _MARGIN + columns * (tile[0] + _GAP) - _GAP, 3 * _MIN_WIDTH)
    top_lines = _top_lines(title, values, shown, sheet_width - 2 * _MARGIN)
    top = _MARGIN + (_LINE + 3) * len(top_lines) + 6
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (sheet_width, top + rows * (tile[1] + _GAP)), "white")
    draw = ImageDraw.Draw(sheet)
    for number, spans in enumerate(top_lines):
        _write_spans(draw, (_MARGIN, _MARGIN + number * (_LINE + 3)), spans)
    for index, image in enumerate(images):
        left = _MARGIN + index % columns * (tile[0] + _GAP)
        upper = top + index // columns * (tile[1] + _GAP)
        for number, line in enumerate(wrapped[index]):
            draw.text((left, upper + number * _LINE), line, fill=_INK, font=_font())
        own = {kind: {name: float(of[name][index]) for name in of} for kind, of in values.items()}
        sheet.paste(_picture(image, zoom, own, shown), (left, upper + caption_height))
        for number, (name, head) in enumerate(shown.items()):
            place = (left, upper + caption_height + height + number * gauge_height)
            _gauge(draw, place, width, head, {kind: of.get(name) for kind, of in own.items()})
    return np.asarray(sheet)


@functools.cache
def _font() -> Any:
    return ImageFont.load_default(12)


def _wrap(text: str, width: int) -> list[str]:
    """Divides a line between words so that its parts are `width` pixels wide at most.

    A number stays with the word before it.
    """
    lines = [""]
    for word in re.split(r" (?![-+]?\d)", text):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _font().getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return [_fitted(line, width) for line in lines]


def _fitted(text: str, width: int) -> str:
    """The text, or what of its beginning fits."""
    if _font().getlength(text) <= width:
        return text
    while text and _font().getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."


def _top_lines(
    title: Sequence[str], values: Values, heads: Mapping[str, Head], width: int
) -> list[list[tuple[str, str]]]:
    """Title and legend: lines of (text, colour)."""
    lines = [[(part, _INK)] for line in title for part in _wrap(line, width)]
    legend: list[tuple[str, str]] = []
    for (kind, _), colour in zip(values.items(), COLOURS, strict=False):
        legend += [("\N{FULL BLOCK}", colour), (f"{kind}    ", colour)]
    if legend:
        lines.append(legend)
    needle = "".join(f"Needle: {name}, upright is 0." for name in _needle_head(heads))
    ends = ", ".join(f"{name} {_reach(head):.4g}" for name, head in heads.items())
    text = f"{needle} Bars begin at 0; a full one is the end of the head's range: {ends}."
    return lines + [[(part, _SOFT)] for part in _wrap(text, width) if heads]


def _needle_head(heads: Mapping[str, Head]) -> dict[str, Head]:
    """The head that is drawn as a needle, by its name: one of two sides, left and right first."""
    two_sided = [name for name, head in heads.items() if head.low < 0]
    chosen = sorted(two_sided, key=lambda name: heads[name].mirror)[:1]
    return {name: heads[name] for name in chosen}


def _write_spans(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], spans: Sequence[tuple[str, str]]
) -> None:
    """Writes pieces of a line, each in its colour; a full block becomes a swatch."""
    x, y = place
    for text, colour in spans:
        if text == "\N{FULL BLOCK}":
            draw.rectangle((x, y + 3, x + 18, y + 11), fill=colour)
            x += 24
        else:
            draw.text((x, y), text, fill=colour, font=_font())
            x += round(_font().getlength(text))


def _picture(
    image: np.ndarray,
    zoom: int,
    values: Mapping[str, Mapping[str, float]],
    heads: Mapping[str, Head],
) -> Image.Image:
    """One picture, enlarged, with a needle for the first head of two sides."""
    size = (image.shape[1] * zoom, image.shape[0] * zoom)
    large = Image.fromarray(image).resize(size, Image.Resampling.NEAREST)
    two_sided = _needle_head(heads)
    draw = ImageDraw.Draw(large)
    for name, head in two_sided.items():
        needles = [
            (_needle(size, head, values[kind][name]), colour, thick)
            for (kind, colour, thick) in zip(values, COLOURS, _WIDTHS, strict=False)
            if name in values[kind] and math.isfinite(values[kind][name])
        ]
        # A light border keeps them visible on grass, road and sky.
        for line, _, thick in needles:
            draw.line(line, fill="white", width=thick + 3)
        for line, colour, thick in needles:
            draw.line(line, fill=colour, width=thick)
    return large


def _needle(size: tuple[int, int], head: Head, value: float) -> list[tuple[float, float]]:
    width, height = size
    lean = _share(head, value) * _FULL_LEAN
    length = 0.6 * height
    foot = (width / 2, height - 1)
    return [foot, (foot[0] + length * math.sin(lean), foot[1] - length * math.cos(lean))]


def _share(head: Head, value: float) -> float:
    """A value as a share of the head's range on its side of 0, from -1 to 1."""
    return min(max(value / _reach(head), -1.0), 1.0)


def _reach(head: Head) -> float:
    """The largest value of the head's range, in the label's unit."""
    return head.scale * max(abs(head.low), abs(head.high))


def _gauge(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    width: int,
    head: Head,
    values: Mapping[str, float | None],
) -> None:
    """One head's name, its values as coloured numbers, and as bars that begin at 0."""
    left, top = place
    right = left + width
    given = [
        (value, colour)
        for value, colour in zip(values.values(), COLOURS, strict=False)
        if value is not None
    ]
    numbers = [(f"{value:+.3f}", colour) for value, colour in given]
    room = width - sum(round(_font().getlength(text)) + 8 for text, _ in numbers)
    draw.text((left, top), _fitted(head.name, room), fill=_INK, font=_font())
    x = right - (width - room)
    for text, colour in numbers:
        _write_spans(draw, (x + 8, top), [(text, colour)])
        x += round(_font().getlength(text)) + 8
    zero = left + width / 2 if head.low < 0 else left
    length = width / 2 if head.low < 0 else width
    upper = top + _LINE
    draw.rectangle((left, upper, right - 1, upper + len(given) * _BAR - 1), fill=_TRACK)
    for number, (value, colour) in enumerate(given):
        if math.isfinite(value):
            ends = sorted((zero, zero + _share(head, value) * length))
            y = upper + number * _BAR
            draw.rectangle((ends[0], y, min(ends[1], right - 1), y + _BAR - 1), fill=colour)
    draw.line((zero, upper - 1, zero, upper + len(given) * _BAR), fill=_INK)
