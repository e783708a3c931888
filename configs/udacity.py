r"""A recording of the Udacity simulator: PilotNet learns to steer from three cameras.

Command:
  python launch.py train --config=configs/udacity.py --config.data.path=DIR --workdir=runs/udacity
  python launch.py train --config=configs/udacity.py:pilotnet_same --config.data.path=DIR ...

DIR holds driving_log.csv and IMG, or folders with them.

Expected, of 143 s on the lake track (2,000 rows) driven with a keyboard, on 2 CPU cores: 30
seconds. On test blocks of five folds, three seeds, the means over a second have 0.60 to 0.93 of the
error of driving straight on, 0.69 in the mean.

Variant, FILE:VARIANT:
  pedals           steering, throttle and brake, each with all its bins drawn equally. On test
                   blocks a balanced steering skill of 0.72 to 0.76; a natural one below 0, since
                   the driver steered in presses. Throttle and brake, pressed too, are no better
                   than a constant. 40 seconds.

Variants for images of 160 x 320 that are cut and not resized; half of the features are dropped in
training (measured as `pedals`, 240 updates; memory with one head):
  pilotnet_same    65 x 320, PilotNet padded and normalised
  first_net        90 x 320, three convolutions with max pooling
  small_inception  90 x 320, two Inception modules, normalised; batches of 8

                   images/s of one core   240 updates on it   memory of an update   balanced skill
  pilotnet                          587             0.7 min                0.04 GB    0.72 to 0.76
  pilotnet_same                     154             2.5 min                0.13 GB            0.76
  first_net                         102             3.8 min                0.31 GB            0.72
  small_inception                    10             9.6 min                1.02 GB     not trained

If memory runs out, lower --config.batch_size.
"""

from ml_collections import ConfigDict

from configs import default

# Passes over the training frames, however much was recorded.
EPOCHS = 3


def get_config(network: str = "pilotnet") -> ConfigDict:
    """The simulator's images, in blocks of time, and one of four networks, or `pedals`."""
    if network not in _NETWORKS:
        raise ValueError(f"there is no variant {network!r}, only {', '.join(_NETWORKS)}")
    config = default.get_config()
    config.num_steps = f"{EPOCHS} epochs"
    config.batch_size = 32
    config.log_every = 20
    config.eval_every = config.checkpoint_every = "0.5 epochs"
    # The recorded speed would tell the network how the same driver pressed the pedals just before.
    config.scalars = ConfigDict()
    # The simulator is another program: `drive --simulator=udacity`.
    config.drive.tracks = 0

    config.data.source = "udacity"
    # People record in few long sessions. Blocks shorter than a turn let every split see turns to
    # both sides, even in a recording of two minutes; both sides of a border keep the gap.
    config.data.split.block_seconds = 3.0
    config.data.split.gap_seconds = 0.5
    config.data.split.validation = 0.2
    config.data.split.test = 0.2

    config.augment.flip.probability = 0.5
    config.augment.shift.along = 3
    config.augment.brightness.spread = 0.3
    _NETWORKS[network](config)
    if network == "pedals":
        # Three heads, each with all its bins drawn equally.
        config.best_by = "balanced"
    else:
        _steer_alone(config)
    return config


def _steer_alone(config: ConfigDict) -> None:
    """One head that follows the driver's heading."""
    # Pedals that are pressed in jerks teach nothing, and the controller keeps the speed.
    del config.heads.throttle
    del config.heads.brake
    # A keyboard is pressed for a few frames: what matters is whether the means over a second follow
    # the driver. Equal bins would ask for presses that the image does not tell; bends drawn
    # somewhat more often than recorded, smoothed labels and a smaller correction of the side
    # cameras follow best (docs/decisions.md).
    config.best_by = "steering:windowed"
    config.balance_power = 0.3
    config.balance_limit = 10.0
    config.heads.steering.smooth_seconds = 0.3
    config.heads.steering.corrections = ConfigDict({"left": 0.12, "right": -0.12})


def _pilotnet(config: ConfigDict) -> None:
    # Sky above, bonnet below; the rows that are left are as many as PilotNet takes.
    config.data.crop_top = 70
    config.data.crop_bottom = 24
    config.data.height = 66
    config.data.width = 200
    config.augment.shift.sideways = 10
    config.augment.shift.label_per_pixel.steering = 0.004

    config.model.backbone = "pilotnet"
    config.model.common = (100,)
    config.model.head = (50, 10)


def _pilotnet_same(config: ConfigDict) -> None:
    _as_recorded(config, crop_top=70, crop_bottom=25)
    config.model.backbone = "pilotnet_same"
    config.model.batch_norm.use = True
    config.model.common = (100,)
    config.model.head = (50, 10)


def _first_net(config: ConfigDict) -> None:
    _as_recorded(config, crop_top=50, crop_bottom=20)
    config.model.backbone = "first_net"
    config.model.common = (128,)
    config.model.head = ()


def _small_inception(config: ConfigDict) -> None:
    _as_recorded(config, crop_top=50, crop_bottom=20)
    # Maps keep nearly their size up to the end: 32 would take 7 GB.
    config.batch_size = 8
    config.model.backbone = "small_inception"
    config.model.batch_norm.use = True
    config.model.common = ()
    config.model.head = ()


def _as_recorded(config: ConfigDict, *, crop_top: int, crop_bottom: int) -> None:
    """Pictures of 160 x 320 that are cut and not resized, and half of their features dropped."""
    config.data.crop_top = crop_top
    config.data.crop_bottom = crop_bottom
    config.data.height = 160 - crop_top - crop_bottom
    config.data.width = 320
    # As far as in smaller pictures.
    config.augment.shift.sideways = 16
    config.augment.shift.label_per_pixel.steering = 0.0025
    config.model.dropout = 0.5


_NETWORKS = {
    "pilotnet": _pilotnet,
    "pedals": _pilotnet,
    "pilotnet_same": _pilotnet_same,
    "first_net": _first_net,
    "small_inception": _small_inception,
}
