r"""Xception with two full heads, steering and the pedals as one (0003, v3).

Command:
  python launch.py train --config=configs/xception_two_heads.py --workdir=runs/xception_two_heads
  python launch.py train --config=configs/xception_two_heads.py:udacity --config.data.path=DIR ...

The label "pedals" is throttle minus brake, from -1 (full braking) to 1 (full throttle); at the
wheel it is taken apart again. Every head draws its own bins alike and learns from every frame.

Expected: as configs/xception.py, a third faster.
"""

from ml_collections import ConfigDict

from configs import default, xception


def get_config(recordings: str = "car_racing") -> ConfigDict:
    """The configuration of configs/xception.py with two heads."""
    config = xception.get_config(recordings)
    config.balance = "v3"
    del config.heads.throttle
    del config.heads.brake
    config.heads.pedals = default.pedals_head()
    return config
