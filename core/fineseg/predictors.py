"""The prediction protocols: what a trained head is asked, step by step, so that views and models can share steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch


@runtime_checkable
class TwoStagePredictor(Protocol):
    """The prediction protocol of two-stage heads: four steps, each callable alone, all in the network's input frame.

    Letters: B images, R proposals, N detections, C classes; R and N may be 0. Tensors lie on the model's device.
    `max_proposals` an image, and `proposal_iou`, above which the lower score goes, bound what `proposals` returns; what
    several views propose together is held to the same.
    """

    max_proposals: int
    proposal_iou: float

    def encode(self, images: "torch.Tensor") -> Sequence["torch.Tensor"]:
        """Turn normalised, padded images [B, 3, H, W] into feature maps, finest first."""

    def proposals(
        self, features: Sequence["torch.Tensor"], sizes: Sequence[tuple[int, int]]
    ) -> list[tuple["torch.Tensor", "torch.Tensor"]]:
        """Return per image boxes [R, 4] and scores [R]; `sizes` are the images' (height, width) without padding."""

    def boxes(
        self, features: Sequence["torch.Tensor"], proposals: list["torch.Tensor"], sizes: Sequence[tuple[int, int]]
    ) -> list[tuple["torch.Tensor", "torch.Tensor"]]:
        """Return per image refined boxes [R, 4] or [R, C, 4] and class probabilities [R, C + 1], background last."""

    def masks(
        self, features: Sequence["torch.Tensor"], boxes: list["torch.Tensor"], labels: list["torch.Tensor"]
    ) -> list["torch.Tensor"]:
        """Return per image the predicted class's mask probabilities [N, S, S] inside each box [N, 4]."""


@runtime_checkable
class MaskScoringPredictor(TwoStagePredictor, Protocol):
    """A two-stage head that also says how good its masks are: a fifth step, after `masks` (arXiv 1903.00241).

    A predictor that has the step is asked. Scores are multiplied by the quality, by the mean over the views where
    these share their proposals, and detections are sorted anew.
    """

    def quality(
        self,
        features: Sequence["torch.Tensor"],
        boxes: list["torch.Tensor"],
        labels: list["torch.Tensor"],
        masks: list["torch.Tensor"],
    ) -> list["torch.Tensor"]:
        """Return per image how much of each mask is right [N], in 0..1, as its IoU with the object.

        The arguments are those of `masks`, and what it returned for them.
        """


@runtime_checkable
class OneStagePredictor(Protocol):
    """The prediction protocol of heads that find their instances at once, masks over the whole image.

    Letters: B images, N instances, h and w rows and columns of a mask; N may be 0. Tensors lie on the model's device.
    """

    def encode(self, images: "torch.Tensor") -> Sequence["torch.Tensor"]:
        """Turn normalised, padded images [B, 3, H, W] into feature maps, finest first."""

    def instances(
        self,
        features: Sequence["torch.Tensor"],
        sizes: Sequence[tuple[int, int]],
        *,
        score_threshold: float,
        mask_threshold: float,
        max_per_image: int,
    ) -> list[tuple["torch.Tensor", "torch.Tensor", "torch.Tensor"]]:
        """Return per image labels [N], scores [N], best first, and mask probabilities [N, h, w].

        A mask spans its padded image edge to edge, at a scale that lets `max_per_image` of them lie in memory; `sizes`
        are the images' (height, width) without padding. A pixel is mask where its probability is greater than the
        threshold.
        """


@runtime_checkable
class SemanticPredictor(Protocol):
    """The prediction protocol of heads that score all classes at each pixel; many find instances too.

    Letters as above; C all classes, things first; h and w rows and columns that span the padded input.
    """

    def encode(self, images: "torch.Tensor") -> Sequence["torch.Tensor"]:
        """Turn normalised, padded images [B, 3, H, W] into feature maps, finest first."""

    def semantic(self, features: Sequence["torch.Tensor"]) -> "torch.Tensor":
        """Return the scores of all classes as logits [B, C, h, w]."""


@runtime_checkable
class PanopticPredictor(TwoStagePredictor, SemanticPredictor, Protocol):
    """A two-stage head that also scores all classes at each pixel, and joins objects and stuff into one map."""

    def panoptic(
        self,
        features: Sequence["torch.Tensor"],
        judged: Sequence[tuple["torch.Tensor", "torch.Tensor"]],
        semantic: "torch.Tensor",
        frames: Sequence["PanopticFrame"],
    ) -> Sequence[tuple["torch.Tensor", tuple[int, ...]]]:
        """Return per image the map of its segments, int [H, W] of its original size, and the classes of these.

        `judged` is what `boxes` returned, `semantic` what `semantic` did. Segment k, from 1 on, is of the k-th class,
        and has pixels; 0 is void. A class of stuff has one segment.
        """


@runtime_checkable
class DensePredictor(PanopticPredictor, Protocol):
    """A panoptic head whose map can be made of what several models, or views, say together, step by step.

    Letters: R proposals, N objects, T thing and C all classes, m side of a mask's cells, all of one image.
    """

    def mask_logits(
        self, features: Sequence["torch.Tensor"], boxes: list["torch.Tensor"], labels: list["torch.Tensor"]
    ) -> list["torch.Tensor"]:
        """Return per image the logits [N, m, m] whose probabilities `masks` returns."""

    def choose(
        self, boxes: "torch.Tensor", scores: "torch.Tensor"
    ) -> tuple["torch.Tensor", "torch.Tensor", "torch.Tensor"]:
        """Return boxes [N, 4], scores [N] and labels [N] of the map's objects, best first.

        Of judged boxes [R, 4] or [R, T, 4] and class probabilities [R, T + 1], background last.
        """

    def join(
        self,
        semantic: "torch.Tensor",
        boxes: "torch.Tensor",
        scores: "torch.Tensor",
        labels: "torch.Tensor",
        masks: "torch.Tensor",
        frame: "PanopticFrame",
    ) -> tuple["torch.Tensor", tuple[int, ...]]:
        """Return what `panoptic` does for one image: of scores [C, h, w], objects [N] and mask logits [N, m, m]."""


@dataclass(frozen=True)
class PanopticFrame:
    """Sizes as (height, width): of the network's input, of the image inside it, and of the image as it was read."""

    padded: tuple[int, int]
    size: tuple[int, int]
    original: tuple[int, int]
