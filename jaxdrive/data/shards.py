"""A prepared dataset on disk: shards of decoded frames, a label table and a manifest.

The shards are a standard TFDS dataset (ArrayRecord, one physical split), which
`tfds.builder_from_directory(path).as_data_source("frames")` reads; records are uncompressed and one
to a group, so that any of them is one short read. Labels for training come from the table (Parquet,
one row a record), so balancing reads no picture; the recordings' own rows, all runs together, lie
beside it for people (CSV). The manifest says what a complete dataset consists of. Making the frames
is left to `sources/`, writing them to `parts.py`, the order of work to `prepare.py`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from etils import epath

from jaxdrive.data import bad_rows
from jaxdrive.data.frames import Fit, Session
from jaxdrive.data.parts import Part, file_hash, note_file, read_part
from jaxdrive.data.split import GAP, SPLITS
from jaxdrive.errors import UserError

SCHEMA_VERSION = 3
MANIFEST = "manifest.json"
TABLE = "labels.parquet"
ROWS = "rows.csv"
# "all" is reserved: TFDS means every split by it.
PHYSICAL_SPLIT = "frames"

# Without read-ahead a random read fetches one record, not a buffer.
READER_OPTIONS = "readahead_buffer_size:0"
_NAME = "jaxdrive"


def _features(image_shape: tuple[int, ...], labels: Iterable[str]) -> Any:
    import tensorflow_datasets as tfds

    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Tensor(
                shape=image_shape, dtype=np.uint8, encoding=tfds.features.Encoding.BYTES
            ),
            "labels": {name: tfds.features.Scalar(np.float32) for name in labels},
        }
    )


def assemble(
    folder: Path,
    *,
    sessions: Sequence[Session],
    fit: Fit,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Joins the parts in `folder` to a complete dataset: names, table, TFDS metadata, manifest.

    The caller renames the folder to its final name, which is what makes the dataset exist.

    Args:
      folder: Holds the parts of all sessions.
      sessions: In order; every piece of each is written.
      fit: How the pictures were fitted.
      about: What the manifest says beside counts and hashes (source, settings, fingerprint).

    Returns:
      The manifest.

    Raises:
      UserError: There is not one usable frame, or a session without any and that is an error.
    """
    parts = {
        index: [read_part(folder, index, piece) for piece in range(len(session.pieces))]
        for index, session in enumerate(sessions)
    }
    bad = bad_rows.report(row for own in parts.values() for part in own for row in part.bad)
    tables = [part.table for own in parts.values() for part in own if part.table is not None]
    if not tables:
        raise UserError(bad_rows.nothing_left(sessions, bad))
    table = pa.concat_tables(tables)
    shards, held = _name_shards(folder, sessions, parts)
    labels = [
        name.removeprefix("label/") for name in table.column_names if name.startswith("label/")
    ]
    image_shape = (fit.height, fit.width, 3)
    _write_tfds_metadata(folder, _features(image_shape, labels), shards)
    pq.write_table(table, folder / TABLE)
    rows = [session.rows for session in sessions if session.rows is not None]
    if rows:
        pa.csv.write_csv(_used(pa.concat_tables(rows), table, bad["list"]), folder / ROWS)
    for index, session in enumerate(sessions):
        for piece in range(len(session.pieces)):
            note = note_file(folder, index, piece)
            note.with_suffix(".parquet").unlink(missing_ok=True)
            note.unlink()
    splits = table["split"].to_pylist()
    manifest = {
        "schema_version": SCHEMA_VERSION,
        **about,
        "image_shape": image_shape,
        "labels": labels,
        "sessions": held,
        "frames": {split: splits.count(split) for split in (*SPLITS, GAP)},
        "bad_rows": bad,
        "shards": shards,
        "table": {"file": TABLE, "rows": table.num_rows, "sha256": file_hash(folder / TABLE)},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))
    return manifest


def _name_shards(
    folder: Path, sessions: Sequence[Session], parts: Mapping[int, Sequence[Part]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Gives shards their final names; returns them, and what the manifest says of every session.

    Of a session: its name, content and start, and how many shards, records and bad rows it has; in
    shards, table and list of bad rows sessions follow each other.
    """
    shards: list[dict[str, Any]] = []
    held = []
    for index, session in enumerate(sessions):
        own = [shard for part in parts[index] for shard in part.shards]
        for shard in own:
            name = f"{_NAME}-{PHYSICAL_SPLIT}.array_record-{len(shards):05d}"
            (folder / shard["file"]).rename(folder / name)
            shards.append(shard | {"file": name})
        held.append(
            {
                "name": session.name,
                "content": session.content,
                "start": session.start,
                "shards": len(own),
                "records": sum(shard["records"] for shard in own),
                "bad_rows": sum(len(part.bad) for part in parts[index]),
            }
        )
    return shards, held


def _used(rows: pa.Table, table: pa.Table, bad: Iterable[Mapping[str, str]]) -> pa.Table:
    """The recordings' rows with what became of them: frames kept, their split, what was left out.

    A frame's origin is that of its row and the camera behind a comma.
    """
    kept: dict[str, int] = {}
    splits: dict[str, str] = {}
    left_out: dict[str, list[str]] = {}
    for origin, split in zip(table["origin"].to_pylist(), table["split"].to_pylist(), strict=True):
        row = origin.rpartition(", ")[0]
        kept[row] = kept.get(row, 0) + 1
        splits[row] = split
    for entry in bad:
        row, _, camera = entry["origin"].rpartition(", ")
        left_out.setdefault(row, []).append(f"{camera}: {entry['reason']}")
    origins = rows["origin"].to_pylist()
    told = ["; ".join(left_out.get(origin, [])) for origin in origins]
    return (
        rows.append_column("frames", pa.array([kept.get(origin, 0) for origin in origins]))
        .append_column("split", pa.array([splits.get(origin, "") for origin in origins]))
        .append_column("left_out", pa.array(told))
    )


def _write_tfds_metadata(folder: Path, features: Any, shards: list[dict[str, Any]]) -> None:
    import tensorflow_datasets as tfds

    template = tfds.core.ShardedFileTemplate(
        data_dir=epath.Path(folder),
        template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}",
        dataset_name=_NAME,
        split=PHYSICAL_SPLIT,
        filetype_suffix="array_record",
    )
    split = tfds.core.SplitInfo(
        name=PHYSICAL_SPLIT,
        shard_lengths=[shard["records"] for shard in shards],
        num_bytes=sum(shard["bytes"] for shard in shards),
        filename_template=template,
    )
    # check_data would read the data back through TensorFlow, which is not a dependency.
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=features,
        split_infos=[split],
        filename_template=template,
        check_data=False,
        description="Decoded driving frames with their labels as recorded.",
    )
