"""Pictures of what the network is given: a sheet of inputs with their labels drawn on."""

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw

_COLUMNS = 4
_MIN_WIDTH = 192
_CAPTION = 14
_GAP = 6


def contact_sheet(
    images: np.ndarray, labels: Mapping[str, np.ndarray], records: np.ndarray
) -> np.ndarray:
    """Draws pictures side by side, each under its record id and labels.

    Args:
      images: uint8 [n, H, W, 3].
      labels: By name, [n].
      records: int [n].

    Returns:
      uint8 [rows, columns, 3].
    """
    zoom = max(1, -(-_MIN_WIDTH // images.shape[2]))
    height, width = images.shape[1] * zoom, images.shape[2] * zoom
    lines = 1 + len(labels)
    cell_height, cell_width = height + lines * _CAPTION + _GAP, width + _GAP
    size = (_COLUMNS * cell_width, -(-len(images) // _COLUMNS) * cell_height)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for index, image in enumerate(images):
        left, top = index % _COLUMNS * cell_width, index // _COLUMNS * cell_height
        large = Image.fromarray(image).resize((width, height), Image.Resampling.NEAREST)
        sheet.paste(large, (left, top + lines * _CAPTION))
        texts = [f"record {records[index]}"]
        texts += [f"{name} {values[index]:+.3f}" for name, values in labels.items()]
        for line, text in enumerate(texts):
            draw.text((left + 3, top + line * _CAPTION), text, fill="black")
    return np.asarray(sheet)
