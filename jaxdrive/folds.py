"""The verb `folds`: trains and evaluates every fold of a recording, with every seed, and sums up.

One split of a short recording says little: another split gives other numbers. Here every fold is
held out in turn. Each run is an ordinary one in a folder of its own, so that the other verbs work
on it. Finished runs are skipped and interrupted ones resume, as `train` does it. What the results
say together is in `evaluation/fold_summary.py`.
"""

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from etils import epath

from jaxdrive import durations
from jaxdrive import run as verbs
from jaxdrive import workdir as workdirs
from jaxdrive.data.dataset import Dataset
from jaxdrive.data.prepare import fingerprints, prepare
from jaxdrive.errors import UserError
from jaxdrive.evaluation import fold_summary, offline
from jaxdrive.logs import logger, plural
from jaxdrive.training import start
from jaxdrive.training.parts import steps_per_epoch

FILE = "folds.json"


@dataclasses.dataclass(frozen=True)
class Planned:
    """A run to make.

    Attributes:
      fold: Which fold is the test split.
      seed: Of the run.
      config: Of the run.
      workdir: Its folder.
      finished: Whether it is trained, and evaluated on the split, already.
    """

    fold: int
    seed: int
    config: Mapping[str, Any]
    workdir: epath.Path
    finished: bool


def run(
    config: Mapping[str, Any],
    workdir: epath.Path,
    *,
    command: str,
    split: str,
    seeds: Sequence[int],
) -> None:
    """Trains and evaluates all folds with all seeds; writes folds.json and prints a table.

    Args:
      config: Of all runs, with the number of folds.
      workdir: Its subfolders fold_F_seed_S are the runs'.
      command: As typed, for the record of every run.
      split: "validation" or "test".
      seeds: Of the runs of every fold.

    Raises:
      UserError: The recording cannot be dealt to the folds, or a folder holds a run of other
        settings.
      StoppedError: By a signal, after a checkpoint: the same command resumes.
    """
    plan = _plan(config, workdir, split, seeds)
    done = sum(planned.finished for planned in plan)
    logger.info(
        "%s of %d folds in %s%s",
        plural(len(plan), "run"),
        config["data"]["split"]["folds"],
        workdir,
        f"; {done} finished already" if done else "",
    )
    # All runs are made in this process. It starts and loads libraries once, holds the devices once
    # (a second process would find a GPU's memory taken), may be one of several processes of a run,
    # and gets the signals itself, so that training saves a step and leaves as it does in `train`.
    # Nothing passes from one run to the next but compiled programs, which are dropped: each run
    # builds its own network, seeded by its configuration, and loads programs from the cache.
    for number, planned in enumerate(plan, start=1):
        if planned.finished:
            continue
        logger.info(
            "\nRun %d of %d: fold %d, seed %d, in %s",
            number,
            len(plan),
            planned.fold,
            planned.seed,
            planned.workdir,
        )
        with workdirs.only_one(planned.workdir):
            verbs.train(planned.config, planned.workdir, command=command, split=split)
        jax.clear_caches()
    if jax.process_index() == 0:
        result = fold_summary.summarise(split, [_result(planned) for planned in plan])
        workdirs.write_json(workdir / FILE, result)
        logger.info("\n%s", "\n".join(fold_summary.table(result)))
        logger.info("Numbers of all runs: %s", workdir / FILE)


def _plan(
    config: Mapping[str, Any], workdir: epath.Path, split: str, seeds: Sequence[int]
) -> list[Planned]:
    """All runs; every fold with the first seed comes before any with the next one.

    Whatever is wrong is found here, before the first of many runs is trained. For that the datasets
    of all folds are prepared, which share their images.
    """
    folds = []
    for fold in range(config["data"]["split"]["folds"]):
        own = copy.deepcopy(dict(config))
        own["data"]["split"]["fold"] = fold
        folds.append(own)
    names = [fingerprints(own["data"]) for own in folds]
    reached = {}
    for seed in seeds or [config["seed"]]:
        for fold, own in enumerate(folds):
            place = workdir / f"fold_{fold}_seed_{seed}"
            step = _step_reached(own | {"seed": seed}, place, names[fold])
            reached[seed, fold] = place, step
    datasets = [prepare(own["data"]) for own in folds]
    for fold, dataset in enumerate(datasets):
        if not len(dataset.driving_ids(split)):
            raise UserError(
                f"fold {fold} of {len(folds)} has no {split} frames: the gaps between blocks"
                " (config.data.split.gap_seconds) take all of it. Lower them, raise"
                " config.data.split.block_seconds, or use fewer folds"
            )
    return [
        Planned(
            fold,
            seed,
            own := folds[fold] | {"seed": seed},
            place,
            _is_finished(own, place, datasets[fold], step=step, split=split),
        )
        for (seed, fold), (place, step) in reached.items()
    ]


def _step_reached(config: Mapping[str, Any], workdir: epath.Path, names: Sequence[str]) -> int:
    """The step that a run has reached; all runs have to be of the same settings."""
    step, changes = start.progress_of(config, workdir, names)
    # The dataset is the same by its name, wherever it lies.
    changes = {name: both for name, both in changes.items() if not name.startswith("data.")}
    if changes:
        text = workdirs.changes_text(changes)
        raise UserError(
            f"{workdir} holds a run of other settings, so the folds could not be compared:\n{text}"
            "\nUse the same settings to go on with these folds, or another --workdir for new ones"
        )
    return step


def _is_finished(
    config: Mapping[str, Any], workdir: epath.Path, dataset: Dataset, *, step: int, split: str
) -> bool:
    # That what training would do is over is known before anything of it is built.
    num_steps = durations.resolve(config, steps_per_epoch(config, dataset))["num_steps"]
    stopped = (workdirs.read_json(workdir / workdirs.RUN_FILE) or {}).get("stopped")
    if not step or (step < num_steps and not stopped):
        return False
    chosen = verbs.chosen_step(workdir, None)
    return offline.existing(workdir, dataset, step=chosen, split=split) is not None


def _result(planned: Planned) -> dict[str, Any]:
    """What a finished run says of itself, as `fold_summary.summarise` takes it."""
    found = workdirs.read_json(planned.workdir / offline.FILE)
    seconds = workdirs.read_json(planned.workdir / workdirs.RUN_FILE)["wall_time_seconds"]
    kept = ("step", "frames", "heads", "windowed", "side_cameras")
    return {
        "fold": planned.fold,
        "seed": planned.seed,
        "workdir": str(planned.workdir),
        "seconds": seconds["train"],
    } | {name: found[name] for name in kept}
