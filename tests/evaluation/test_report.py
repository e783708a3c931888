import base64
import html.parser
import itertools
import json
import subprocess
import sys
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from etils import epath
from matplotlib.backends.backend_agg import FigureCanvasAgg

from jaxdrive.errors import UserError
from jaxdrive.evaluation import plots, report, results, wording
from tests.evaluation.made_up_run import (
    BINS,
    DRAWN,
    FRAMES,
    HOSTILE,
    SHEET,
    SKILLS,
    UNITS,
    VIDEO,
    fill,
    results_of_a_run,
)


class Page(html.parser.HTMLParser):
    """The page taken apart: tags with their attributes, visible text, rows of cells, styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.rows = [], [], []
        self.style, self.open, self.in_cell = "", None, False
        self.feed(text)
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attrs):
        self.open = tag
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag):
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self.open == "style":
            self.style += data
            return
        self.texts.append(data)
        if self.in_cell:
            self.rows[-1][-1] = (self.rows[-1][-1] + data).strip()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The page of a whole run, and the figures that were drawn for it."""
    workdir = fill(epath.Path(tmp_path_factory.mktemp("runs")) / "a <b> run")
    figures, draw = [], plots.svg_data_uri
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "svg_data_uri", lambda figure: figures.append(figure) or draw(figure))
        path = report.write_report(workdir)
    assert path == workdir / "report.html"
    return SimpleNamespace(page=Page(path.read_text()), figures=figures, workdir=workdir)


def test_every_number_is_on_the_page(whole):
    text, rows = whole.page.text, whole.page.rows
    assert ["70", "925.1", "yes", "1.2 %", "741"] in rows
    assert ["71", "1,003.3", "yes", "1.2 %", "742"] in rows
    assert ["72", "-12.6", "no", "1.2 %", "743"] in rows
    assert ["together", "638.6 ± 461.7", "2 of 3", "1.2 %", ""] in rows
    natural, balanced = ["0.0123", "0.0678"], ["0.0345", "0.156"]
    for head, skills in {
        "steering": ("+0.412", "+0.812"),
        "throttle": ("\N{MINUS SIGN}0.138", "+0.210"),
        "brake": (wording.NO_SKILL,) * 2,
    }.items():
        assert [head, *natural, "0.0456", skills[0], *balanced, skills[1], UNITS[head]] in rows
    assert (
        "error over 1 s relative to straight on, steering 0.54 learned: better than driving"
        " straight on 90 % interval 0.43 to 0.70, 12 stretches of 10 s" in text
    )
    assert (
        "held-out skill, throttle +0.21 slightly better than the best constant \N{MINUS SIGN}0.14"
        in text
    )
    numbers = ["0.711", "0.822", "0.0222", "0.0333"]
    numbers[0] = f"+{numbers[0]}"
    assert ["steering", "1 s", "0.54", "0.43 to 0.70", "12", "0.60", *numbers] in rows
    assert ["steering", "2 s", "0.41", "too few stretches", "12", "", *numbers] in rows
    assert "Here 94% of the labels of steering are 0, 94% of the labels of throttle" in text
    assert "It drives, but not yet well enough" in text
    assert "laps finished 2 of 3" in text
    assert "4,185 images a second, 25.0 % of the time spent waiting" in text
    drawn = np.sum(DRAWN, axis=0)
    for i, name in enumerate(BINS):
        passes = wording.number(250 / FRAMES[i]) if FRAMES[i] else wording.ABSENT
        planned = "25.0 %" if FRAMES[i] else "0.0 %"
        row = [name, str(FRAMES[i]), planned, f"{100 * drawn[i] / drawn.sum():.1f} %", passes]
        assert rows.count(row) == len(SKILLS)
    for fact in (
        ["parameters", "178,243"],
        ["memory", "16.2 GB"],
        ["devices", "TFRT_CPU_0, ... (8 in all)"],
        ["frames", "22,000 train, 1,432 test"],
        ["train", "2 min 5 s"],
        ["together", "2 min 45 s"],
        ["jax", "0.10.0"],
        ["at step 1,500", "optim.learning_rate: 0.001 → 0.0001"],
    ):
        assert fact in rows
    assert not any("stopped" in row for row in rows)
    assert "a mean score of 26.8 ± 252.6, 0 of " in whole.page.text
    assert ["backbone/Conv_0", "Conv 5x5", "21 x 24 x 16", "1,216", "32"] in rows
    assert ["together", "", "", "148,899", "32"] in rows
    assert "throttle : from step 123,456 to step 246,912" in text
    assert "brake : from step 123,456 to the end, still on" in text
    assert "steering : from" not in text
    assert (
        "Brake and throttle pressed together (each above 5.0 % of its range): 0.0 % of the" in text
    )
    assert "labels, 12.3 % of the predictions" in text


def test_the_page_stands_alone(whole):
    page = whole.page
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    ids = {attributes.get("id") for _, attributes in page.tags}
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("src", "data:").startswith("data:")
        if "href" in attributes:
            assert attributes["href"].startswith("#")
            assert attributes["href"][1:] in ids
    assert "url(" not in page.style
    assert "@import" not in page.style


def test_every_picture_and_the_video_are_inside(whole):
    images = [attributes for tag, attributes in whole.page.tags if tag == "img"]
    (sheet,) = [image for image in images if image.get("class") == "sheet"]
    assert sheet["src"] == "data:image/png;base64," + base64.b64encode(SHEET).decode()
    images.remove(sheet)
    # Per head: curves, labels, errors; steering's windows; then scores, ages, two of the optimiser,
    # of gradients and of speed, correlations, model.
    assert len(images) == len(whole.figures) == 3 * len(SKILLS) + 11
    for image in images:
        assert image["alt"].removeprefix("Plot: ")
        picture = ElementTree.fromstring(base64.b64decode(image["src"].split(",", 1)[1]))
        assert picture.tag.endswith("svg")
        references = [v for e in picture.iter() for k, v in e.attrib.items() if k.endswith("href")]
        assert all(reference.startswith("#") for reference in references)
    (video,) = [attributes for tag, attributes in whole.page.tags if tag == "video"]
    assert "controls" in video
    assert video["src"] == "data:video/mp4;base64," + base64.b64encode(VIDEO).decode()


def test_every_axes_is_named_and_nothing_overlaps(whole):
    plotted = [figure for figure in whole.figures if figure.axes[0].axison]
    assert len(plotted) == len(whole.figures) - 1
    for figure in plotted:
        FigureCanvasAgg(figure).draw()
        for axes in figure.axes:
            assert axes.get_title(loc="left")
            assert axes.get_xlabel()
            assert axes.get_ylabel()
            assert not axes.get_legend()
            ticks = [tick.get_window_extent() for tick in axes.get_xticklabels()]
            assert not any(a.overlaps(b) for a, b in itertools.pairwise(ticks))
            for legend in figure.legends:
                box = legend.get_window_extent()
                assert not box.overlaps(axes.get_window_extent())
                assert figure.bbox.x0 <= box.x0
                assert box.x1 <= figure.bbox.x1
    named = [
        (a.get_title(loc="left"), a.get_xlabel(), a.get_ylabel()) for f in plotted for a in f.axes
    ]
    for head, unit in UNITS.items():
        assert (
            f"{head}: labels as recorded and as drawn",
            f"{head} ({unit})",
            "share of frames or draws (%)",
        ) in named
        assert (
            f"{head}: error by label",
            f"recorded label ({unit})",
            f"mean absolute error\n({unit})",
        ) in named


def test_pictures_show_the_numbers():
    files = results_of_a_run()
    drawn = np.sum(DRAWN, axis=0)
    figure = plots.labels_recorded_and_drawn(
        files["balance"]["heads"]["steering"], drawn.tolist(), "steering", "#0072B2"
    )
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    np.testing.assert_allclose(heights[:5], 100 * np.array(FRAMES) / 1000)
    np.testing.assert_allclose(heights[5:], 100 * drawn / drawn.sum())
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == BINS

    figure = plots.track_scores(files["drive"])
    assert {900.0, 638.62} <= {curve.get_ydata()[0] for curve in figure.axes[0].lines}

    # Long runs are averaged down, without a point or a trend lost.
    lines = [{"step": step, "x": 2.0 * step} for step in range(10_000)] + [{"step": 5, "x": None}]
    steps, values = plots.series(lines, "x")
    assert len(steps) == plots.MAX_CURVE_POINTS
    np.testing.assert_allclose(values, 2 * steps)


HINTS = {
    "config.json": "No configuration yet. It is written by python launch.py train",
    "run.json": "wall times are written by python launch.py train",
    "metrics.jsonl": "Not trained yet. Curves are made by python launch.py train",
    "model.json": "No network described yet. It is described by python launch.py train",
    "balance.json": "No balance yet. It is made by python launch.py train",
    "evaluation.json": "Errors on held-out frames are made by python launch.py evaluate",
    "drive.json": "Scores on unseen tracks are made by python launch.py drive",
    "heldout.png": "No held-out frames are drawn yet. They are drawn by python launch.py train",
    "drive.mp4": "There is no video. It is made by python launch.py drive",
}


@pytest.mark.parametrize(
    "missing",
    [
        {"config.json", "metrics.jsonl", "drive.mp4", "heldout.png"},
        {
            "run.json",
            "model.json",
            "balance.json",
            "evaluation.json",
            "drive.json",
            "drive_steps.json",
        },
    ],
)
def test_a_missing_file_costs_one_line(whole, tmp_path, missing):
    workdir = fill(epath.Path(tmp_path) / "a run", leave_out=missing)
    text = Page(report.write_report(workdir).read_text()).text
    for name, hint in HINTS.items():
        assert hint not in whole.page.text
        assert (f"{hint} --workdir='{workdir}'" in text) == (name in missing)
    evaluated = "evaluation.json" not in missing
    assert ("relative to straight on, steering 0.54 learned:" in text) == evaluated
    assert ("relative to straight on, steering 0.60 not evaluated yet" in text) != (
        evaluated or "metrics.jsonl" in missing
    )
    assert f"held-out skill, brake {wording.NO_SKILL}" in text


def test_a_run_that_is_not_to_drive_is_not_asked_to(tmp_path):
    workdir = fill(epath.Path(tmp_path), leave_out={"drive.json", "drive_steps.json", "drive.mp4"})
    config = json.loads((workdir / "config.json").read_text())
    (workdir / "config.json").write_text(json.dumps(config | {"drive": {"tracks": 0}}))
    page = Page(report.write_report(workdir).read_text())
    assert "Measured on recorded frames. Steering: learned, better than" in page.text
    assert "launch.py drive" not in page.text
    assert "Scores on unseen tracks" not in page.text
    assert "relative to straight on, steering 0.54 learned:" in page.text


def test_what_the_windows_lack_is_said(tmp_path):
    workdir = fill(epath.Path(tmp_path))
    evaluation = json.loads((workdir / "evaluation.json").read_text())
    windows = evaluation["windowed"]["steering"]
    for one in windows:
        one |= {"windows": 0, "stretches": 0, "ratio": None, "interval": None}
    evaluation["assumed_rate"] = 20.0
    (workdir / "evaluation.json").write_text(json.dumps(evaluation))
    text = Page(report.write_report(workdir).read_text()).text
    assert "steering not settled: too short for windows of 1 s" in text
    assert "steering: unknown: these images cover no window of 1 s." in text
    assert "no usable clock: 20 images a second are assumed" in text


def test_an_empty_workdir_gets_a_page_of_hints(tmp_path):
    text = Page(report.write_report(epath.Path(tmp_path)).read_text()).text
    assert "Not driven yet" in text
    assert all(hint in text for name, hint in HINTS.items() if name != "drive.mp4")


def test_constant_labels_and_hostile_values(whole):
    text = whole.page.text
    assert f"held-out skill, brake {wording.NO_SKILL} " in text
    assert not {"nan", "none"} & set(text.lower().replace(",", " ").split())
    (curves,) = [
        f for f in whole.figures if f.axes[0].get_title(loc="left") == "brake: squared error"
    ]
    assert [text.get_text() for text in curves.axes[1].texts] == [wording.NO_SKILL]
    assert ["note", HOSTILE] in whole.page.rows
    assert "a <b> run" in whole.page.text


def test_a_line_cut_short_is_left_out_and_a_damaged_one_is_named(tmp_path):
    path = epath.Path(tmp_path) / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3, "tr')
    assert results.read_lines(path) == [{"step": 1}, {"step": 2}]
    path.write_text('{"step": 1}\n{"step"\n{"step": 3}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 2, is not JSON"):
        results.read_lines(path)


def test_a_failure_leaves_the_last_page_alone(tmp_path):
    workdir = fill(epath.Path(tmp_path))
    (workdir / "report.html").write_text("the last page")
    balance = results_of_a_run()["balance"]
    balance["heads"]["throttle"]["bins"].pop()
    (workdir / "balance.json").write_text(json.dumps(balance))
    with pytest.raises(UserError, match=r"throttle: .*disagree on the number of bins, \[4, 5\]"):
        report.write_report(workdir)
    assert (workdir / "report.html").read_text() == "the last page"
    assert not list(workdir.glob("*unfinished*"))


def test_imports_neither_jax_nor_pyplot():
    code = "import sys, jaxdrive.evaluation.report; print(*sys.modules)"
    modules = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert "jaxdrive.evaluation.report" in modules
    assert not {"jax", "matplotlib.pyplot"} & set(modules)
