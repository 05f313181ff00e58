"""Checks of heads: one step of training on drawn pictures, and predictions by the protocol that the head names."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from unittest import SkipTest

import numpy as np

from fineseg.data.split import ImageInfo, Split
from fineseg.errors import FinesegError
from fineseg.parts import Config, HeadInput, LossSlot
from fineseg.predictions import Instances
from fineseg.predictors import OneStagePredictor, SemanticPredictor
from fineseg.profile.schema import ModelTable, PredictTable, TrainTable
from fineseg.testing.conformance import Conformance, expect, installed
from fineseg.testing.drawn import draw_split
from fineseg.testing.model import faults_in
from fineseg.testing.sound import expect_instances, expect_map, same_instances

if TYPE_CHECKING:
    from torch import Tensor

    from fineseg.mm.model import BuiltModel

LONG, SHORT = 128, 96
ROUNDED = 1 / 255
"""What a score may be off: predictions are kept in so many steps."""


class HeadConformance(Conformance):
    """Checks of a head on `things` classes and, where it gives more than instances, `stuff`.

    It stands on a tiny backbone and neck, or on those that `backbone` and `neck` choose as a profile does. `untrained`
    are beginnings of names of parameters that no gradient need reach in one step.
    """

    kind = "head"
    things: ClassVar[int] = 3
    stuff: ClassVar[int] = 2
    backbone: ClassVar[Mapping[str, Any] | None] = None
    neck: ClassVar[Mapping[str, Any] | None] = None
    untrained: ClassVar[tuple[str, ...]] = ()

    @property
    def stuff_classes(self) -> int:
        """How many stuff classes the head is built for."""
        return self.stuff if set(self.record.gives) - {"instances"} else 0

    def table(self) -> ModelTable:
        """Return the model's table of a profile."""
        from fineseg.testing.tiny import BACKBONE, NECK

        chosen = {
            "backbone": self.backbone or {"name": BACKBONE.part.name},
            "neck": self.neck or {"name": NECK.part.name},
            "head": {"name": self.part, **self.options},
        }
        return ModelTable.model_validate(chosen)

    def built(self, losses: Mapping[LossSlot, Config] | None = None) -> "BuiltModel":
        """Build the detector from the same random numbers every time; what refuses the tiny neck is skipped."""
        import torch

        from fineseg.mm.model import build_model
        from fineseg.testing.tiny import PYRAMID, WIDTH, with_tiny

        if self.neck is None:
            given = HeadInput(WIDTH, PYRAMID, self.things, self.stuff_classes)
            try:
                self.record.build(self.chosen, given)
            except FinesegError as refusal:
                raise SkipTest(f"it wants another neck; a test of the plugin gives it as `neck`: {refusal}") from None
        torch.manual_seed(0)
        catalog = with_tiny(installed())
        return build_model(
            self.table(),
            catalog,
            self.things,
            weights_cache=None,
            num_stuff=self.stuff_classes,
            losses=losses or {},
        )

    @contextmanager
    def rooms(self, **drawn: Any) -> Iterator[Split]:
        """Draw pictures that lie in a folder meanwhile."""
        with tempfile.TemporaryDirectory() as folder:
            yield draw_split(Path(folder), things=self.things, stuff=self.stuff_classes, **drawn)

    def step(self, built: "BuiltModel", split: Split) -> Mapping[str, "Tensor"]:
        """Return the losses of one step on the first two pictures."""
        import torch

        from fineseg.mm.dataset import TrainingImages
        from fineseg.testing.tiny import step_losses

        np.random.seed(0)
        torch.manual_seed(1)
        train = TrainTable(epochs=1, lr=0.01, batch=2, long_side=LONG, short_side=(SHORT, SHORT))
        images = TrainingImages(split, train, semantic=built.needs_semantic)
        built.module.train()
        return step_losses(built.module, [images[0], images[1]])

    def predict(self, built: "BuiltModel", image: ImageInfo, threshold: float = 0.0) -> Instances:
        """Predict the instances of one image."""
        import torch

        from fineseg.mm.predict import predict_image

        built.module.eval()
        return predict_image(built, image, predict_table(threshold), torch.device("cpu"))

    def test_spec(self) -> None:
        """The detector has the steps of the protocols that it gives."""
        predictor = self.built().predictor
        if isinstance(predictor, OneStagePredictor):
            expect(not self.record.shares_proposals, "a head of one stage shares no proposals: shares_proposals=False")
        if set(self.record.gives) & {"semantic", "panoptic"}:
            name = type(predictor).__name__
            expect(isinstance(predictor, SemanticPredictor), f"{name} has no step `semantic`, which it gives")

    def test_prediction_only(self) -> None:
        """Options named for prediction alone are options."""
        written = self.chosen.model_dump()
        for key in self.record.prediction_only:
            table: Any = written
            for word in key.split("."):
                expect(isinstance(table, dict) and word in table, f"prediction_only names '{key}', which is no option")
                table = table[word]

    def test_training_step(self) -> None:
        """One step of training gives finite losses, and gradients to all that learns."""
        import torch

        from fineseg.testing.tiny import gradient_faults

        built = self.built()
        with self.rooms() as split:
            losses = self.step(built, split)
        endless = [name for name, loss in losses.items() if not torch.isfinite(loss).all()]
        expect(not endless, f"losses are not finite: {', '.join(endless)}")
        expect(sum("loss" in name for name in losses) > 1, "no loss has 'loss' in its name: none is learnt from")
        total: Any = losses["loss"]
        total.backward()
        faults = gradient_faults(built.module, self.untrained)
        expect(not faults, faults_in(faults))

    def test_losses(self) -> None:
        """A loss in a slot that it offers is called with what such losses take, and is learnt from."""
        if not self.record.losses:
            raise SkipTest("it offers no slot for a loss")
        from fineseg.mm.losses import loss_config
        from fineseg.testing.loss import call_fault
        from fineseg.testing.tiny import NotedLoss

        left_out = []
        for slot in self.record.losses:
            noted = NotedLoss()
            try:
                built = self.built({slot: loss_config(slot, noted)})
            except FinesegError as refusal:  # its options may leave a branch out
                left_out.append(str(refusal))
                continue
            with self.rooms() as split:
                total: Any = self.step(built, split)["loss"]
            total.backward()
            where = f"a loss in the slot '{slot}'"
            expect(bool(noted.calls), f"{where} is not called")
            for logits, truth in noted.calls:
                fault = call_fault(slot, logits, truth, self.things, self.stuff_classes)
                expect(not fault, f"{where} is called with {fault}")
                expect(logits.grad is not None and bool(logits.grad.any()), f"{where} is called, and not learnt from")
        expect(len(left_out) < len(self.record.losses), "; ".join(left_out))

    def test_deterministic(self) -> None:
        """One seed gives one start, one step the same losses."""
        import torch

        with self.rooms() as split:
            first, second = ({**self.step(self.built(), split)} for _ in range(2))
        moved = [name for name in first if not torch.equal(first[name], second[name])]
        expect(not moved, f"the same step from the same start gave other losses: {faults_in(moved)}")

    def test_instances(self) -> None:
        """Predictions are sound instances, the same twice, none above a threshold that none reaches."""
        if "instances" not in self.record.gives:
            raise SkipTest("it gives no instances")
        built = self.built()
        with self.rooms() as split:
            image = split.images[0]
            found, again = self.predict(built, image), self.predict(built, image)
            none = self.predict(built, image, 0.9999)
        size = (image.height, image.width)
        expect_instances(found, size, self.things, image_id=image.id)
        expect(bool((np.diff(found.scores) <= 0).all()), "the best must come first")
        expect(same_instances(found, again), "a second look at the image gave other instances")
        expect_instances(none, size, self.things, image_id=image.id)
        expect(not len(none), "an untrained head is all but certain of something")

    def test_one_pixel(self) -> None:
        """An image of one pixel is predicted."""
        if "instances" not in self.record.gives:
            raise SkipTest("it gives no instances")
        with one_pixel() as image:
            expect_instances(self.predict(self.built(), image), (1, 1), self.things, image_id=image.id)

    def test_scores_of_pixels(self) -> None:
        """Scores of all classes are probabilities, and its own maps sound, also of an image of one pixel."""
        if not set(self.record.gives) & {"semantic", "panoptic"}:
            raise SkipTest("it scores no pixels")
        import torch

        from fineseg.mm.panoptic import predict_panoptic

        built = self.built()
        built.module.eval()
        with self.rooms() as split, one_pixel() as pixel:
            for image in (split.images[0], pixel):
                size = (image.height, image.width)
                device, gives = torch.device("cpu"), self.record.gives
                answer = predict_panoptic(built, image, predict_table(0.0), device, gives)
                if "semantic" in gives:
                    expect(answer.semantic is not None, "it gives 'semantic', and no scores came")
                if answer.semantic is not None:
                    self.expect_probabilities(answer.semantic.probabilities)
                if "panoptic" in gives:
                    expect_map(answer.panoptic, size, self.things, self.stuff_classes, image_id=image.id)

    def expect_probabilities(self, found: np.ndarray) -> None:
        """Raise `AssertionError` unless these are probabilities [C, h, w] of all classes."""
        classes = self.things + self.stuff_classes
        expect(found.ndim == 3 and len(found) == classes, f"scores are of shape {found.shape}, not [{classes}, h, w]")
        expect(bool(np.isfinite(found).all()), "scores are not finite")
        expect(bool(((found >= -ROUNDED) & (found <= 1 + ROUNDED)).all()), "scores must lie in 0..1")
        off = float(np.abs(found.sum(axis=0) - 1).max(initial=0.0))
        expect(off <= ROUNDED * classes, f"scores of a pixel must add up to 1; they are off by {off:.3g}")


def predict_table(threshold: float) -> PredictTable:
    """Return how checks predict."""
    return PredictTable(long_side=LONG, short_side=SHORT, score_threshold=threshold, max_per_image=20)


@contextmanager
def one_pixel() -> Iterator[ImageInfo]:
    """Write an image of one pixel that lies in a folder meanwhile."""
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pixel.png"
        Image.new("RGB", (1, 1), (90, 120, 30)).save(file)
        yield ImageInfo(7, file, 1, 1)
