"""Films a drive: pictures with the controls drawn on, as an MP4 file that browsers play."""

import io
from collections.abc import Mapping

import av
import numpy as np
from etils import epath
from PIL import Image, ImageDraw, ImageFont

_BAR_WIDTH, _BAR_HEIGHT = 110, 12
_GREY, _COLOURS = (90, 90, 90), {"throttle": (0, 158, 115), "brake": (213, 94, 0)}
_STEERING_COLOUR = (0, 114, 178)


class VideoWriter:
    """Collects frames; the file appears when it is closed."""

    def __init__(self, path: epath.Path, frames_per_second: int) -> None:
        self._path = path
        self._buffer = io.BytesIO()
        self._container = av.open(self._buffer, mode="w", format="mp4")
        self._rate = frames_per_second
        self._stream: av.VideoStream | None = None

    def add(self, picture: np.ndarray) -> None:
        """Appends one frame: uint8 [H, W, 3], H and W even and always the same."""
        if self._stream is None:
            self._stream = self._container.add_stream("libx264", rate=self._rate)
            self._stream.height, self._stream.width = picture.shape[:2]
            self._stream.pix_fmt = "yuv420p"
            self._stream.options = {"crf": "26", "preset": "veryfast"}
        for packet in self._stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
            self._container.mux(packet)

    def close(self) -> None:
        """Writes the file."""
        if self._stream is not None:
            for packet in self._stream.encode():
                self._container.mux(packet)
        self._container.close()
        self._path.write_bytes(self._buffer.getvalue())


def draw_controls(
    picture: np.ndarray, controls: Mapping[str, float], *, speed: float
) -> np.ndarray:
    """Draws bars for steering, throttle and brake, and the speed in m/s, into a corner.

    Args:
      picture: uint8 [H, W, 3].
      controls: steering [-1, 1], throttle and brake [0, 1].
      speed: m/s.

    Returns:
      uint8 [H, W, 3].
    """
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image, "RGBA")
    font = ImageFont.load_default(14)
    draw.rectangle((8, 8, 214, 100), fill=(255, 255, 255, 200))
    rows = [("steering", controls["steering"]), *((n, controls[n]) for n in _COLOURS)]
    for row, (name, value) in enumerate(rows):
        top = 14 + row * 21
        draw.text((14, top - 3), name, fill="black", font=font)
        left = 94
        draw.rectangle((left, top, left + _BAR_WIDTH, top + _BAR_HEIGHT), outline=_GREY)
        if name == "steering":
            middle = left + _BAR_WIDTH / 2
            # Half a bar is the half lock that the simulator's tyres can use.
            tip = middle + float(np.clip(value * 2, -1, 1)) * _BAR_WIDTH / 2
            start, end, colour = min(middle, tip), max(middle, tip), _STEERING_COLOUR
        else:
            start, end, colour = left, left + value * _BAR_WIDTH, _COLOURS[name]
        draw.rectangle((start, top + 1, end, top + _BAR_HEIGHT - 1), fill=colour)
    draw.text((14, 77), f"speed     {speed:5.1f} m/s", fill="black", font=font)
    return np.asarray(image)
