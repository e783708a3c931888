"""The folder of datasets, listed and cleared by the command line; a dataset verified."""

import json
import shutil

from jaxdrive import compilation_cache
from jaxdrive.data import usage


def test_a_run_s_dataset_is_listed_verified_and_cleared_when_the_run_is_gone(
    trained, launch, tmp_path
):
    name = json.loads((trained / "run.json").read_text())["dataset"]["fingerprint"]
    done = launch("datasets", workdir=trained)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Datasets in {launch.datasets}: " in done.stdout
    (line,) = (line for line in done.stdout.splitlines() if line.startswith(f"{name} "))
    assert str(trained) in line

    # Other tests keep their datasets there too.
    copy = tmp_path / "datasets"
    manifest = json.loads((launch.datasets / name / "manifest.json").read_text())
    stores = [entry["folder"] for entry in manifest["stores"]]
    for folder in (name, *stores):
        shutil.copytree(launch.datasets / folder, copy / folder)
    here = {"data.dir": copy, "data.prepared": copy / name}
    done = launch("inspect", "--verify", workdir=trained, **here)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("Verified: 3 shards, ")
    (shard,) = (copy / stores[0]).glob("*array_record*")
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    done = launch("inspect", "--verify", workdir=trained, **here)
    assert done.returncode == 1
    assert done.stderr.count("error: ") == 1
    assert f"{shard} has other bytes than were written" in done.stderr

    for note in (copy / name / usage.FOLDER).iterdir():
        note.write_text(f"{tmp_path}/gone\n")
    done = launch("datasets", "--unused", workdir=trained, **here)
    assert done.returncode == 1
    assert name in done.stdout
    assert done.stderr == (
        "error: nothing was deleted: there is no terminal to ask in, so add --yes\n"
    )
    done = launch("datasets", "--unused", "--yes", workdir=trained, **here)
    assert done.returncode == 0, done.stdout + done.stderr
    left = {path.name for path in copy.iterdir() if path.is_dir()}
    assert left == {compilation_cache.FOLDER}
