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

from configs import default


def get_config(name: str = "NAME/CONFIG") -> ConfigDict:
    """The default configuration with the pictures of a TFDS dataset, one head, and PilotNet."""
    config = default.get_config()
    config.num_steps = 300
    config.batch_size = 32
    config.log_every = 20
    config.eval_every = 50
    config.checkpoint_every = 50
    config.best_by = "balanced"
    config.scalars = ConfigDict()
    config.heads = ConfigDict({"steering": config.heads.steering.to_dict()})
    config.heads.steering.corrections = ConfigDict()
    # There is no simulator of this world here.
    config.drive.tracks = 0

    config.data.source = f"tfds:{name}"
    # Whatever proportions its pictures have, they keep them.
    config.data.resize = "pad"
    config.data.height = 66
    config.data.width = 200
    # For datasets that bring no validation and test of their own.
    config.data.split.block_seconds = 3.0
    config.data.split.gap_seconds = 0.5
    config.data.split.validation = 0.2
    config.data.split.test = 0.2

    config.model.backbone = "pilotnet"
    config.model.common = (100,)
    config.model.head = (50, 10)

    config.augment.flip.probability = 0.5
    config.augment.brightness.spread = 0.3
    return config
