"""Every field of a configuration, with its meaning. The other files are deltas of this one."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The configuration that other files start from."""
    config = ConfigDict()

    # Seeds parameters and the order of examples.
    config.seed = 0
    # Updates to make.
    config.num_steps = 1000
    # Examples of each head in an update, over all devices and processes.
    config.batch_size = 64
    # Which examples a head draws: "none" = every frame alike, "v2" = every bin of its label alike.
    config.balance = "v2"
    # "own": a head learns from its own batch alone. "all": every head learns from every image.
    config.supervise = "own"
    # "one": one pass over all heads' batches. "separate": one after the other, same numbers, less
    # memory. "auto": the faster one on this platform.
    config.passes = "auto"
    # "shard_map", or "pmap" (one process).
    config.partition = "shard_map"

    # Steps between lines on the console and in metrics.jsonl.
    config.log_every = 100
    # Steps between measurements on held-out frames; 0 = never.
    config.eval_every = 500
    # Steps between checkpoints that a run goes on from.
    config.checkpoint_every = 500
    # Checkpoints at multiples of this step are kept for good; 0 = only the latest and the best.
    config.keep_every = 0

    # Outputs of the network. target = label / scale, clipped to [low, high]; bins divide the
    # target's range, and "atoms" are exact values with a bin of their own.
    config.heads = ConfigDict(
        {
            "steering": {
                "label": "steering",
                "unit": "share of full lock",
                "scale": 1.0,
                "low": -1.0,
                "high": 1.0,
                "bins": {"edges": fixed_width(-10, 10), "atoms": (0.0,)},
            },
            "throttle": {
                "label": "throttle",
                "unit": "share of full throttle",
                "scale": 1.0,
                "low": 0.0,
                "high": 1.0,
                "bins": {"edges": fixed_width(0, 10), "atoms": (0.0, 1.0)},
            },
            "brake": {
                "label": "brake",
                "unit": "share of full braking",
                "scale": 1.0,
                "low": 0.0,
                "high": 1.0,
                "bins": {"edges": fixed_width(0, 10), "atoms": (0.0, 1.0)},
            },
        }
    )

    config.data = ConfigDict()
    # Where recordings come from: "car_racing" drives and records them when they are needed.
    config.data.source = "car_racing"
    # A prepared dataset to use instead (the folder with manifest.json); "" = prepare one.
    config.data.path = ""
    # Where prepared datasets are kept; runs share them.
    config.data.dir = "datasets"
    # Episodes to record for training, for choosing checkpoints, and for the final numbers.
    config.data.episodes = 20
    config.data.validation_episodes = 4
    config.data.test_episodes = 4
    # Standard deviation of the noise on the expert's steering while it records; labels stay clean.
    config.data.noise = 0.1
    # Simulator steps (1/50 s) for which an action is held; one frame is kept for each.
    config.data.action_repeat = 2
    # Simulator steps after which an episode ends.
    config.data.max_steps = 1000
    # Rows to cut off above and below, then the size to resize to.
    config.data.crop_top = 0
    config.data.crop_bottom = 0
    config.data.height = 96
    config.data.width = 96

    # Recorded scalars that are inputs beside the picture, and the factor that brings each to about
    # 0 to 1.
    config.scalars = ConfigDict({"speed": 0.01})

    config.loader = ConfigDict()
    # Threads that read batches, and batches read ahead.
    config.loader.threads = 2
    config.loader.prefetch = 4

    config.model = ConfigDict()
    config.model.backbone = "small"
    # Output channels of the backbone's convolutions, each of which halves the picture.
    config.model.channels = (16, 32, 64)
    # Batch normalisation after convolutions; sync = statistics over all devices together.
    config.model.batch_norm = ConfigDict(
        {"use": False, "sync": True, "momentum": 0.99, "epsilon": 1e-3}
    )
    # Widths of the dense layers common to all heads, and of each head's own before its output.
    config.model.common = (64,)
    config.model.head = (32,)

    config.optim = ConfigDict()
    # Adam's learning rate: rises over warmup_steps, then is "constant", or falls to 0 ("cosine").
    config.optim.learning_rate = 1e-3
    config.optim.schedule = "cosine"
    config.optim.warmup_steps = 50

    config.drive = ConfigDict()
    # Tracks to drive after training: seeds 0, 1, ...
    config.drive.tracks = 20

    return config


def fixed_width(first: int, last: int) -> tuple[float, ...]:
    """Edges of bins of width 0.1, from first / 10 to last / 10."""
    return tuple(index / 10 for index in range(first, last + 1))
