r"""Tubs of a Donkeycar: a network learns to steer as its driver did.

Command:
  python launch.py train --config=configs/donkey.py --config.data.path=DIR --workdir=runs/donkey

DIR holds manifest.json, catalogs and images, or folders with them.

Expected, of a tub of 1,000 records, on 2 CPU cores: 25 seconds. On test blocks of five folds, three
seeds, the means over a second have 0.23 to 0.50 of the error of driving straight on, 0.34 in the
mean.

Variant, FILE:VARIANT:
  pedals   throttle and brake as one head beside steering, all bins drawn equally. 40 seconds; on
           test blocks a steering skill of 0.3 to 0.6. The driver of this tub hardly moved the
           throttle: there is nothing to learn about pedals, and their skill is below 0.
"""

from ml_collections import ConfigDict

from configs import default


def get_config(variant: str = "steering") -> ConfigDict:
    """A Donkeycar's images, in blocks of time, and PilotNet, for steering, or `pedals` too."""
    if variant not in ("steering", "pedals"):
        raise ValueError(f"there is no variant {variant!r}, only steering and pedals")
    config = default.get_config()
    config.num_steps = "20 epochs"
    config.batch_size = 32
    config.log_every = 20
    config.eval_every = config.checkpoint_every = "2 epochs"
    # The car tells no speed, and has one camera.
    config.scalars = ConfigDict()
    config.heads.steering.corrections = ConfigDict()
    # One throttle, forwards and backwards, is what a Donkeycar takes.
    del config.heads.throttle
    del config.heads.brake
    if variant == "pedals":
        config.heads.pedals = default.pedals_head()
        config.best_by = "balanced"
    else:
        # Means over a second say how the heading changed (docs/decisions.md).
        config.best_by = "steering:windowed"
        config.balance = "none"
        config.heads.steering.smooth_seconds = 0.3
    # There is no simulator of this world here.
    config.drive.tracks = 0

    config.data.source = "donkey"
    # What is above the track, in pictures of 120 rows.
    config.data.crop_top = 40
    config.data.height = 66
    config.data.width = 133
    config.data.split.block_seconds = 3.0
    config.data.split.gap_seconds = 0.5
    config.data.split.validation = 0.2
    config.data.split.test = 0.2

    config.model.backbone = "pilotnet"
    config.model.common = (100,)
    config.model.head = (50, 10)

    config.augment.flip.probability = 0.5
    config.augment.shift.sideways = 8
    config.augment.shift.along = 3
    config.augment.brightness.spread = 0.3
    return config
