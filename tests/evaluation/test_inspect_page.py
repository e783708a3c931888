"""The page of a dataset says all of it and opens in a browser by itself."""

import dataclasses
import shutil
import subprocess

import pytest
from etils import epath

from jaxdrive.data import bad_rows
from jaxdrive.data.frames import BadRow
from jaxdrive.evaluation import inspect, inspect_page
from tests.data import tiny
from tests.evaluation.test_inspect import EVERYTHING, config_of
from tests.evaluation.test_report import HOSTILE, Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
# What it made of every picture, as the title.
SCRIPT = """<script>addEventListener('load', () => document.title =
[...document.images].map(image => image.complete && image.naturalWidth > 50).join())</script>"""
BAD = bad_rows.report(
    [BadRow(f"log.csv, row {i}, left", "image missing", HOSTILE) for i in range(600)]
    + [BadRow("b/log.csv, row 7, center", bad_rows.DUPLICATE, "x.jpg is that of log.csv, row 3")]
)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    dataset = tiny.make(folder / "dataset").dataset
    manifest = {**dataset.manifest, "bad_rows": BAD}
    bad = dataclasses.replace(dataset, manifest=manifest)
    inspect.draw_dataset(config_of(**EVERYTHING), bad, epath.Path(folder / "out"))
    return folder / "out" / inspect_page.PAGE


def test_it_says_what_is_there_and_what_was_left_out(page):
    parsed = Page(page.read_text())
    images = [attributes for tag, attributes in parsed.tags if tag == "img"]
    # Cameras, splits, heads, sessions, reasons.
    assert len(images) == 3 + 3 + 2 + 1 + 1
    for attributes in images:
        assert attributes["src"].startswith("data:image/")
        assert attributes["alt"]
    for words in (
        "53 of 6 x 8",
        "left camera",
        "600 frames could not be made",
        "100 more are in",
        "1 frames came before",
        "x.jpg is that of log.csv, row 3",
        "log.csv, row 499, left",
    ):
        assert words in parsed.text
    assert "log.csv, row 500, left" not in parsed.text
    assert HOSTILE not in page.read_text()


@pytest.mark.skipif(BROWSER is None, reason="no Chromium to open it in")
def test_a_browser_shows_every_picture(page, tmp_path):
    """It loads all of them from the file alone, without a server."""
    probe = tmp_path / "probe.html"
    probe.write_text(page.read_text().replace("</body>", f"{SCRIPT}</body>"))
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    quiet = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")
    done = subprocess.run(
        [BROWSER, *quiet, profile, "--virtual-time-budget=10000", "--dump-dom", probe.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    title = done.stdout.partition("<title>")[2].partition("</title>")[0]
    assert title == ",".join(["true"] * 10)
