"""A policy drives tracks in the simulator: scores, and a video of one of them."""

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from jaxdrive.driving.policy import Policy
from jaxdrive.driving.video import VideoWriter, draw_controls
from jaxdrive.logs import progress_bar
from jaxdrive.simulators.fleet import Fleet, Observation, TrackResult

VIDEO_FILE = "drive.mp4"
_FRAMES_PER_SECOND = 25


def drive(
    policy: Policy,
    seeds: Sequence[int],
    *,
    action_repeat: int,
    domain_randomize: bool,
    video: epath.Path | None,
) -> dict[str, Any]:
    """Drives one lap on every track, all of them side by side.

    Args:
      policy: At the wheel.
      seeds: Of the tracks.
      action_repeat: Simulator steps for which an action is held.
      domain_randomize: Every track in random colours of its own.
      video: Where a film of the first track goes; None makes none.

    Returns:
      {"step", "mean", "std", "finished", "off_road_share", "predictions_per_second",
      "action_repeat", "domain_randomize", "tracks": [{"seed", "score", "finished",
      "off_road_share", "steps"}]}; std is over the tracks.
    """
    seconds = predictions = 0.0
    film = VideoWriter(video, _FRAMES_PER_SECOND) if video is not None else None
    # The first call compiles, which is no part of the speed of driving.
    blank = np.zeros((96, 96, 3), np.uint8)
    policy([blank], {name: [0.0] for name in policy.scalars}, rows=len(seeds))
    picture_of = 0 if video is not None else None
    with (
        Fleet(
            seeds,
            workers=os.cpu_count() or 1,
            action_repeat=action_repeat,
            domain_randomize=domain_randomize,
            picture_of=picture_of,
        ) as fleet,
        progress_bar(total=len(seeds), description="drive", unit="track") as progress,
    ):
        while fleet.driving:
            seen = fleet.observations()
            started = time.perf_counter()
            answers = policy(
                [o.image for o in seen], {"speed": [o.speed for o in seen]}, rows=len(seeds)
            )
            seconds += time.perf_counter() - started
            predictions += len(seen)
            actions = _actions(seen, answers)
            if film is not None and seen[0].picture is not None:
                film.add(draw_controls(seen[0].picture, actions[0], speed=seen[0].speed))
            fleet.advance(actions)
            done = len(seeds) - len(fleet.observations())
            if done > progress.n:
                progress.update(done - progress.n)
        results = fleet.results()
    if film is not None:
        film.close()
    return _summary(policy.step, results, action_repeat) | {
        "domain_randomize": domain_randomize,
        "predictions_per_second": predictions / seconds,
    }


def _actions(
    seen: Sequence[Observation], answers: Mapping[str, np.ndarray]
) -> dict[int, dict[str, float]]:
    """By track, a control for each of the simulator's three; what no head gives stays at 0."""
    idle = {"steering": 0.0, "throttle": 0.0, "brake": 0.0}
    return {
        observation.track: idle
        | {name: float(values[row]) for name, values in answers.items() if name in idle}
        for row, observation in enumerate(seen)
    }


def _summary(step: int, results: Sequence[TrackResult], action_repeat: int) -> dict[str, Any]:
    scores = [result.score for result in results]
    return {
        "step": step,
        "mean": float(np.mean(scores)),
        "std": float(np.std(scores)),
        "finished": sum(result.finished for result in results),
        "off_road_share": float(np.mean([result.off_road_share for result in results])),
        "action_repeat": action_repeat,
        "tracks": [
            {
                "seed": result.seed,
                "score": float(result.score),
                "finished": bool(result.finished),
                "off_road_share": float(result.off_road_share),
                "steps": result.steps,
            }
            for result in results
        ],
    }


def table(result: Mapping[str, Any]) -> list[str]:
    """Lines of text: every track, then the summary."""
    lines = [f"{'track':>5} {'score':>8} {'lap':>5} {'off road':>9}"]
    for track in result["tracks"]:
        lap = "yes" if track["finished"] else "no"
        lines.append(
            f"{track['seed']:5} {track['score']:8.1f} {lap:>5} {track['off_road_share']:9.1%}"
        )
    count = len(result["tracks"])
    lines.append(
        f"step {result['step']}: mean score {result['mean']:.1f} +- {result['std']:.1f} over"
        f" {count} unseen tracks, {result['finished']} of {count} laps finished,"
        f" {result['off_road_share']:.1%} of the time off road,"
        f" {result['predictions_per_second']:,.0f} predictions/s"
    )
    return lines
