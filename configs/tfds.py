r"""A dataset of TensorFlow Datasets: PilotNet learns the labels that its features are.

Command:
  python launch.py train --config=configs/tfds.py:NAME/CONFIG --config.data.path=DIR \
    --config.data.tfds.image=observation/image --config.data.tfds.labels.steering=action/0 \
    --workdir=runs/tfds

DIR is where TFDS keeps its datasets; without it, where it does by itself. The dataset has to be
prepared, as ArrayRecord: `tfds build --file_format=array_record`. It learns to steer; other labels
are heads to be named in `config.heads`, as in configs/default.py.
"""

from ml_collections import ConfigDict

from configs import default, donkey


def get_config(name: str = "NAME/CONFIG") -> ConfigDict:
    """configs/donkey.py with the pictures of a TFDS dataset, and steering alone."""
    config = donkey.get_config()
    config.heads = ConfigDict({"steering": default.get_config().heads.steering.to_dict()})
    config.heads.steering.corrections = ConfigDict()

    config.data.source = f"tfds:{name}"
    # Whatever proportions its pictures have, they keep them; blocks of time are for datasets that
    # bring no validation and test of their own.
    config.data.resize = "pad"
    config.data.crop_top = 0
    config.data.width = 200

    config.augment.shift.sideways = 0
    config.augment.shift.along = 0
    return config
