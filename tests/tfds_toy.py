"""A small dataset as TFDS keeps it, for tests: nested features, an array of actions, episodes."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from etils import epath
from PIL import Image
from tensorflow_datasets.core import example_serializer

NAME = "toy_drives"
EPISODE = 10


def examples(count: int) -> list[dict[str, Any]]:
    """Noise with labels that differ from example to example, in episodes of `EPISODE`."""
    generator = np.random.default_rng(count)
    return [
        {
            "observation": {"image": generator.integers(0, 255, (16, 32, 3), np.uint8)},
            "action": np.array([index / count - 0.5, index / count], np.float32),
            "episode": f"drive {index // EPISODE}",
            "seconds": index % EPISODE * 0.1,
        }
        for index in range(count)
    ]


def _with_png(example: dict[str, Any]) -> dict[str, Any]:
    """The example with its picture as a file, since TFDS encodes arrays by TensorFlow alone."""
    file = io.BytesIO()
    Image.fromarray(example["observation"]["image"]).save(file, format="png")
    file.seek(0)
    return {**example, "observation": {"image": file}}


def write(data_dir: Path, counts: dict[str, int]) -> Path:
    """Writes so many examples of each split; returns `data_dir`."""
    features = tfds.features.FeaturesDict(
        {
            "observation": {"image": tfds.features.Image(shape=(None, None, 3))},
            "action": tfds.features.Tensor(shape=(2,), dtype=np.float32),
            "episode": tfds.features.Text(),
            "seconds": tfds.features.Scalar(np.float64),
        }
    )
    folder = data_dir / NAME / "1.0.0"
    folder.mkdir(parents=True)
    template = tfds.core.ShardedFileTemplate(
        data_dir=epath.Path(folder), dataset_name=NAME, filetype_suffix="array_record"
    )
    infos = []
    for split, count in counts.items():
        file = folder / f"{NAME}-{split}.array_record-00000-of-00001"
        writer = ArrayRecordWriter(str(file), "group_size:1")
        serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
        for example in examples(count):
            encoded = features.encode_example(_with_png(example))
            writer.write(serializer.serialize_example(encoded))
        writer.close()
        infos.append(
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[count],
                num_bytes=file.stat().st_size,
                filename_template=template.replace(split=split),
            )
        )
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=features,
        split_infos=infos,
        filename_template=template,
        check_data=False,
    )
    return data_dir
