"""Datasets of TensorFlow Datasets that are prepared, `config.data.source = "tfds:NAME/CONFIG"`.

`config.data.path` is where TFDS keeps its datasets ("" = where it does by itself), and
`config.data.tfds` says which of their features are what. They are read by `tfds.data_source`, which
needs their files to be ArrayRecord, not TFRecord, and no TensorFlow.
"""

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxdrive.data import bad_rows
from jaxdrive.data.frames import DRIVING_CAMERA, BadRow, Frame, Session
from jaxdrive.data.sources import folders
from jaxdrive.data.split import SPLITS, split_settings
from jaxdrive.errors import UserError

# Raise when the reader changes what it yields: older datasets are then not taken for new ones.
READER_VERSION = 1
PREFIX = "tfds:"

_PIECE_RECORDS = 750


def labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the labels of every frame: those to which `config.data.tfds.labels` gives a feature.

    Raises:
      UserError: There is none.
    """
    named = tuple(name for name, feature in config["tfds"]["labels"].items() if feature)
    if not named:
        raise UserError(
            "config.data.tfds.labels names no feature: give a label one with, say,"
            " --config.data.tfds.labels.steering=FEATURE"
        )
    return named


def find(config: Mapping[str, Any]) -> Any:
    """The builder of the dataset.

    Raises:
      UserError: There is no such dataset, or it is not prepared.
    """
    import tensorflow_datasets as tfds

    name = config["source"].removeprefix(PREFIX)
    where = config["path"] or tfds.core.constants.DATA_DIR
    try:
        builder = tfds.builder(name, data_dir=config["path"] or None, try_gcs=False)
    except (tfds.core.DatasetNotFoundError, ValueError, AssertionError) as error:
        raise UserError(
            f"config.data.source={config['source']!r}: there is no prepared dataset of that name in"
            f" {where} ({' '.join(str(error).split())[:160]}). Prepare it with `tfds build"
            " --file_format=array_record`, or name its folder with --config.data.path=DIR"
        ) from error
    if not builder.info.splits:
        raise UserError(
            f"config.data.source={config['source']!r}: the dataset in {where} is not prepared."
            " Prepare it with `tfds build --file_format=array_record`, or name the folder where it"
            " is with --config.data.path=DIR"
        )
    return builder


def settings(config: Mapping[str, Any], found: Any) -> dict[str, Any]:
    """What of `config.data` decides the frames: part of the dataset's fingerprint."""
    info = found.info
    return {
        "reader_version": READER_VERSION,
        "dataset": info.full_name,
        "splits": {
            name: [split.num_examples, split.num_bytes] for name, split in info.splits.items()
        },
        "features": _features(config),
        "frames_per_second": config["frames_per_second"],
        "split": split_settings(config),
        "on_bad": config["on_bad"],
    }


def sessions(config: Mapping[str, Any], found: Any) -> list[Session]:
    """The sessions of every split, or one a split where no feature tells them.

    Splits named train, validation and test are for that, where a dataset has one of the latter two.

    Raises:
      UserError: Its files are no ArrayRecord, or a feature is not in it.
    """
    info = found.info
    _check_features(config, info.features)
    decided = bool({"validation", "test"} & set(info.splits))
    return [
        Session(
            name=name,
            split=split if decided and split in SPLITS else None,
            pieces=[
                functools.partial(_read, dict(config), split, piece, first=records[0])
                for piece in _pieces(records)
            ],
            place=f"{info.full_name}, split {split}",
            images=_images(config, info, name),
        )
        for split in info.splits
        for name, records in _by_session(config, split).items()
    ]


def _images(config: Mapping[str, Any], info: Any, session: str) -> str:
    """What decides the frames of a session: their labels and times are read with the images."""
    read = {
        "reader_version": READER_VERSION,
        "dataset": info.full_name,
        "splits": {name: split.num_bytes for name, split in info.splits.items()},
        "features": _features(config),
        "frames_per_second": config["frames_per_second"],
        "session": session,
    }
    return json.dumps(read, sort_keys=True)


def remedy(split: str) -> str:
    """What to do where a dataset of this source has no frames of `split`."""
    return folders.remedy(split)


def _features(config: Mapping[str, Any]) -> dict[str, str]:
    """By what they are, the features to read: "label/..." for labels."""
    mapping = config["tfds"]
    features = {f"label/{name}": mapping["labels"][name] for name in labels(config)}
    return features | {
        name: mapping[name] for name in ("image", "session", "time", "camera") if mapping[name]
    }


def _data_source(config: Mapping[str, Any], split: str, *, only: Sequence[str]) -> Any:
    """Random access to the examples of a split; features other than `only` are not decoded."""
    import tensorflow_datasets as tfds

    builder = find(config)
    wanted = {"/".join(_words(feature)) for feature in only}
    decoders: dict[str, Any] = {}
    for name in _names(builder.info.features):
        if name not in wanted:
            *outer, last = name.split("/")
            level = functools.reduce(lambda tree, word: tree.setdefault(word, {}), outer, decoders)
            level[last] = tfds.decode.SkipDecoding()
    try:
        return builder.as_data_source(split=split, decoders=decoders)
    except NotImplementedError as error:
        raise UserError(
            f"config.data.source={config['source']!r}: its files in {builder.data_path} are"
            f" {builder.info.file_format.value}, which has no random access. Convert them with"
            " `tfds convert_format --dataset_dir=DIR --out_file_format=array_record"
            " --out_dir=OTHER`"
        ) from error


def _words(feature: str) -> list[str]:
    """The names that lead to a feature, without an index into it."""
    return [word for word in feature.split("/") if not word.isdigit()]


def _check_features(config: Mapping[str, Any], features: Any) -> None:
    known = list(_names(features))
    for use, feature in _features(config).items():
        if "/".join(_words(feature)) not in known:
            field = use.replace("label/", "labels.")
            raise UserError(
                f"config.data.tfds.{field}={feature!r}: {config['source']} has no such feature. It"
                f" has {', '.join(known)}"
            )


def _names(features: Any, prefix: str = "") -> Iterator[str]:
    for name, feature in features.items():
        if hasattr(feature, "items"):
            yield from _names(feature, f"{prefix}{name}/")
        else:
            yield prefix + name


def _by_session(config: Mapping[str, Any], split: str) -> dict[str, np.ndarray]:
    """By name, the records of every session of a split, in their order."""
    count = find(config).info.splits[split].num_examples
    feature = config["tfds"]["session"]
    if not feature:
        return {split: np.arange(count)}
    source = _data_source(config, split, only=[feature])
    names = np.asarray([_text(_value(source[index], feature)) for index in range(count)])
    return {
        f"{split}/{name}": np.flatnonzero(names == name) for name in dict.fromkeys(names.tolist())
    }


def _pieces(records: np.ndarray) -> list[np.ndarray]:
    return np.array_split(records, max(1, len(records) // _PIECE_RECORDS))


def _value(example: Any, feature: str) -> Any:
    """A feature of an example: "action/steering" is nested, "action/0" is an entry of an array."""
    value = example
    for word in feature.split("/"):
        value = value[int(word)] if word.isdigit() else value[word]
    return value


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _read(
    config: Mapping[str, Any], split: str, records: np.ndarray, *, first: int
) -> Iterator[Frame | BadRow]:
    features = _features(config)
    source = _data_source(config, split, only=list(features.values()))
    for record in records.tolist():
        camera = DRIVING_CAMERA
        origin = f"{config['source'].removeprefix(PREFIX)} {split}, record {record}"
        try:
            try:
                example = source[record]
            except Exception as error:
                # Decoders of features raise what they like.
                told = " ".join(str(error).split())[:200]
                raise bad_rows.BadRowError("record cannot be read", told) from None
            if "camera" in features:
                camera = _text(_value(example, features["camera"]))
            time = (record - first) / config["frames_per_second"]
            if "time" in features:
                time = float(_value(example, features["time"]))
            frame = Frame(
                image=_image(_value(example, features["image"])),
                labels={
                    name: float(_value(example, features[f"label/{name}"]))
                    for name in labels(config)
                },
                time=time,
                camera=camera,
                origin=f"{origin}, {camera}",
            )
        except bad_rows.BadRowError as error:
            yield BadRow(f"{origin}, {camera}", error.reason, error.detail)
        else:
            yield frame


def _image(value: Any) -> np.ndarray:
    image = np.asarray(value)
    if image.ndim != 3 or image.shape[2] not in (1, 3) or image.dtype != np.uint8:
        raise bad_rows.BadRowError(
            "no picture in colour or grey", f"{image.dtype} of shape {image.shape}"
        )
    return np.broadcast_to(image, (*image.shape[:2], 3))
