r"""Xception with three full heads that learn together from every frame (0001 v6, v1).

Command:
  python launch.py train --config=configs/xception_joint.py --workdir=runs/xception_joint
  python launch.py train --config=configs/xception_joint.py:udacity --config.data.path=DIR ...

Every combination of coarse bins of steering, throttle and brake is drawn alike; the published set
of 225 samples is one step with --config.batch_size=75 for each of the three heads.

Expected: as configs/xception.py.
"""

from ml_collections import ConfigDict

from configs import xception


def get_config(recordings: str = "car_racing") -> ConfigDict:
    """The configuration of configs/xception.py with joint balancing."""
    config = xception.get_config(recordings)
    config.balance = "v1"
    return config
