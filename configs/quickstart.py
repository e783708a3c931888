r"""CarRacing from nothing: an expert records, a small network learns, and drives unseen tracks.

Command:
  python launch.py train --config=configs/quickstart.py --workdir=runs/quickstart

Expected, on 2 CPU cores: 2 minutes, a mean score of 921 to 924 over 20 unseen tracks with 19
or 20 laps finished, held-out skill of about 0.9 for steering and 0.6 for throttle.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The default configuration with CarRacing's frames and ranges."""
    config = default.get_config()
    config.num_steps = 3000
    # Two megabytes each, to see how a run grows up: launch.py drive --steps=500,1000,3000.
    config.keep_every = 500

    # The expert never steers further than 0.4 or brakes harder than 0.8: without the scale most
    # bins would stay empty.
    config.heads.steering.scale = 0.4
    config.heads.brake.scale = 0.8

    # The dashboard (12 rows) is cut off and the rest halved: the speed it shows is an input.
    config.data.crop_bottom = 12
    config.data.height = 42
    config.data.width = 48
    return config
