"""What a user sees of a dataset and of a batch, by the command line."""

import json

from PIL import Image

from jaxdrive.evaluation import inspect_page


def test_a_run_s_dataset_and_any_of_its_batches_are_drawn(trained, launch):
    dataset = json.loads((trained / "run.json").read_text())["dataset"]
    done = launch("inspect", workdir=trained)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Dataset {dataset['fingerprint']} in {dataset['path']}\n" in done.stdout
    assert done.stdout.endswith(f"Pictures: {trained / 'inspect'}\n")
    pictures = {f"frames-{split}.png" for split in dataset["frames"]}
    pictures |= {f"labels-{head}.png" for head in ("brake", "steering", "throttle")}
    pictures |= {"sessions.png", "camera-center.png"}
    page = {inspect_page.PAGE}
    assert {path.name for path in (trained / "inspect").iterdir()} == pictures | page

    done = launch("inspect", "--batch=3", workdir=trained)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Batch 3 as the train step sees it: 8 pictures for each of brake, st" in done.stdout
    pictures |= {f"batch-3-{head}-1.png" for head in ("brake", "steering", "throttle")}
    assert {path.name for path in (trained / "inspect").iterdir()} == pictures | page
    for name in pictures:
        with Image.open(trained / "inspect" / name) as picture:
            picture.load()
