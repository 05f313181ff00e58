"""The balancer's formula: closed forms, gradients, where training rests, limits, precision, and what is refused."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from fineseg import FinesegError
from fineseg_lwl_htc.options import UncertaintyOptions
from fineseg_lwl_htc.uncertainty import UncertaintyWeights, uncertainty

FORMS = ("classification", "regression", "common")
TASKS = ("instance", "panoptic", "semantic")


def balancer(*tasks: str, **options: Any) -> UncertaintyWeights:
    return uncertainty(UncertaintyOptions(**options), tasks or TASKS)


def written_out(form: str, losses: dict[str, float], s: dict[str, float]) -> float:
    """Add up the paper's terms, one at a time."""
    total = 0.0
    for task, loss in losses.items():
        if form == "classification":
            total += loss / math.exp(s[task]) + math.log(math.sqrt(math.exp(s[task])))
        elif form == "regression":
            total += loss / (2 * math.exp(s[task])) + math.log(math.sqrt(math.exp(s[task])))
        else:
            total += math.exp(-s[task]) * loss + s[task]
    return total


@pytest.mark.parametrize("form", FORMS)
def test_total_and_weights_are_the_formulas(form: str) -> None:
    start = {"instance": 0.7, "semantic": -1.2}
    losses = {"semantic": 2.5, "instance": 0.31, "panoptic": 1.0}
    module = balancer(form=form, start=start)
    total, weights = module({task: torch.tensor(value) for task, value in losses.items()})
    s = {**start, "panoptic": 0.0}
    assert total.item() == pytest.approx(written_out(form, losses, s), rel=1e-5)
    factor = 0.5 if form == "regression" else 1.0
    assert {task: weight.item() for task, weight in weights.items()} == pytest.approx(
        {task: factor * math.exp(-s[task]) for task in losses}, rel=1e-5
    )
    assert not any(weight.requires_grad for weight in weights.values())


@pytest.mark.parametrize("form", FORMS)
def test_gradients(form: str) -> None:
    module = balancer(form=form, start={"instance": 2.0, "semantic": -3.0}, fixed=("panoptic",)).double()

    def total(s: torch.Tensor, *losses: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = torch.func.functional_call(module, {"s": s}, (dict(zip(TASKS, losses, strict=True)),))[0]
        return found

    s = module.s.detach().clone().requires_grad_()
    losses = [torch.tensor(value, dtype=torch.double, requires_grad=True) for value in (0.2, 1.5, 3.0)]
    total(s, *losses).backward()
    assert s.grad is not None
    step = 1e-6
    for task in range(3):  # central differences, which know nothing of autograd
        moved = [torch.where(torch.arange(3) == task, s.detach() + way * step, s.detach()) for way in (1, -1)]
        slope = (total(moved[0], *losses) - total(moved[1], *losses)).item() / (2 * step)
        assert s.grad[task].item() == pytest.approx(0.0 if task == 1 else slope, abs=1e-7)
    for loss, start in zip(losses, (2.0, 0.0, -3.0), strict=True):
        assert loss.grad is not None
        assert loss.grad.item() == pytest.approx((0.5 if form == "regression" else 1.0) * math.exp(-start), rel=1e-6)


@pytest.mark.parametrize(("form", "at_rest"), [("classification", 0.5), ("regression", 1.0), ("common", 1.0)])
def test_at_rest_exp_of_minus_s_meets_the_closed_form(form: str, at_rest: float) -> None:
    """Two tasks pull one number to both sides: s, and the number, end where the sum of log L is least."""
    module = balancer("instance", "semantic", form=form)
    place = torch.nn.Parameter(torch.tensor(0.3))
    optimiser = torch.optim.SGD([*module.parameters(), place], lr=0.1)

    def losses(at: Any) -> dict[str, Any]:
        return {"instance": 3 * (at - 1) ** 2 + 4, "semantic": (at + 1) ** 2 + 0.5}

    for _ in range(1500):
        total, _ = module(losses(place))
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
    at = place.item()
    for task, s in zip(("instance", "semantic"), module.s.tolist(), strict=True):
        assert math.exp(-s) == pytest.approx(at_rest / losses(at)[task], rel=1e-3)
    grid = np.linspace(-2, 2, 400_001)
    best = grid[np.argmin(sum(np.log(loss) for loss in losses(grid).values()))]
    assert at == pytest.approx(best, abs=1e-3)
    plain = grid[np.argmin(sum(losses(grid).values()))]
    assert abs(plain - best) > 0.1  # what a mere sum would have found is elsewhere


def test_total_may_be_negative() -> None:
    module = balancer("semantic", start={"semantic": -4.0})
    total, _ = module({"semantic": torch.tensor(0.001)})
    assert -2 < total.item() < -1.9


def test_s_stays_within_its_limit_and_comes_back() -> None:
    module = balancer("semantic", limit=2.0)
    optimiser = torch.optim.SGD(module.parameters(), lr=0.5)

    def train(loss: float, steps: int) -> float:
        for _ in range(steps):
            optimiser.zero_grad()
            module({"semantic": torch.tensor(loss)})[0].backward()
            optimiser.step()
        _, weights = module({"semantic": torch.tensor(loss)})
        return -math.log(weights["semantic"])

    assert train(0.0, 50) == pytest.approx(-2.0)
    assert train(1000.0, 1) == pytest.approx(2.0)  # it asks for hundreds
    assert 1.5 < train(0.5, 1) < 1.9
    assert train(0.5, 100) == pytest.approx(0.0, abs=0.01)  # 1 / (2 L) = 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_single_precision_whatever_the_losses_have(dtype: torch.dtype) -> None:
    module = balancer("instance", "semantic", start={"instance": -4.9})
    losses = {"instance": torch.tensor(60000.0, dtype=dtype), "semantic": torch.tensor(0.25, dtype=dtype)}
    total, weights = module(losses)
    assert total.dtype == torch.float32 and total.isfinite() and total > 65504  # the largest half
    assert all(weight.dtype == torch.float32 for weight in weights.values())


def test_a_task_without_losses_rests() -> None:
    module = balancer(start={"semantic": 1.0})
    total, weights = module({"semantic": torch.tensor(2.0)})
    assert weights.keys() == {"semantic"}
    assert total.item() == pytest.approx(2 / math.e + 0.5)
    total.backward()
    assert module.s.grad is not None and module.s.grad[:2].tolist() == [0.0, 0.0] and module.s.grad[2] != 0


def test_a_fixed_task_keeps_its_start() -> None:
    module = balancer("instance", "semantic", fixed=("instance",), start={"instance": 0.5})
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    for _ in range(20):
        optimiser.zero_grad()
        module({"instance": torch.tensor(3.0), "semantic": torch.tensor(3.0)})[0].backward()
        optimiser.step()
    instance, semantic = module.s.tolist()
    assert instance == pytest.approx(0.5, abs=1e-6) and semantic > 1


def test_state_is_what_is_learned() -> None:
    module = balancer(fixed=("panoptic",))
    assert list(module.state_dict()) == ["s"]


@pytest.mark.parametrize("key", ["start", "fixed"])
def test_a_task_that_the_head_lacks_is_refused(key: str) -> None:
    value: Any = {"stuff": 1.0} if key == "start" else ("stuff",)
    message = f"task balancer uncertainty: {key} names the task 'stuff'; those of the model's head are instance, sem"
    with pytest.raises(FinesegError, match=message):
        balancer("instance", "semantic", **{key: value})


@pytest.mark.parametrize("options", [{"start": {"a": 5.1}}, {"start": {"a": math.nan}}, {"limit": 0}, {"form": "l2"}])
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        UncertaintyOptions(**options)
