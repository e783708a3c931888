"""A finished run as its files tell it, made up for the tests of pages, with hostile texts in it."""

import itertools
import json

HOSTILE = """<script src="http://example.org/x.js">alert('&')</script>"""
VIDEO = bytes(range(256)) * 5
SHEET = VIDEO[::-1]
BINS = ["[-1, -0.5)", "[-0.5, 0)", "0", "(0, 0.5]", "(0.5, 1]"]
FRAMES = [10, 30, 940, 20, 0]
DRAWN = [[8, 9, 8, 7, 0], [7, 8, 9, 8, 0]]
SKILLS = {"steering": (0.412, 0.8125), "throttle": (-0.1375, 0.21), "brake": (None, None)}
UNITS = {"steering": "share of full lock", "throttle": "share of full throttle", "brake": "bar"}
# Steering over 1 s and over 2 s; the other heads do not turn the car.
WINDOWS = [
    {"seconds": 1.0, "ratio": 0.5423, "interval": [0.4311, 0.7049], "constant_ratio": 0.6011},
    {"seconds": 2.0, "ratio": 0.4123, "interval": None, "constant_ratio": None},
]
SCORES = [925.14, 1003.26, -12.55]


def metrics_line(step, drawn):
    line = {"step": step, "train/learning_rate": 1e-3, "train/gradient_norm": 2.5}
    line |= {"train/images_per_second": 4000.0 + step / 1000, "train/waiting_share": 0.25}
    for head, (_, skill) in SKILLS.items():
        for part in ("train", "validation"):
            mse = 0.0 if skill is None else 0.1
            line |= {f"{part}/{head}/mse": mse, f"{part}/{head}/skill": skill}
        line[f"train/{head}/drawn"] = drawn
        line[f"train/{head}/common_gradient_norm"] = 0.5 * step
        # In the first line alone.
        line[f"train/{head}/alarm"] = int(head == "brake" or (head == "throttle" and drawn[0] == 8))
    steering = {"ratio": 0.6, "low": 0.5, "high": 0.7, "windows": 118, "stretches": 12, "r2": 0.7}
    line |= {f"validation/steering/windowed_{name}": value for name, value in steering.items()}
    for one, other in itertools.combinations(SKILLS, 2):
        line[f"train/gradient_cosine_{one}_{other}"] = None if "brake" in (one, other) else -0.25
    return line


def correlation_of_a_run():
    """Brake's label is constant, so it goes together with nothing."""
    matrix = {
        one: {other: None if "brake" in (one, other) else 0.5 for other in SKILLS} for one in SKILLS
    }
    together = {"heads": ["brake", "throttle"], "labels": 0.0, "predictions": 0.123}
    return {"labels": matrix, "predictions": matrix, "pressed": 0.05, "together": [together]}


def model_of_a_run():
    """A network with one layer of a backbone, a common one and one of each head."""
    rows = [("backbone", "backbone/Conv_0", "Conv 5x5", [21, 24, 16], 1216, 32)]
    rows += [("common", "common_0", "Dense", [64], 147_584, 0)]
    rows += [(head, f"{head}_output", "Dense", [1], 33, 0) for head in SKILLS]
    fields = ("part", "name", "kind", "output", "trainable", "statistics")
    layers = [dict(zip(fields, row, strict=True)) for row in rows]
    return {
        "backbone": "SmallNet",
        "inputs": {"image": [42, 48, 3], "speed": []},
        "features": [2304],
        "layers": layers,
        "stages": layers,
        "heads": list(SKILLS),
        "total": {"trainable": 148_899, "statistics": 32},
    }


BIN_TEXTS = [{"text": text, "low": -1.0, "high": 1.0} for text in BINS]


def balance_of_a_run():
    plan = [
        {"frames": n, "planned_share": 0.25 * (n > 0), "repeats_per_pass": 250 / n if n else None}
        for n in FRAMES
    ]
    bins = [a | b for a, b in zip(BIN_TEXTS, plan, strict=True)]
    heads = {head: {"label": head, "unit": UNITS[head], "bins": list(bins)} for head in SKILLS}
    return {"mode": "v2", "heads": heads}


def evaluation_of_a_run():
    errors = [{"frames": n, "mae": 0.5 if n else None} for n in FRAMES]
    steering = {
        "windows": 118,
        "stretches": 12,
        "rmse": 0.0222,
        "straight_on": 0.0333,
        "constant": 0.03,
        "constant_interval": [0.5, 0.8],
        "r2": 0.7111,
        "correlation": 0.8222,
    }
    return {
        "step": 1500,
        "split": "test",
        "frames": 1432,
        "images_per_second": 8123.0,
        "correlation": correlation_of_a_run(),
        "assumed_rate": None,
        "windowed": {"steering": [steering | window for window in WINDOWS]},
        "heads": {
            head: {
                "natural": {"mse": 0.0123, "mae": 0.0678, "skill": natural},
                "constant": {"value": 0.0, "mae": 0.0456, "zeros": 0.94},
                "balanced": {"mse": 0.0345, "mae": 0.156, "skill": balanced},
                "bins": [a | b for a, b in zip(BIN_TEXTS, errors, strict=True)],
            }
            for head, (natural, balanced) in SKILLS.items()
        },
    }


def results_of_a_run():
    """The JSON files of a whole run, by name; brake's label is constant."""
    tracks = [
        {"seed": 70 + i, "score": s, "finished": s > 0, "off_road_share": 0.0125, "steps": 741 + i}
        for i, s in enumerate(SCORES)
    ]
    return {
        "config": {"heads": {head: {"note": HOSTILE} for head in SKILLS}, "seed": 3, "empty": {}},
        "run": {
            "command": "python launch.py train",
            "versions": {"jax": "0.10.0"},
            "machine": {"memory_bytes": 16.2e9, "devices": ["TFRT_CPU_0"] * 8},
            "dataset": {"frames": {"train": 22000, "test": 1432}, "bytes": 512},
            "parameters": 178243,
            "wall_time_seconds": {"train": 125.0, "drive": 40.1},
            "stopped": None,
            "changes": [
                {"step": 1500, "field": "optim.learning_rate", "before": 1e-3, "after": 1e-4}
            ],
        },
        "model": model_of_a_run(),
        "balance": balance_of_a_run(),
        "evaluation": evaluation_of_a_run(),
        "drive": {
            "step": 1500,
            "mean": 638.62,
            "std": 461.7,
            "finished": 2,
            "predictions_per_second": 1200.0,
            "off_road_share": 0.0125,
            "tracks": tracks,
            "action_repeat": 2,
        },
        "drive_recoloured": {
            "step": 3000,
            "mean": 26.8,
            "std": 252.6,
            "finished": 0,
            "tracks": tracks,
        },
        "drive_steps": {"ages": [{"step": 500, "mean": 310.0, "std": 220.0}]},
    }


def fill(workdir, leave_out=()):
    workdir.mkdir(parents=True, exist_ok=True)
    for name, content in results_of_a_run().items():
        if f"{name}.json" not in leave_out:
            (workdir / f"{name}.json").write_text(json.dumps(content))
    if "metrics.jsonl" not in leave_out:
        lines = [json.dumps(metrics_line(123_456 * (i + 1), row)) for i, row in enumerate(DRAWN)]
        (workdir / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    if "drive.mp4" not in leave_out:
        (workdir / "drive.mp4").write_bytes(VIDEO)
    if "heldout.png" not in leave_out:
        (workdir / "heldout.png").write_bytes(SHEET)
    return workdir
