"""The balancer goes with any head: every loss of theirs is of a task, and every task that they name has losses."""

from typing import Any

import pytest
import torch
from e_ups_cases import OPTIONS, STUFF, THINGS, drawn
from htc_cases import HEAD, small_htc
from small_models import small_model

from fineseg.catalog import Catalog, load_catalog
from fineseg.mm.balancing import add_balancer
from fineseg.mm.model import build_model
from fineseg.profile.schema import PartChoice

HEADS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "mask-rcnn": (dict(small_model("mask-rcnn").head.options), {"all"}),
    "htc": (HEAD, {"instance"}),
    "htc with semantics": ({**HEAD, "semantic": True}, {"instance", "semantic"}),
    "lwl-htc": (HEAD, {"instance", "semantic"}),
    "e-ups": (OPTIONS, {"instance", "semantic", "panoptic"}),
}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog(warn=lambda _: None)


@pytest.mark.parametrize("name", HEADS)
def test_every_loss_is_of_a_task(name: str, catalog: Catalog) -> None:
    options, tasks = HEADS[name]
    head = PartChoice(name=name.removesuffix(" with semantics"), **options)
    table = small_htc().model_copy(update={"head": head, "balancer": PartChoice(name="uncertainty")})
    torch.manual_seed(0)
    built = build_model(table, catalog, THINGS, weights_cache=None, num_stuff=STUFF)
    detector: Any = add_balancer(built, table, catalog).module.train()
    torch.manual_seed(1)
    losses = detector.loss(*drawn(2))
    total, logs = detector.parse_losses(losses)
    assert {key.removeprefix("task_weight.") for key in logs if key.startswith("task_weight.")} == tasks
    plain = sum(value for key, value in logs.items() if "loss" in key and key != "loss")
    torch.testing.assert_close(total, plain)  # at first every s is 0
    total.backward()
    slopes = detector.task_balancer.s.grad
    torch.testing.assert_close(slopes.sum(), len(tasks) / 2 - plain.detach())
    assert (slopes != 0.5).all()
