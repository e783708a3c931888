"""The verb `datasets` shows what there is, asks before it deletes, and knows the runs; --verify."""

import logging
import shutil
import sys
from pathlib import Path

import jax
import pytest
from etils import epath

from jaxdrive import command_line, housekeeping
from jaxdrive import workdir as workdirs
from jaxdrive.data import usage
from jaxdrive.data.dataset import open_dataset
from jaxdrive.errors import UserError
from tests.data import tiny

A, B, C = (letter * 16 for letter in "abc")
SESSIONS = tiny.sessions_of()


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """Three datasets: A and B share images, C has its own; A is used by a run."""
    folder = tmp_path_factory.mktemp("written") / "datasets"
    folder.mkdir()
    for name, sessions in ((A, SESSIONS[:2]), (B, SESSIONS[:2]), (C, SESSIONS[2:])):
        tiny.write(folder / name, sessions, fingerprint=name, recording=f"/of/{name}")
    return folder


@pytest.fixture
def here(written, tmp_path, monkeypatch, caplog) -> Path:
    """A current folder with datasets, and with runs/one, which uses A."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(written, tmp_path / "datasets")
    train("one", A)
    monkeypatch.setattr(command_line.logs, "to_console", lambda **_: None)
    caplog.set_level(logging.INFO, logger="jaxdrive")
    return tmp_path


def train(run: str, name: str) -> Path:
    """Does to the disk what a run does that is trained on a dataset."""
    workdir = Path("runs", run).absolute()
    housekeeping.record_use(open_dataset(Path("datasets", name)), epath.Path(workdir))
    return workdir


@pytest.fixture
def datasets(parse, here, caplog, monkeypatch):
    """datasets("--flag", ..., answer="y") -> what is printed; without an answer there is no tty."""

    def run(*words, answer=None):
        def typed(question):
            logging.getLogger("jaxdrive").info(question)
            return answer() if callable(answer) else answer

        monkeypatch.setattr(sys.stdin, "isatty", lambda: answer is not None)
        monkeypatch.setattr("builtins.input", typed)
        caplog.clear()
        assert command_line.run(parse("datasets", *words)) == 0
        return "\n".join(caplog.messages)

    return run


def there() -> set[str]:
    return {path.name for path in Path("datasets").iterdir() if path.is_dir()}


def row(text: str, name: str) -> str:
    (line,) = (line for line in text.splitlines() if line.startswith(f"{name} "))
    return " ".join(line.split())


def images_of(name: str) -> list[str]:
    return sorted(store.path.name for store in open_dataset(Path("datasets", name)).stores)


def test_the_list_says_who_uses_what(datasets, here):
    unreachable = train("two", B)
    (unreachable / "run.json").unlink()
    (unreachable / "run.json").mkdir()
    shutil.rmtree(train("three", C))
    Path("datasets", f"{A}.incomplete").mkdir()
    text = datasets()
    frames = 23 + 7
    assert f" {frames} " in row(text, A)
    assert row(text, A).endswith(f" in 2 stores /of/{A} runs/one")
    assert row(text, B).endswith(" runs/two (not reached)")
    assert row(text, C).endswith(" no run (gone: runs/three)")
    assert row(text, images_of(A)[0]).endswith(f" {A}, {B}")
    assert row(text, f"{A}.incomplete").endswith(" just now 0 B")
    # The dataset of the run that is gone, its images, and the attempt.
    assert f"Nobody uses {1 + 2 + 1} of them, " in text


def test_nothing_goes_without_a_yes(datasets, here):
    before = there()
    for answer in ("", "n", "no", "what"):
        text = datasets(f"--delete={A}", answer=answer)
        assert "Delete 1 folder and free " in text
        assert text.endswith("Nothing was deleted")

    def end_of_input():
        raise EOFError

    assert datasets(f"--delete={A}", answer=end_of_input).endswith("Nothing was deleted")
    with pytest.raises(UserError, match="no terminal to ask in, so add --yes"):
        datasets(f"--delete={A}")
    assert there() == before


@pytest.mark.parametrize("words", [{"answer": "y"}, {"answer": "YES "}, {}])
def test_what_is_named_is_deleted_and_what_it_leaves_unused_is_told(datasets, here, words):
    asked = () if words else ("--yes",)
    before, images = there(), images_of(C)
    text = datasets(f"--delete={A},{C}", *asked, **words)
    assert row(text, f"  {A}").endswith("dataset used by runs/one")
    assert row(text, f"  {C}").endswith("dataset used by no run yet")
    assert there() == before - {A, C}
    assert "Deleted 2 folders: " in text
    assert f"No dataset uses {', '.join(images)} (" in text
    # B has the images of A.
    assert open_dataset(Path("datasets", B)).ids("train") is not None
    datasets("--unused", *asked, **words)
    assert there() == before - {A, C, *images}


def test_images_that_are_in_use_are_deleted_only_by_name(datasets, here):
    images = images_of(C)
    text = datasets(f"--delete={images[0]}", f"--delete={images[1]}", "--yes")
    assert row(text, f"  {images[0]}").endswith(f"images used by {C}")
    assert f"Without these images {C} cannot be used" in text
    assert not there() & set(images)
    text = datasets()
    assert row(text, C).endswith("no run yet; not usable")
    assert f"the images of dataset {C}, images-" in text
    assert text.endswith(" are missing: `prepare` reads them again")


def test_what_is_taken_into_use_while_the_question_stands_stays(datasets, here):
    before, images = there(), images_of(C)
    shutil.rmtree(train("old", C))

    def answer():
        train("new", C)
        # Nobody has been asked about this one.
        Path("datasets", f"{B}.incomplete").mkdir(exist_ok=True)
        return "y"

    with pytest.raises(UserError, match=f"^{C} is used by .*runs/new since a moment ago: nothing"):
        datasets(f"--delete={A},{C}", answer=answer)
    assert there() == before | {f"{B}.incomplete"}
    shutil.rmtree("runs/new")
    Path("datasets", f"{B}.incomplete").rmdir()
    # Neither the dataset nor its images are unused any more.
    assert datasets("--unused", answer=answer).endswith("Deleted 0 folders: 0 B are free again")
    assert there() == before | {f"{B}.incomplete"}
    assert set(images) <= before


def test_what_cannot_be_listed_or_deleted_is_said_in_a_line(datasets, here):
    with pytest.raises(
        UserError, match=r"^there is no folder /no/where: .*--config\.data\.dir=DIR"
    ):
        datasets("--config.data.dir=/no/where")
    with pytest.raises(UserError, match=rf"^there is no dataset.*'\.\./runs' in {here}/datasets: "):
        datasets("--delete=../runs", "--yes")
    (here / "empty").mkdir()
    assert datasets("--config.data.dir=empty").startswith("There are no datasets in ")
    assert datasets("--config.data.dir=empty", "--unused") == f"Nothing in {here}/empty is unused"
    assert there() >= {A, B, C}


def test_only_the_first_process_notes_its_run(here, monkeypatch):
    assert usage.noted(Path("datasets", A)) == [str(here / "runs" / "one")]
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    assert not train("other", A).exists()
    assert usage.noted(Path("datasets", A)) == [str(here / "runs" / "one")]


def test_the_dataset_of_a_run_is_what_its_run_json_says(here):
    workdir = epath.Path(here / "runs" / "one")
    assert workdirs.dataset_of(workdir) == A
    train("one", B)
    assert workdirs.dataset_of(workdir) == B
    file = here / "runs" / "one" / "run.json"
    for text, found in (("{}", ""), ("{", None), ('{"dataset": []}', None)):
        file.write_text(text)
        assert workdirs.dataset_of(workdir) == found
    assert workdirs.dataset_of(workdir / "nothing") == ""
    assert workdirs.dataset_of(workdir / "run.json") == ""


def test_verify_says_what_it_compared_or_what_is_damaged(here, caplog):
    data = {"prepared": f"{here}/datasets/{A}"}
    manifest = here / "datasets" / A / "manifest.json"
    caplog.clear()
    housekeeping.verify(data)
    size = sum(store.size for store in open_dataset(here / "datasets" / A).stores)
    (line,) = caplog.messages
    assert line == f"Verified: 2 shards, {size / 1000:.3g} kB: all bytes are as they were written"
    shards = sorted(
        file for name in images_of(A) for file in Path("datasets", name).glob("*array_record*")
    )
    for shard in shards:
        shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError) as caught:
        housekeeping.verify(data)
    assert str(caught.value).count("array_record") == 2
    assert str(caught.value).count("has other bytes than were written") == 2
    manifest.unlink()
    with pytest.raises(UserError, match=r"there is nothing to verify in .*: `prepare` makes"):
        housekeeping.verify(data)
