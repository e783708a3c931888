r"""Xception with the published three full heads, each on its own balanced batches (0002, v2).

Command:
  python launch.py train --config=configs/xception.py --workdir=runs/xception
  python launch.py train --config=configs/xception.py:udacity --config.data.path=DIR --workdir=...

Expected, on 2 CPU cores: a quarter of a minute to compile, then 41 images a second, so 200 steps
take 2 minutes, and driving 20 tracks another 5 to 9. They
show that everything runs, and train nothing that drives (a mean score of -5): that takes a GPU or
TPU, with more steps, a larger batch and --config.model.compute_dtype=bfloat16.

The published network started without warm-up, at a constant rate and from
--config.model.dense_init=glorot_uniform, and lost its steering head in seven runs.
"""

from ml_collections import ConfigDict

from configs import default, udacity


def get_config(recordings: str = "car_racing") -> ConfigDict:
    """Whole CarRacing frames of 96 x 96, or 80 x 320 pixels of "udacity"; no scalar inputs."""
    if recordings not in _BASES:
        raise ValueError(f"there is no variant {recordings!r}, only {' and '.join(_BASES)}")
    config = _BASES[recordings]()
    config.num_steps = 200
    config.batch_size = 8
    # On a CPU too: compiled in half the time of three separate passes, and faster.
    config.passes = "one"
    config.log_every = 10
    config.eval_every = 100
    config.checkpoint_every = 50

    config.model.backbone = "xception"
    config.model.batch_norm.use = True
    config.model.common = (1024,)
    config.model.head = (256, 64, 16)
    return config


def _car_racing() -> ConfigDict:
    config = default.get_config()
    # The expert never steers further than 0.4 or brakes harder than 0.8: without the scale most
    # bins would stay empty.
    config.heads.steering.scale = 0.4
    config.heads.brake.scale = 0.8
    # The whole frame at its own size: the dashboard shows the speed.
    config.scalars = ConfigDict()
    return config


def _udacity() -> ConfigDict:
    config = udacity.get_config("pedals")
    # Less is cut off than for PilotNet: this network needs 71 rows.
    config.data.crop_top = 60
    config.data.crop_bottom = 20
    config.data.height = 80
    config.data.width = 320
    # As far as there, in wider pictures.
    config.augment.shift.sideways = 16
    config.augment.shift.label_per_pixel.steering = 0.0025
    return config


_BASES = {"car_racing": _car_racing, "udacity": _udacity}
