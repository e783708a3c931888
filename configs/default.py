"""Every field of a configuration, with its meaning. The other files are deltas of this one."""

from ml_collections import ConfigDict, FieldReference


def get_config() -> ConfigDict:
    """The configuration that other files start from."""
    config = ConfigDict()

    # Seeds parameters and the order of examples.
    config.seed = 0
    # Updates to make. Durations are in steps, or in epochs: "20 epochs"; an epoch is as many draws
    # of every head as there are training frames.
    config.num_steps = duration(1000)
    # Examples of each head in an update, over all devices and processes.
    config.batch_size = 64
    _draws(config)
    # "one": one pass over all heads' batches. "separate": one after the other, same numbers.
    # "auto": the faster one on this platform.
    config.passes = "auto"
    # "shard_map", or "pmap" (one process).
    config.partition = "shard_map"
    # Where compiled programs are kept, so that the next start loads them: "auto", the folder
    # `compiled` in data.dir; a local folder; or "off". At most 256 MB for each kind of CPU, number
    # of cores and version of JAX. Entries are executables: share a folder only with people whose
    # programs you would run.
    config.compilation_cache = "auto"
    # "auto": float32 convolutions on a CPU use oneDNN where the extra `native` is installed (pip
    # install -e '.[native]'); "off": they use JAX alone. The numbers agree within rounding.
    config.native = "auto"

    # Weights that a new run starts from: the folder of another run, whose best checkpoint is taken,
    # or a file that Keras saved (.weights.h5, .keras, .h5). "" = drawn at random. A run that goes
    # on from its own checkpoint does not look at it.
    config.init_from = ""
    # What of them: "backbone", or "all", which takes the common part and the heads too where they
    # are there.
    config.init_part = "backbone"

    # How often lines go to the console and to metrics.jsonl.
    config.log_every = duration(100)
    # How often held-out frames are measured; 0 = never.
    config.eval_every = duration(500)
    # How often a checkpoint is saved that a run goes on from.
    config.checkpoint_every = duration(500)
    # Checkpoints at multiples of this are kept for good; 0 = only the latest and the best.
    config.keep_every = duration(0)
    # How often the heads' gradients are compared at what they share; 0 = never.
    config.gradients_every = duration(100)
    # What says on held-out frames which checkpoint is the best: the mean over heads of the skill on
    # "natural" frames, or "balanced"; or of one head "HEAD:natural", "HEAD:balanced", or
    # "HEAD:windowed", how well its means over a second follow the driver (R2).
    config.best_by = "natural"
    # Ends a run whose held-out skill has not risen by more than min_improvement for so long; 0 =
    # never.
    config.early_stopping = ConfigDict({"patience": duration(0), "min_improvement": 0.0})
    config.alarm = _alarm()

    config.heads = _heads()
    config.data = _data()
    # Recorded scalars that are inputs beside the picture, and the factor that brings each to about
    # 0 to 1.
    config.scalars = ConfigDict({"speed": 0.01})
    config.loader = _loader()
    config.augment = _augment()
    config.model = _model()
    config.optim = _optim()

    config.drive = ConfigDict()
    # Tracks to drive after training: seeds 0, 1, ...; 0 = do not drive.
    config.drive.tracks = 20
    return config


def _draws(config: ConfigDict) -> None:
    """Which examples a head draws, and which it learns from."""
    # Which examples a head draws. "none": every frame equally. "v2": every bin of its label
    # equally. "v3": as v2, and every head learns from every image. "v4": as v3, with frames
    # inside a bin chosen so that the other heads' labels come out even too. "v1": every
    # combination of all heads' joint_bins equally.
    config.balance = "v2"
    # Of v2 and v3: how equally bins are drawn, from 0, frames as recorded, to 1, equally: a bin
    # of n frames is drawn as often as n^(1 - balance_power) says.
    config.balance_power = 1.0
    # Of v2 and v3: n is smoothed over the neighbouring bins by a Gaussian with this standard
    # deviation in the label's unit, since images of similar labels are similar. 0 = no smoothing.
    config.balance_smoothing = 0.0
    # Of v2 and v3: no frame is drawn more than so many times as often as an average one. 0 = no
    # limit.
    config.balance_limit = 0.0
    # What is drawn: "none", frames as recorded; "fourteen", the views of every frame, which are 7
    # changes of its brightness (as it is; V of HSV x 0.25 and 1.25; gamma 0.5, 1.5, 2 and 2.5),
    # each also mirrored. An epoch is one pass over all that is drawn from.
    config.views = "none"
    # "own": a head learns from its own batch alone. "all": every head learns from every image.
    # "auto": "own" for none and v2, "all" for v1, v3 and v4.
    config.supervise = "auto"


def _heads() -> ConfigDict:
    """Outputs of the network.

    target = label / scale, clipped to [low, high]; bins divide the target's range, and atoms are
    exact values with a bin of their own; joint_bins are those of balance "v1".
    A mirrored picture multiplies the label by `mirror`; `corrections` are added to the labels of
    the cameras left and right of the middle.
    """
    learning = {
        # "regression" says the target, "classification" how likely each bin is.
        "kind": "regression",
        # What a regression minimises: "squared", "absolute" or "huber" error, which grows linearly
        # above delta; or "balanced_squared" error. With that one it learns from frames drawn in any
        # way, such as balance "none", what it would learn if all labels were equally frequent;
        # noise is the standard deviation of what images do not say. Delta and noise are in the
        # target's range. A classification minimises cross-entropy.
        "loss": "squared",
        "delta": 0.1,
        "noise": 0.1,
        # How a classification drives: "expectation" over the bins, each standing for its centre,
        # or "argmax", the likeliest bin.
        "decode": "expectation",
        # By which distribution of bins a classification decides: as they were "drawn" in training,
        # or as they were "recorded", whatever balance it learned with.
        "prior": "drawn",
        # Factor on the head's loss in the sum of all. Cross-entropy is some 50 times as large as a
        # squared error: beside regressions, 0.05 keeps it from drowning them.
        "weight": 1.0,
        # What is learned of a label, in seconds: its mean over so long before and after, for a
        # driver who steers in presses; and as it is so much later, for one who reacts late. Scores
        # are measured against labels as recorded.
        "smooth_seconds": 0.0,
        "lead_seconds": 0.0,
    }
    return ConfigDict(
        {
            "steering": {
                **learning,
                "label": "steering",
                "unit": "share of full lock",
                "scale": 1.0,
                "low": -1.0,
                "high": 1.0,
                "bins": {"edges": fixed_width(-10, 10), "atoms": (0.0,)},
                "joint_bins": {
                    "edges": (-1.0, -0.6, -0.2, 0.0, 0.2, 0.6, 1.0),
                    "atoms": (-1.0, 0.0, 1.0),
                },
                "mirror": -1.0,
                "corrections": {"left": 0.25, "right": -0.25},
            },
            "throttle": {
                **learning,
                "label": "throttle",
                "unit": "share of full throttle",
                "scale": 1.0,
                "low": 0.0,
                "high": 1.0,
                "bins": {"edges": fixed_width(0, 10), "atoms": (0.0, 1.0)},
                "joint_bins": {"edges": (0.0, 0.2, 0.8, 1.0), "atoms": (0.0, 1.0)},
                "mirror": 1.0,
                "corrections": {},
            },
            "brake": {
                **learning,
                "label": "brake",
                "unit": "share of full braking",
                "scale": 1.0,
                "low": 0.0,
                "high": 1.0,
                "bins": {"edges": fixed_width(0, 10), "atoms": (0.0, 1.0)},
                "joint_bins": {"edges": (0.0, 0.2, 0.8, 1.0), "atoms": (0.0, 1.0)},
                "mirror": 1.0,
                "corrections": {},
            },
        }
    )


def _alarm() -> ConfigDict:
    """When to warn of a head that learns nothing, by its training batches; patience 0 = never."""
    alarm = ConfigDict()
    # Predictions of a batch have differed by less than this share of what its labels do (standard
    # deviations) for so long: the head says the same to every picture.
    alarm.min_spread = 0.05
    alarm.spread_patience = duration(200)
    # Skill has been below this for so long: the head is no better than a constant.
    alarm.min_skill = 0.05
    alarm.skill_patience = duration(500)
    return alarm


def pedals_head() -> ConfigDict:
    """One head in place of throttle and brake: throttle minus brake, from -1 to 1."""
    pedals = _heads()["steering"]
    pedals.label = "pedals"
    pedals.unit = "throttle minus brake"
    pedals.mirror = 1.0
    pedals.corrections = {}
    return pedals


def _data() -> ConfigDict:
    data = ConfigDict()
    # Where recordings come from: "car_racing" drives and records them when they are needed,
    # "udacity" reads those of the Udacity simulator in data.path, "donkey" tubs of Donkeycar there,
    # "tfds:NAME/CONFIG" a dataset of TensorFlow Datasets, see data.tfds.
    data.source = "car_racing"
    # Folder of the recordings, any folders below it included; of TFDS's datasets ("" = where it
    # keeps them); for car_racing unused.
    data.path = ""
    # Frames a second of recordings that have no usable clock.
    data.frames_per_second = 20.0
    # What to do with a row of a recording that no frame can be made of (no picture, a damaged one,
    # a label that is no number): "skip" counts and lists it in the dataset's manifest, "fail" ends.
    data.on_bad = "skip"
    # Recordings are split in blocks of block_seconds (0 = whole sessions; blocks are to be shorter
    # than sessions), these shares for validation and test; frames nearer than gap_seconds to a
    # block of another split are used by none. car_racing records episodes for each instead.
    # For cross-validation folds replaces the shares: blocks are dealt to so many folds in the order
    # of time; fold is the test split, the next fold the validation split. folds = 0: shares.
    data.split = ConfigDict(
        {
            "block_seconds": 0.0,
            "gap_seconds": 0.0,
            "validation": 0.1,
            "test": 0.1,
            "folds": 0,
            "fold": 0,
        }
    )
    # A prepared dataset to use instead (the folder with manifest.json); "" = prepare one.
    data.prepared = ""
    # Share of the training frames to use: 0.1 for a quick try.
    data.fraction = 1.0
    # Which features of a TFDS dataset are what: "observation/image" is nested, "action/0" an entry
    # of an array, "" is not there. Times are seconds; without them, frames_per_second tells.
    # Without sessions, each of its splits is one.
    data.tfds = ConfigDict(
        {
            "image": "image",
            "labels": {"steering": "steering", "throttle": "", "brake": "", "speed": ""},
            "session": "",
            "time": "",
            "camera": "",
        }
    )
    # Where prepared datasets are kept; runs share them.
    data.dir = "datasets"
    # Episodes to record for training, for choosing checkpoints, and for the final numbers.
    data.episodes = 20
    data.validation_episodes = 4
    data.test_episodes = 4
    # Standard deviation of the noise on the expert's steering while it records, as a share of full
    # lock; labels stay the expert's.
    data.noise = 0.2
    # Records made-up key presses instead of the expert's steering: the same on average, but exactly
    # 0 in most frames, as of a driver at a keyboard. Only the labels change: the expert drives.
    data.key_presses = False
    # Simulator steps (1/50 s) for which an action is held; one frame is kept for each.
    data.action_repeat = 2
    # Simulator steps after which an episode ends.
    data.max_steps = 1000
    # Rows to cut off above and below, then the size to resize to: "stretch" fills it, "pad" and
    # "crop" keep the picture's proportions and add black, or cut off what is over.
    data.crop_top = 0
    data.crop_bottom = 0
    data.height = 96
    data.width = 96
    data.resize = "stretch"
    return data


def _loader() -> ConfigDict:
    loader = ConfigDict()
    # Threads that read batches, and batches read ahead.
    loader.threads = 2
    loader.prefetch = 4
    return loader


def _augment() -> ConfigDict:
    """Random changes of training pictures, on the device; a strength of 0 switches each off.

    A schedule ((step, factor), ...) multiplies the strength, linear between its steps and held at
    both ends; () = full strength throughout.
    """
    augment = ConfigDict()
    # Mirrors a picture with this probability: labels by heads.*.mirror, left and right cameras
    # swapped before their correction.
    augment.flip = ConfigDict({"probability": 0.0, "schedule": ()})
    # Moves a picture by up to so many of its pixels, sideways and along (up or down);
    # label_per_pixel is what a head's label changes by for every pixel to the right.
    augment.shift = ConfigDict(
        {"sideways": 0, "along": 0, "label_per_pixel": {"steering": 0.0}, "schedule": ()}
    )
    # Factor on all values, drawn from 1 + bias - spread to 1 + bias + spread; what comes out too
    # bright is cut off, each colour by itself. The popular 0.25 to 1.25: bias -0.25, spread 0.5.
    augment.brightness = ConfigDict({"spread": 0.0, "bias": 0.0, "schedule": ()})
    # Exponent of values in 0 to 1, drawn from exp(-spread) to exp(spread).
    augment.gamma = ConfigDict({"spread": 0.0, "schedule": ()})
    # New colours of red, green and blue about mid-grey: the unit matrix, each diagonal entry
    # negative with probability invert, plus entries of -spread to spread; then an offset of each
    # colour, as a share of full brightness. Done to a picture with this probability.
    augment.colour_mix = ConfigDict(
        {"probability": 1.0, "spread": 0.0, "offset": 0.0, "invert": 0.0, "schedule": ()}
    )
    # Cuts off up to so many of a picture's rows above and below, and stretches the rest.
    augment.crop = ConfigDict({"top": 0, "bottom": 0, "schedule": ()})
    # A shadow over one side of a line from the upper edge to the lower one, with this probability:
    # lightness is the factor on the lightness (HLS) there.
    augment.shadow = ConfigDict({"probability": 0.0, "lightness": 0.5, "schedule": ()})
    # Factors drawn from 1 - spread to 1 + spread: on the distance of all values from the picture's
    # mean, and on saturation (HSV).
    augment.contrast = ConfigDict({"spread": 0.0, "schedule": ()})
    augment.saturation = ConfigDict({"spread": 0.0, "schedule": ()})
    # Turn of all hues (HSV), drawn from -spread to spread as a share of the circle: at 0.5, any.
    augment.hue = ConfigDict({"spread": 0.0, "schedule": ()})
    # Gaussian blur, its standard deviation drawn from 0 to sigma pixels.
    augment.blur = ConfigDict({"sigma": 0.0, "schedule": ()})
    # Gaussian noise on each colour of each pixel: its standard deviation as a share of full
    # brightness.
    augment.noise = ConfigDict({"std": 0.0, "schedule": ()})
    # Rows whose label of `head`, after all changes, is nearer to 0 than `below` (in its unit) count
    # for nothing with this probability. A schedule that lowers it keeps ever more of them. It
    # thins the batches that know this label: with supervise "own", those of `head` alone.
    augment.small_angles = ConfigDict(
        {"probability": 0.0, "below": 0.15, "head": "steering", "schedule": ()}
    )
    # Strength of the views of config.views: of their change of brightness, and the share of the
    # mirrored ones that are mirrored.
    augment.views = ConfigDict({"schedule": ()})
    return augment


def _model() -> ConfigDict:
    model = ConfigDict()
    # "small"; "pilotnet" for pictures of 66 x 200; "pilotnet_same", "first_net" and
    # "small_inception" for those of 320 columns, see configs/udacity.py; or "xception".
    model.backbone = "small"
    # What the backbone computes in, "float32" or "bfloat16"; parameters, statistics of batches,
    # heads and losses stay float32.
    model.compute_dtype = "float32"
    # Output channels of the small backbone's convolutions, each of which halves the picture.
    model.channels = (16, 32, 64)
    # Batch normalisation after convolutions (xception, pilotnet_same and small_inception always
    # have it, pilotnet and first_net never); sync = statistics over all devices together.
    model.batch_norm = ConfigDict({"use": False, "sync": True, "momentum": 0.99, "epsilon": 1e-3})
    # Share of the backbone's features that training drops at random, in every row anew (0.5 is
    # usual); 0 = none.
    model.dropout = 0.0
    # Widths of the dense layers common to all heads, and of each head's own before its output.
    model.common = (64,)
    model.head = (32,)
    # What the first weights of dense layers are drawn from: "lecun_normal", "glorot_uniform" (the
    # published networks) or "he_normal".
    model.dense_init = "lecun_normal"
    return model


def _optim() -> ConfigDict:
    optim = ConfigDict()
    # "adam", "adamw" or "sgd" with momentum.
    optim.name = "adam"
    optim.momentum = 0.9
    # The learning rate rises over warmup_steps, then is "constant", falls to 0 ("cosine"), or is
    # multiplied by a factor at each step of `steps`: ((2000, 0.1), ("20 epochs", 0.5)).
    optim.learning_rate = 1e-3
    optim.schedule = "cosine"
    optim.warmup_steps = duration(50)
    optim.steps = ()
    # Weight decay (adam, sgd: added to the gradient; adamw: to the update), and the gradient's
    # largest norm; 0 = without.
    optim.weight_decay = 0.0
    optim.clip_norm = 0.0
    # Exponential moving average of the parameters: the share of it that an update keeps (0.999 is
    # usual), less in the first updates; 0 = none. Held-out frames are measured with the average and
    # checkpoints hold it as the model.
    optim.ema = 0.0
    return optim


def duration(value: int | str) -> FieldReference:
    """A field that takes a number of steps, or text such as "20 epochs"."""
    return FieldReference(value, field_type=object)


def fixed_width(first: int, last: int) -> tuple[float, ...]:
    """Edges of bins of width 0.1, from first / 10 to last / 10."""
    return tuple(index / 10 for index in range(first, last + 1))
