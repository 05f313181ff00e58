"""What a first panoptic profile has beyond one of instances: one model that makes the map, what it goes by, its cost.

Pure functions. Two models and their fusion score higher, and are two trainings; whether data and classes hold what is
hoped for one model tells.
"""

from dataclasses import dataclass

import numpy as np

from fineseg.proposal.measure import Machine, Stuff
from fineseg.proposal.propose import INSTANCES, Cost, Model, Scale, smallest_anchor

SCORES = {"cpu": 0.4, "gpu": 0.6}
"""What an object of the map must score: as demo models that were trained for minutes, and as published for UPSNet."""
LOST_STUFF = 0.2
"""Part of the true stuff segments that may become void by being small. Below 4096 pixels, the limit of COCO's rule and
of UPSNet, lie 22 % of those of 100 training images of COCO, and 1 % of their pixels."""
ENOUGH = 10
"""Segments that a class has to have for its own areas to count."""


@dataclass(frozen=True)
class MapRules:
    """What becomes part of a map: the least `score` of an object, and the least area [square pixels] of stuff."""

    score: float
    stuff_area: int
    why_score: str
    why_area: str


def map_rules(stuff: Stuff, machine: Machine) -> MapRules:
    """Propose what becomes part of a map, by the machine's model and the areas of the true stuff.

    Stuff may be so small that `LOST_STUFF` of all its segments are lost, and not more than half of any class's.
    """
    areas = stuff.every
    limit, name = float(np.quantile(areas, LOST_STUFF, method="lower")), ""
    for each, own in stuff.areas:
        if len(own) >= ENOUGH and np.median(own) < limit:
            limit, name = float(np.median(own)), each
    area = int(limit)
    lost = float(np.mean(areas < area))
    told = "as published for COCO" if machine.gpus else "a small model is seldom surer"
    return MapRules(
        SCORES["gpu" if machine.gpus else "cpu"],
        area,
        f"an object of the map scores more than this: {told}; another value needs no training",
        f"stuff of fewer pixels becomes void; {lost:.0%} of the true segments have fewer"
        + (f", and half of those of class {name}" if name else ""),
    )


def panoptic_model(scale: Scale, machine: Machine) -> Model:
    """Choose by the machine, and by how small objects are in the scaled image."""
    small = not machine.gpus
    why = f"{machine.words()}: {'a small network' if small else 'a network of 50 layers'}; one model that "
    why += "tells things and stuff and joins them, so that nothing is to be fused yet"
    anchor, why_anchor = smallest_anchor(scale)
    return Model(small, False, anchor, why, why_anchor)


def panoptic_cost(classes: int) -> Cost:
    """Return what training takes with so many classes of things and stuff: each has a score at each pixel.

    Seconds of a CPU are those of instances times what the small model took beside that one, in steps of two and four
    photographs of 256 x 192 and 384 x 288 pixels: 3.1 to 3.7 times as much with 12 classes, 3.8 to 4.7 with 133; memory
    is what it took, 1.3 to 2.9 GiB. Nobody publishes either for a GPU. There time is taken to be twice that of
    instances: the semantic branch has 0.4 of their multiplications, most of them deformable, which are slow. Memory is
    counted by hand: 0.6 GiB a megapixel for the branch, and four values a class and pixel. The rate on a CPU is one at
    which sixteen photographs were learnt by heart; five times as much ruined the ImageNet backbone.
    """
    return Cost(
        cpu_seconds=19 + 0.04 * classes,
        gpu_seconds=2 * INSTANCES.gpu_seconds,
        cpu_memory=(1.1, 2.3 + 0.014 * classes),
        gpu_memory=(1.0, 2.3 + 0.014 * classes),
        cpu_rate=1.5e-4,
    )
