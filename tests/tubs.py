"""Small tubs as a Donkeycar records them, for tests; damage is up to the test."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

START_MS = 1_602_421_393_803
INTERVAL_MS = 50


def values_of(index: int) -> tuple[float, float]:
    """Angle and throttle that differ from record to record, backwards now and then."""
    return (index % 19 - 9) / 9, (index % 11 - 3) / 8


def record(
    folder: Path,
    count: int,
    *,
    sessions: Sequence[str | None] = (None,),
    per_catalog: int = 1000,
    deleted: Sequence[int] = (),
    start_ms: int = START_MS,
    interval_ms: int = INTERVAL_MS,
    size: tuple[int, int] = (16, 12),
) -> list[dict[str, Any]]:
    """Records so many frames, of the sessions in equal shares; returns the records."""
    images = folder / "images"
    images.mkdir(parents=True)
    generator = np.random.default_rng(start_ms + count)
    records = []
    for index in range(count):
        angle, throttle = values_of(index)
        name = f"{index}_cam_image_array_.jpg"
        pixels = generator.integers(0, 255, (size[1], size[0], 3), np.uint8)
        Image.fromarray(pixels).save(images / name, quality=95)
        session = sessions[index * len(sessions) // count]
        records.append(
            {
                "_index": index,
                "_timestamp_ms": start_ms + index * interval_ms,
                **({} if session is None else {"_session_id": session}),
                "cam/image_array": name,
                "user/angle": angle,
                "user/throttle": throttle,
                "user/mode": "user",
            }
        )
    write(folder, records, per_catalog=per_catalog, deleted=deleted)
    return records


def record_road(
    folder: Path, angles: Sequence[float], *, shown: Sequence[float] | None, interval_ms: int
) -> None:
    """Records a drive whose images show a bright column, the farther right the larger `shown`.

    Without `shown` all pixels of all images are equal.
    """
    images = folder / "images"
    images.mkdir(parents=True)
    records = []
    for index, angle in enumerate(angles):
        name = f"{index}_cam_image_array_.png"
        pixels = np.full((8, 24, 3), 60, np.uint8)
        if shown is not None:
            place = round(1 + 20 * (shown[index] + 1) / 2)
            pixels[:, place : place + 2] = 250
        Image.fromarray(pixels).save(images / name)
        records.append(
            {
                "_index": index,
                "_timestamp_ms": START_MS + index * interval_ms,
                "cam/image_array": name,
                "user/angle": float(angle),
                "user/throttle": 0.3,
                "user/mode": "user",
            }
        )
    write(folder, records)


def write(
    folder: Path,
    records: Sequence[dict[str, Any]],
    *,
    per_catalog: int = 1000,
    deleted: Sequence[int] = (),
) -> None:
    """Writes manifest and catalogs."""
    names = []
    for first in range(0, len(records), per_catalog):
        names.append(f"catalog_{len(names)}.catalog")
        lines = [json.dumps(record) + "\n" for record in records[first : first + per_catalog]]
        (folder / names[-1]).write_text("".join(lines))
    inputs = ["cam/image_array", "user/angle", "user/throttle", "user/mode"]
    manifest: list[Any] = [
        inputs,
        ["image_array", "float", "float", "str"],
        {},
        {"created_at": START_MS / 1000},
        {
            "paths": names,
            "current_index": len(records),
            "max_len": per_catalog,
            "deleted_indexes": list(deleted),
        },
    ]
    (folder / "manifest.json").write_text("".join(json.dumps(line) + "\n" for line in manifest))
