"""Checks of losses: one number of logits and their truth, in every slot that the part serves."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, get_args
from unittest import SkipTest

from fineseg.data.panoptic import IGNORED
from fineseg.parts import LossSlot
from fineseg.testing.conformance import Conformance, expect

if TYPE_CHECKING:
    from torch import Tensor

    Example = tuple[Tensor, Tensor]

CLASSES = 4
SURE = 12.0
"""Logits of a prediction that is all but certain."""
STEP = 1e-3
"""Length of a step that no loss should jump in."""
HUGE = 200.0
"""Logits whose exponential is no number in single precision."""


class LossConformance(Conformance):
    """Checks of a loss in each slot that it serves, on drawn logits and truth."""

    kind = "loss"
    examples: ClassVar[int] = 3

    def built(self) -> Any:
        """Build the module from the same random numbers every time."""
        import torch

        torch.manual_seed(0)
        module = self.record.build(self.chosen)
        expect(isinstance(module, torch.nn.Module), f"build returned {type(module).__name__}, must be a torch module")
        return module.train()

    def drawn(self) -> Mapping[LossSlot, list["Example"]]:
        """Draw logits and truth of a few objects, points, rows and images, for each slot that is served."""
        import torch

        generator = torch.Generator().manual_seed(1)

        def logits(*shape: int) -> "Tensor":
            return torch.randn(shape, generator=generator)

        def labels(classes: int, *shape: int) -> "Tensor":
            return torch.randint(classes, shape, generator=generator)

        every: dict[LossSlot, list[Example]] = {"mask": [], "class": [], "semantic": []}
        for _ in range(self.examples):
            every["mask"].append((logits(5, 9, 9), labels(2, 5, 9, 9).float()))
            every["mask"].append((logits(5, 14), torch.rand((5, 14), generator=generator)))
            every["class"].append((logits(6, CLASSES + 1), labels(CLASSES + 1, 6)))
            truth = labels(CLASSES, 2, 7, 8)
            truth[:, :2] = IGNORED
            every["semantic"].append((logits(2, CLASSES, 7, 8), truth))
        return {slot: every[slot] for slot in self.record.serves}

    def learnt(self, logits: "Tensor", truth: "Tensor") -> tuple[float, "Tensor"]:
        """Return the loss of logits and its gradient there; both must be finite, the loss one number."""
        import torch

        logits = logits.detach().requires_grad_()
        shape = tuple(logits.shape)
        found = self.built()(logits, truth)
        scalar = isinstance(found, torch.Tensor) and found.shape == ()
        expect(scalar, f"the loss of logits {shape} is {found}, no scalar")
        number = float(found.detach())
        expect(math.isfinite(number), f"the loss of logits {shape} is {number}, must be finite")
        if found.requires_grad:
            found.backward()
        slope = logits.grad
        if slope is None:
            raise AssertionError(f"no gradient goes from the loss of logits {shape} back to them")
        expect(bool(torch.isfinite(slope).all()), f"the gradient of logits {shape} is not finite")
        return number, slope

    def test_serves(self) -> None:
        """It serves slots that there are, and says nothing else."""
        known, serves = get_args(LossSlot), self.record.serves
        sound = isinstance(serves, tuple) and len(serves) > 0 and set(serves) <= set(known)
        expect(sound, f"serves is {serves!r}; it must be some of {known}")

    def test_no_state(self) -> None:
        """It has no weights and no state: a model predicts without it."""
        state = list(self.built().state_dict())
        expect(not state, f"its state has {', '.join(state[:3])}; register buffers with persistent=False")

    def test_gradients(self) -> None:
        """Loss and gradient are finite, and a small step against the gradient lowers the loss."""
        for slot, examples in self.drawn().items():
            for logits, truth in examples:
                before, slope = self.learnt(logits, truth)
                expect(bool(slope.any()), f"the gradient of {slot} logits is 0: nothing is learnt")
                after, _ = self.learnt(logits - STEP * slope / slope.norm(), truth)
                expect(after < before, f"a step against the gradient of {slot} logits raises the loss")

    def test_right_below_wrong(self) -> None:
        """A prediction that is right has a lower loss than one that knows nothing, and this than a wrong one."""
        for slot, examples in self.drawn().items():
            truth = examples[0][1]
            losses = [self.learnt(sure(slot, truth, logit), truth)[0] for logit in (SURE, 0.0, -SURE)]
            expect(losses == sorted(set(losses)), f"{slot}: right, undecided and wrong have losses {losses}")

    def test_huge_logits(self) -> None:
        """Logits of 200 and -200 have a finite loss and gradient, right or wrong."""
        for slot, examples in self.drawn().items():
            truth = examples[0][1]
            for logit in (HUGE, -HUGE):
                self.learnt(sure(slot, truth, logit), truth)

    def test_nothing_counts(self) -> None:
        """Without objects, rows, or pixels that count it is finite, and its gradient is 0."""
        import torch

        for slot, examples in self.drawn().items():
            for logits, truth in examples[:2]:
                none = (logits, torch.full_like(truth, IGNORED)) if slot == "semantic" else (logits[:0], truth[:0])
                _, slope = self.learnt(*none)
                expect(not bool(slope.any()), f"{slot}: where nothing counts the gradient must be 0")

    def test_ignored_pixels(self) -> None:
        """What is said of pixels that do not count changes nothing."""
        if "semantic" not in self.record.serves:
            raise SkipTest("it does not serve the slot 'semantic'")
        import torch

        for logits, truth in self.drawn()["semantic"]:
            void = (truth == IGNORED)[:, None]
            first, slope = self.learnt(logits, truth)
            second, _ = self.learnt(torch.where(void, logits * 3 + 1, logits), truth)
            same = math.isclose(first, second, rel_tol=1e-5)
            expect(same, f"pixels of {IGNORED} change the loss {first} to {second}")
            expect(not bool((slope * void).any()), f"pixels of {IGNORED} have a gradient")

    def test_deterministic(self) -> None:
        """The same logits and truth give the same loss."""
        for slot, examples in self.drawn().items():
            values = [self.learnt(*examples[0])[0] for _ in range(2)]
            expect(values[0] == values[1], f"{slot}: the same logits gave {values[0]} and {values[1]}")


def sure(slot: LossSlot, truth: "Tensor", logit: float) -> "Tensor":
    """Return logits that all but say the truth; with a negative `logit`, the contrary."""
    import torch

    if slot == "mask":
        return (truth - 0.5).sign() * logit
    classes = CLASSES + 1 if slot == "class" else CLASSES
    known = torch.nn.functional.one_hot(truth.clamp(max=classes - 1), classes)
    return known.movedim(-1, 1) * logit


def call_fault(slot: LossSlot, logits: "Tensor", truth: "Tensor", things: int, stuff: int) -> str:
    """Return what of a head's call in a slot is not as promised, for so many classes."""
    import torch

    shapes = f"logits {tuple(logits.shape)} and truth {tuple(truth.shape)}"
    if not logits.is_floating_point():
        return f"{logits.dtype} logits"
    if slot == "mask":
        if logits.ndim < 2 or logits.shape != truth.shape:
            return f"{shapes}, not of one shape"
        soft = truth.is_floating_point() and bool(((truth >= 0) & (truth <= 1)).all())
        return "" if soft else "targets that are not in 0..1"
    classes = things + 1 if slot == "class" else things + stuff
    wanted = (*logits.shape[:1], *logits.shape[2:])
    if logits.ndim != (2 if slot == "class" else 4) or logits.shape[1] != classes or truth.shape != wanted:
        return f"{shapes}, for {classes} classes"
    counted = truth if slot == "class" else truth[truth != IGNORED]
    sound = truth.dtype == torch.int64 and bool(((counted >= 0) & (counted < classes)).all())
    return "" if sound else f"{truth.dtype} labels that are not int64 in 0..{classes - 1}"
