"""Numbers of a first profile from numbers of the data and the machine, each with the reason that made it.

Pure functions. Costs on a CPU were measured on the small model, with photographs scaled to 192 to 256 pixels: 0.30
core-seconds an image of 0.05 megapixels on two loaded cores (0.13 on quiet ones), 1.2 GiB with two in a step. Those on
a GPU are what open-mmlab's model zoo publishes for ResNet-50: 4.6 GB for two images of 1.07 megapixels, 0.2 s each on a
V100.
"""

import math
from dataclasses import dataclass

import numpy as np

from fineseg.data.sizes import AreaRanges, propose_ranges, shares
from fineseg.metrics.mask_ap import COCO_AREA_RANGES
from fineseg.proposal.measure import Machine, Measured

STRIDE = 32
"""Sides are whole multiples of the coarsest map's stride."""
SEEN = 32
"""Side [pixels] at which a network sees a small object: the area that COCO's small objects end at."""
LONG_SIDES = {"cpu": (256, 384), "gpu": (512, 1344)}
"""Smallest and largest long side of a scaled image."""
FINEST_MASK = 28
"""Side of a plain mask head's mask; objects twice as large lose their outline in it."""
RARE_SHARE = 0.1
"""Part of the objects that an area range must hold for its score to mean something."""
DETECTIONS = (100, 200, 300, 500, 1000, 2000)
LIMITS = (1, 10)
USED_MEMORY = 0.8
"""Part of the free memory that a training may take."""

CPU_BUDGET = 600.0
"""Seconds that a training on a CPU is meant to take."""
GPU_IMAGES = 60_000
"""Images that a training from ImageNet weights should have seen; and never less than `GPU_EPOCHS` times each."""
GPU_EPOCHS = 12
MOST_EPOCHS = {"cpu": 24, "gpu": 72}
BATCHES = {"cpu": (2, 1), "gpu": (16, 8, 4, 2, 1)}
SGD_RATE = 0.02 / 16
"""Learning rate of SGD for each image of a batch (arXiv 1706.02677)."""


@dataclass(frozen=True)
class Cost:
    """What training models of a kind takes, on a CPU the small one.

    Seconds, those of a core or of a GPU, are a megapixel and image; memory is the GiB of a process, and of each
    megapixel in a step. `cpu_rate` is the learning rate of AdamW for each image of a batch.
    """

    cpu_seconds: float
    gpu_seconds: float
    cpu_memory: tuple[float, float]
    gpu_memory: tuple[float, float]
    cpu_rate: float


INSTANCES = Cost(cpu_seconds=5.2, gpu_seconds=0.2, cpu_memory=(0.9, 2.6), gpu_memory=(1.0, 1.7), cpu_rate=2.5e-4)


@dataclass(frozen=True)
class Scale:
    """Size of a scaled image [pixels]; `short` is drawn from `shorter` to `short` in training."""

    long: int
    short: int
    shorter: int
    small_object: float
    why: str

    @property
    def megapixels(self) -> float:
        """Mean area of a training image, whose side is drawn evenly between the two."""
        part = self.shorter / self.short
        return self.long * self.short * (1 + part + part**2) / 3e6


@dataclass(frozen=True)
class Ranges:
    """Area ranges [square pixels], None for COCO's own."""

    ranges: AreaRanges | None
    why: str


@dataclass(frozen=True)
class Limits:
    """Detections: limits of the metric a class and image, and how many a model gives an image."""

    metric: tuple[int, ...]
    an_image: int
    why: str


@dataclass(frozen=True)
class Model:
    """Which model: `small` for CPUs, masks `rendered` point by point or plain, `anchor` scale in strides."""

    small: bool
    rendered: bool
    anchor: int
    why: str
    why_anchor: str


@dataclass(frozen=True)
class Fit:
    """What fits the machine: images a step, processes, epochs and rate; `gib` and `seconds` are what it will take."""

    batch: int
    workers: int
    epochs: int
    lr: float
    warmup: int
    gib: float
    seconds: float
    why_batch: str
    why_epochs: str


def image_scale(data: Measured, machine: Machine) -> Scale:
    """Propose a size at which a tenth of the objects at most are smaller than `SEEN`, within the machine's means.

    A CPU gets no more than that takes; a GPU gets the images' own size where that is larger.
    """
    own = float(np.median(data.long_sides))
    tenth = float(np.quantile(data.relative, 0.1))
    low, high = LONG_SIDES["gpu" if machine.gpus else "cpu"]
    wanted = SEEN / tenth
    chosen = max(own, wanted) if machine.gpus else min(wanted, own)
    long = _multiple(min(max(chosen, low), high))
    aspect = float(np.quantile(data.short_sides / data.long_sides, 0.9))
    short = min(long, max(STRIDE, _multiple(long * aspect)))
    seen = tenth * long
    why = (
        f"images are {_sides(data)}; a tenth of the objects are smaller than {tenth:.1%} of the long side: "
        f"{seen:.0f} pixels here"
    )
    if seen < SEEN:
        why += f", where {SEEN} would be better ({_multiple(wanted)}): small objects will be missed"
    elif not machine.gpus and own > long:
        why += ", enough for a start; larger costs time in proportion to the area"
    return Scale(long, short, min(short, max(STRIDE, _multiple(0.75 * short))), seen, why)


def area_ranges(data: Measured) -> Ranges:
    """Keep COCO's ranges where each holds enough objects, else take terciles."""
    coco = shares(data.pixels, COCO_AREA_RANGES)
    told = "COCO's ranges (edges 32 and 96 pixels) hold " + " / ".join(f"{part:.0%}" for part in coco.values())
    if min(coco.values()) >= RARE_SHARE:
        return Ranges(None, f"{told} of the {len(data.pixels)} objects")
    found = propose_ranges(data.pixels)
    if found is None:
        return Ranges(None, f"{told} of the {len(data.pixels)} objects; these are too alike for other ranges")
    edges = [math.sqrt(high) for _, high in list(found.values())[:-1]]
    return Ranges(found, f"{told} of the objects; these edges, {edges[0]:.0f} and {edges[1]:.0f} pixels, a third each")


def detections(data: Measured) -> Limits:
    """Propose limits that no true object falls victim to, and a quarter more a model's image than the fullest has."""
    metric = _at_least(data.most_of_a_class)
    image = max(metric, _at_least(math.ceil(1.25 * data.most)))
    why = f"the fullest image has {data.most} objects, {data.most_of_a_class} of one class"
    return Limits((*LIMITS, metric), image, why)


def model(data: Measured, scale: Scale, machine: Machine) -> Model:
    """Choose by the machine and by how large objects are in the scaled image."""
    median = float(np.median(data.relative)) * scale.long
    rendered = median > 2 * FINEST_MASK
    small = not machine.gpus
    why = f"{machine.words()}: {'a small network' if small else 'a network of 50 layers'}; half of the objects are "
    if rendered:
        why += f"larger than {median:.0f} pixels, which a mask of {FINEST_MASK} x {FINEST_MASK} would draw coarsely"
    else:
        why += f"smaller than {median:.0f} pixels, for which a mask of {FINEST_MASK} x {FINEST_MASK} is fine enough"
    anchor, why_anchor = smallest_anchor(scale)
    return Model(small, rendered, anchor, why, why_anchor)


def smallest_anchor(scale: Scale) -> tuple[int, str]:
    """Return the scale of the anchors in strides of the finest level, 4 pixels, and why."""
    anchor = 8 if scale.small_object >= SEEN else 4
    return anchor, f"smallest anchors of {4 * anchor} pixels; a tenth of the objects are below {scale.small_object:.0f}"


def fit(scale: Scale, machine: Machine, trained_on: int, cost: Cost = INSTANCES) -> Fit:
    """Fit batch and epochs to memory and time; `trained_on` is the number of training images."""
    kind = "gpu" if machine.gpus else "cpu"
    base, each = cost.gpu_memory if machine.gpus else cost.cpu_memory
    free = min(machine.gpus) if machine.gpus else machine.memory
    pixels = scale.long * scale.short / 1e6
    own = [batch for batch in BATCHES[kind] if base + each * pixels * batch <= USED_MEMORY * free]
    fits, workers = bool(own), max(1, len(machine.gpus))
    alone = next((batch for batch in own if batch * workers <= max(2, trained_on // 20)), own[-1] if own else 1)
    gib, batch = base + each * pixels * alone, alone * workers
    seconds_each = scale.megapixels * (cost.gpu_seconds / workers if machine.gpus else cost.cpu_seconds / machine.cores)
    epochs, why = _epochs(kind, trained_on, seconds_each)
    steps = max(1, epochs * trained_on // batch)
    where = "on each GPU" if machine.gpus else "of memory"
    why_batch = f"{alone} image{'s' * (alone != 1)} of {scale.long} x {scale.short} take about {gib:.1f} GiB {where}"
    why_batch += f", {free:.0f} are free" if fits else f": more than the {free:.1f} that are free can well hold"
    if kind == "cpu" and fits and alone == BATCHES[kind][0]:
        why_batch += "; more at a time make a CPU no faster"
    lr = (SGD_RATE if machine.gpus else cost.cpu_rate) * batch
    return Fit(
        batch, workers, epochs, lr, min(500, steps // 10), gib, seconds_each * trained_on * epochs, why_batch, why
    )


def _epochs(kind: str, images: int, seconds: float) -> tuple[int, str]:
    """Return epochs, at `seconds` an image, and why so many."""
    told = f"about {duration_words(seconds * images)} each for {images:,} images"
    if kind == "cpu":
        fitting = max(1, int(CPU_BUDGET / (seconds * images)))
        if fitting > MOST_EPOCHS[kind]:
            return MOST_EPOCHS[kind], f"{told}; more seldom help"
        return fitting, f"{told}; as many as {duration_words(CPU_BUDGET)} hold, and at least one"
    epochs = min(MOST_EPOCHS[kind], max(GPU_EPOCHS, math.ceil(GPU_IMAGES / images)))
    return epochs, f"{told} on a V100; {epochs * images:,} images seen"


def duration_words(seconds: float) -> str:
    """Return an estimated time in words."""
    if seconds < 90:
        return f"{max(1.0, seconds):.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def _sides(data: Measured) -> str:
    long, short = (f"{np.median(sides):.0f}" for sides in (data.long_sides, data.short_sides))
    alike = np.ptp(data.long_sides) == 0 and np.ptp(data.short_sides) == 0
    return f"{long} x {short}" if alike else f"{long} x {short} in the median"


def _multiple(side: float) -> int:
    return max(STRIDE, round(side / STRIDE) * STRIDE)


def _at_least(count: int) -> int:
    return next((limit for limit in DETECTIONS if limit >= count), math.ceil(count / 1000) * 1000)
