"""Small LWL-HTC detectors, alike in everything to the small HTC detectors of `htc_cases`."""

from typing import Any

import torch
from htc_cases import CLASSES, HEAD, STUFF, small_htc, spread

from fineseg.catalog import load_catalog
from fineseg.mm.model import BuiltModel, build_model
from fineseg.profile.schema import ModelTable, PartChoice

ROWS: dict[str, dict[str, Any]] = {
    "vanilla": {},
    "uncertainty": {"semantic_weight": 1.0, "balancer": PartChoice(name="uncertainty")},
    "dc-head": {"semantic": "deformable", "semantic_width": 8},
    "both": {
        "semantic": "deformable",
        "semantic_width": 8,
        "semantic_weight": 1.0,
        "balancer": PartChoice(name="uncertainty"),
    },
}
"""The paper's Table 2, as options of the head, and the balancer of the model."""


def small_lwl_htc(*, balancer: PartChoice | None = None, **options: Any) -> ModelTable:
    head = PartChoice(name="lwl-htc", **{**HEAD, **options})
    return small_htc().model_copy(update={"head": head, "balancer": balancer})


def built_lwl_htc(**options: Any) -> BuiltModel:
    """Build a small detector of 14 thing and 5 stuff classes whose stages say different things."""
    torch.manual_seed(3)
    catalog = load_catalog(warn=lambda _: None)
    built = build_model(small_lwl_htc(**options), catalog, CLASSES, weights_cache=None, num_stuff=STUFF)
    spread(built.module.roi_head)
    return built
