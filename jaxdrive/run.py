"""The verbs: prepare -> train -> evaluate -> drive -> report, each skipped where it is done.

`train` runs them all; the others do their own part and draw the report anew. In a run of several
processes all of them call the same verb: they train and evaluate together, the first one writes
and drives.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from clu import parameter_overview
from etils import epath
from jax.experimental import multihost_utils

from jaxdrive import durations
from jaxdrive import workdir as workdirs
from jaxdrive.data.dataset import Dataset
from jaxdrive.data.labels import check_names, check_values
from jaxdrive.data.nearness import leak, nearest_training
from jaxdrive.data.prepare import fingerprints, fit_shape, label_names, remedy
from jaxdrive.data.prepare import prepare as prepare_dataset
from jaxdrive.driving import closed_loop
from jaxdrive.driving.policy import load_policy
from jaxdrive.errors import UserError
from jaxdrive.evaluation import balance_table, compare_page, offline
from jaxdrive.evaluation import compare as comparison
from jaxdrive.evaluation import inspect as inspection
from jaxdrive.evaluation.architecture import architecture_png
from jaxdrive.evaluation.report import write_report
from jaxdrive.housekeeping import record_use
from jaxdrive.logs import logger
from jaxdrive.models import overview
from jaxdrive.models.weights import describe
from jaxdrive.training import checkpoint, start
from jaxdrive.training.initial import read_initial
from jaxdrive.training.parts import (
    Network,
    Trainer,
    balance_report,
    make_network,
    make_step,
    make_trainer,
    steps_per_epoch,
)
from jaxdrive.training.profiler import steps_to_trace

DRIVE_FILE = "drive.json"
# Other colours are another question: their answer leaves that of the first one where it is.
RECOLOURED_FILE = "drive_recoloured.json"
RECOLOURED_VIDEO_FILE = "drive_recoloured.mp4"
AGES_FILE = "drive_steps.json"
BALANCE_FILE = "balance.json"
BALANCE_TABLE = "balance.txt"
BALANCE_PICTURE = "balance.png"
MODEL_FILE = "model.json"
MODEL_TABLE = "model.txt"
MODEL_PICTURE = "model.png"

Config = Mapping[str, Any]


def prepare(config: Config) -> None:
    """Makes the dataset of a configuration where it does not exist."""
    dataset = prepare_dataset(config["data"])
    logger.info("Dataset ready in %s: %s", dataset.path, dataset.counts())


def train(
    config: Config,
    workdir: epath.Path,
    *,
    command: str,
    profile: range | None = None,
    split: str = "test",
) -> None:
    """Everything from recordings to the report; what is done already is left as it is.

    `profile` names the updates to trace, `split` the frames to evaluate on.
    """
    # Whatever is wrong with the settings is told before anything is recorded or written; for that,
    # any length of an epoch will do.
    network = make_network(config, fit_shape(config["data"]))
    make_step(durations.resolve(config, 1000.0), network)
    where = f"config.data.source={config['data']['source']!r}"
    check_names(config, network.heads, label_names(config["data"]), where=where)
    names = fingerprints(config["data"])
    last, changes = start.progress_of(config, workdir, names)
    initial = read_initial(config, network) if last == 0 else None
    with workdirs.timed(workdir, "prepare"):
        dataset = prepare_dataset(config["data"])
    record_use(dataset, workdir)
    leaks = _leak(config, dataset)
    if leaks:
        logger.warning("Held-out numbers will flatter: %s", leaks)
    in_steps = durations.resolve(config, steps_per_epoch(config, dataset))
    num_steps = in_steps["num_steps"]
    if last > num_steps:
        raise UserError(
            f"the run in {workdir} is at step {last}, past config.num_steps={num_steps}:"
            f" raise it to go on, or use `drive` and `evaluate` with --step"
        )
    traced = steps_to_trace(profile, last, num_steps)
    if last < num_steps:
        check_values(network.heads, dataset)
        trainer = make_trainer(in_steps, dataset)
        workdirs.write_config(workdir, config)
        _describe(trainer, in_steps, workdir, command)
        if initial:
            workdirs.describe_run(workdir, initial_weights=describe(initial))
        changed = workdirs.record_changes(workdir, last, changes)
        meta = {
            "config": config,
            "versions": workdirs.versions(),
            "dataset_fingerprint": names[0],
        }
        with workdirs.timed(workdir, "train"):
            stopped = start.train(
                trainer,
                in_steps,
                workdir,
                meta=meta,
                changes=changed,
                initial=initial,
                traced=traced,
            )
        workdirs.describe_run(workdir, stopped=stopped)
        if stopped:
            logger.info("%s", stopped)
    else:
        logger.info("Training is finished: step %d of %d", last, num_steps)
    step = chosen_step(workdir, None)
    _evaluate_unless_done(config, workdir, dataset, step, split)
    _drive_unless_done(config, workdir, step)
    _say_where(workdir)


def _leak(config: Config, dataset: Dataset) -> str:
    gap = config["data"]["split"]["gap_seconds"]
    return leak(dataset, nearest_training(dataset), gap_seconds=gap)


def _evaluate_unless_done(
    config: Config, workdir: epath.Path, dataset: Dataset, step: int, split: str
) -> None:
    if not len(dataset.driving_ids(split)):
        logger.warning(
            "No final numbers: the dataset has no %s frames. To get some, %s",
            split,
            remedy(config["data"], split),
        )
    elif not offline.existing(workdir, dataset, step=step, split=split):
        _evaluate(config, workdir, step=step, split=split)


def _drive_unless_done(config: Config, workdir: epath.Path, step: int) -> None:
    done = workdirs.read_json(workdir / DRIVE_FILE) or {"step": None, "tracks": []}
    wanted = config["drive"]["tracks"]
    same = (done["step"], len(done["tracks"])) == (step, wanted)
    if wanted and not same:
        _drive(config, workdir, step=step, tracks=wanted)


def evaluate(config: Config, workdir: epath.Path, *, step: int | None, split: str) -> None:
    """Scores a checkpoint on recorded frames; writes evaluation.json and the report."""
    chosen_step(workdir, step)
    _evaluate(config, workdir, step=step, split=split)
    _report(workdir)


def _evaluate(config: Config, workdir: epath.Path, *, step: int | None, split: str) -> None:
    dataset = prepare_dataset(config["data"])
    with workdirs.timed(workdir, "evaluate"):
        result = offline.evaluate(config, workdir, dataset, step=step, split=split)
    _show(offline.table(result))
    for remark in offline.remarks(config, dataset, result):
        logger.warning("%s", remark)
    _write(workdir, offline.FILE, result)


def drive(
    config: Config, workdir: epath.Path, *, step: int | None, tracks: int, domain_randomize: bool
) -> None:
    """Drives tracks that were never recorded; writes drive.json, drive.mp4 and the report.

    With `domain_randomize` it writes drive_recoloured.json and .mp4 instead.
    """
    chosen_step(workdir, step)
    _drive(config, workdir, step=step, tracks=tracks, domain_randomize=domain_randomize)
    _report(workdir)


def _drive(
    config: Config,
    workdir: epath.Path,
    *,
    step: int | None,
    tracks: int,
    domain_randomize: bool = False,
) -> None:
    file, video = DRIVE_FILE, closed_loop.VIDEO_FILE
    if domain_randomize:
        file, video = RECOLOURED_FILE, RECOLOURED_VIDEO_FILE
    with workdirs.timed(workdir, "drive"):
        policy = load_policy(config, workdir, step)
        if jax.process_index() == 0:
            result = closed_loop.drive(
                policy,
                range(tracks),
                action_repeat=config["data"]["action_repeat"],
                domain_randomize=domain_randomize,
                video=workdir / video,
            )
            _show(closed_loop.table(result))
            _write(workdir, file, result)
    _wait_for_all("drive")


def drive_ages(
    config: Config,
    workdir: epath.Path,
    *,
    steps: Sequence[int],
    tracks: int,
    domain_randomize: bool,
) -> None:
    """Drives the same tracks with several checkpoints of a run and compares them."""
    for step in steps:
        chosen_step(workdir, step)
    ages = []
    for step in steps:
        policy = load_policy(config, workdir, step)
        if jax.process_index() == 0:
            result = closed_loop.drive(
                policy,
                range(tracks),
                action_repeat=config["data"]["action_repeat"],
                domain_randomize=domain_randomize,
                video=None,
            )
            ages.append(
                {name: result[name] for name in ("step", "mean", "std", "finished")}
                | {"tracks_driven": tracks}
            )
    _show(
        f"step {age['step']:7}: mean score {age['mean']:.1f} +- {age['std']:.1f},"
        f" {age['finished']} of {tracks} laps finished"
        for age in ages
    )
    _write(workdir, AGES_FILE, {"ages": ages})
    _wait_for_all("drive")
    _report(workdir)


def serve(
    config: Config,
    workdir: epath.Path,
    *,
    step: int | None,
    host: str,
    port: int,
    set_speed: float,
    save_frames: Path | None,
) -> None:
    """Drives the Udacity simulator with a checkpoint until Ctrl-C; leaves the workdir as it is."""
    # Libraries of the network that no other verb needs.
    from jaxdrive.driving import udacity_server

    if jax.process_count() > 1:
        raise UserError("one process serves the simulator: start it without --num_processes")
    chosen_step(workdir, step)
    if save_frames is not None:
        save_frames.mkdir(parents=True, exist_ok=True)
    with udacity_server.listen(host, port) as listener:
        policy = load_policy(config, workdir, step)
        if config["data"]["source"] != "udacity":
            logger.warning(
                "The network of %s learned from %s: the simulator's pictures, and its speed in"
                " mph, are new to it",
                workdir,
                config["data"]["source"],
            )
        udacity_server.serve(policy, listener, set_speed=set_speed, save_frames=save_frames)


def inspect(config: Config, workdir: epath.Path | None, *, batch: int | None) -> None:
    """Prints and draws a dataset, or the batches that one position of training makes of it."""
    dataset = prepare_dataset(config["data"])
    in_steps = durations.resolve(config, steps_per_epoch(config, dataset))
    if jax.process_index() == 0:
        folder = inspection.folder_for(dataset, workdir)
        _show(inspection.describe(dataset))
        if batch is None:
            _show(["", *inspection.draw_dataset(in_steps, dataset, folder)])
        else:
            _show(["", *inspection.draw_batch(in_steps, dataset, folder, position=batch)])
        if batch is None:
            logger.info("\nPage: %s", folder / inspection.PAGE)
        logger.info("Pictures: %s", folder)
        leaks = _leak(config, dataset)
        if leaks:
            raise UserError(leaks)
    _wait_for_all("inspect")


def compare(compared: Sequence[epath.Path], workdir: epath.Path) -> None:
    """Compares runs, which stay as they are; writes numbers, pictures and a page to `workdir`."""
    # Whatever is missing is told before anything is computed.
    for run in compared:
        workdirs.read_config(run)
        chosen_step(run, None)
    result = comparison.compare(compared)
    _show(compare_page.table(result))
    if jax.process_index() == 0:
        with workdirs.only_one(workdir):
            workdirs.write_json(workdir / comparison.FILE, result)
            logger.info("Comparison: %s", compare_page.write(workdir, result))


def chosen_step(workdir: epath.Path, step: int | None) -> int:
    """Fails early and clearly where there is no such checkpoint."""
    if not (workdir / checkpoint.FOLDER).exists():
        raise UserError(
            f"there is no checkpoint in {workdir}: train first, or name the --workdir of a run that"
            " was trained"
        )
    with checkpoint.open_manager(workdir, read_only=True) as manager:
        return checkpoint.choose_step(manager, step)


def _describe(trainer: Trainer, config: Config, workdir: epath.Path, command: str) -> None:
    """Writes what the report says of data and network."""
    network = trainer.network
    if jax.process_index() == 0:
        planned = balance_report(config, trainer.examples, trainer.plans)
        workdirs.write_json(workdir / BALANCE_FILE, planned)
        (workdir / BALANCE_TABLE).write_text("\n".join(balance_table.table(planned, None)) + "\n")
        (workdir / BALANCE_PICTURE).write_bytes(balance_table.picture(planned))
        if lines := balance_table.draw_lines(planned):
            _show(lines)
        for warning in balance_table.warnings(planned):
            logger.warning("%s", warning)
        _describe_model(network, config, workdir)
    workdirs.describe_run(
        workdir,
        command=command,
        durations=durations.durations_of(config),
        samples_per_epoch=len(trainer.drawn_ids),
        parameters=int(parameter_overview.count_parameters(network.template.params)),
    )


def _describe_model(network: Network, config: Config, workdir: epath.Path) -> None:
    found = overview.overview(
        network.model, image_shape=network.image_shape, scalars=sorted(config["scalars"])
    )
    workdirs.write_json(workdir / MODEL_FILE, found)
    (workdir / MODEL_TABLE).write_text("\n".join(overview.table(found)) + "\n")
    (workdir / MODEL_PICTURE).write_bytes(architecture_png(found))


def _show(lines: Iterable[str]) -> None:
    logger.info("%s", "\n".join(lines))


def _write(workdir: epath.Path, name: str, result: Mapping[str, Any]) -> None:
    if jax.process_index() == 0:
        workdirs.write_json(workdir / name, result)


def _report(workdir: epath.Path) -> None:
    if jax.process_index() == 0:
        logger.info("Report: %s", write_report(workdir))


def _wait_for_all(name: str) -> None:
    """Processes that do not drive stay, since the first one needs them to leave together."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def _say_where(workdir: epath.Path) -> None:
    if jax.process_index() != 0:
        return
    times = workdirs.read_json(workdir / workdirs.RUN_FILE)["wall_time_seconds"]
    parts = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in times.items())
    logger.info("Finished in %.0f s (%s)", sum(times.values()), parts)
    _report(workdir)
    logger.info("Learning curves: tensorboard --logdir=%s", workdir / "tensorboard")
