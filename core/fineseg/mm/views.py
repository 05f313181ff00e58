"""Views of an image: which ones a profile asks for, and the way between an image's frame and a view's.

A frame is a system of pixel coordinates. The original one is the image's own. A view's is that of the network's input
without its padding: the image scaled to `size`, then mirrored.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from torch import Tensor

from fineseg.catalog import Catalog
from fineseg.mm.images import fit_size
from fineseg.parts import Merge, ModelScore, View
from fineseg.profile.schema import PartChoice, PredictTable

Adjust = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Frame:
    """Where a view's pixels lie: an image of `original` (height, width) scaled to `size`, then mirrored."""

    original: tuple[int, int]
    size: tuple[int, int]
    horizontal: bool = False
    vertical: bool = False

    def to_original(self, boxes: Tensor) -> Tensor:
        """Map boxes [..., 4] of the view to pixels of the original image."""
        return self._mirror_boxes(boxes) * self._scale(boxes)

    def to_view(self, boxes: Tensor) -> Tensor:
        """Map boxes [..., 4] of the original image into the view."""
        return self._mirror_boxes(boxes / self._scale(boxes))

    def mirror(self, maps: Tensor) -> Tensor:
        """Mirror maps [..., h, w] that show the view whole, or a box of it: to the original's sense, or back."""
        axes = [axis for axis, mirrored in ((-1, self.horizontal), (-2, self.vertical)) if mirrored]
        return maps.flip(axes) if axes else maps

    def _scale(self, boxes: Tensor) -> Tensor:
        (height, width), (view_height, view_width) = self.original, self.size
        return boxes.new_tensor([width / view_width, height / view_height] * 2)

    def _mirror_boxes(self, boxes: Tensor) -> Tensor:
        """Mirror boxes [..., 4] in the view: x becomes width - x, and left and right change places."""
        if not (self.horizontal or self.vertical):
            return boxes
        height, width = self.size
        x1, y1, x2, y2 = boxes.unbind(-1)
        mirrored = boxes.clone()
        if self.horizontal:
            mirrored[..., 0], mirrored[..., 2] = width - x2, width - x1
        if self.vertical:
            mirrored[..., 1], mirrored[..., 3] = height - y2, height - y1
        return mirrored


def frame_of(view: View, height: int, width: int, predict: PredictTable) -> Frame:
    """Return where a view of an image of (height, width) lies."""
    long_side, short_side = (max(1, round(side * view.scale)) for side in (predict.long_side, predict.short_side))
    size = fit_size(height, width, long_side, short_side)
    return Frame((height, width), size, view.horizontal, view.vertical)


@dataclass(frozen=True)
class Viewing:
    """How a model looks at an image: through which views, and what makes one answer of them.

    `merge` takes the finished instances of each view; without one, the views share proposals and are averaged.
    """

    views: tuple[View, ...] = (View(),)
    merge: Merge | None = None


PLAIN = Viewing()
"""One look at the image as `[predict]` scales it."""


def build_viewing(predict: PredictTable, catalog: Catalog, num_classes: int) -> Viewing:
    """Return what `[predict] tta` and `merge_views` ask for; without `tta`, the one plain view.

    The views of a model have no scores of their own: an ensembler that pools them is told that all are as good.
    """
    chosen = [catalog.choose("tta", choice.name, choice.options) for choice in predict.tta]
    views = multiply([part.build(options) for part, options in chosen])
    if not chosen or not isinstance(predict.merge_views, PartChoice):
        return Viewing(views)
    ensembler, options = catalog.choose("ensembler", predict.merge_views.name, predict.merge_views.options)
    scores = [ModelScore(f"view {n}", 100.0, (100.0,) * num_classes) for n in range(1, len(views) + 1)]
    return Viewing(views, ensembler.build(options, scores))


def multiply(choices: Sequence[Sequence[View]]) -> tuple[View, ...]:
    """Return every combination of one view of each choice, in order; those that coincide count once.

    Scales multiply, two flips undo each other, and adjustments follow each other in the order of the choices.
    """
    views = []
    for combination in product(*choices):
        view = View()
        for other in combination:
            view = _then(view, other)
        views.append(view)
    if not views:
        raise ValueError("a TTA must build at least one view")
    return tuple(view for number, view in enumerate(views) if view not in views[:number])


def _then(first: View, second: View) -> View:
    adjusts = [adjust for adjust in (first.adjust, second.adjust) if adjust is not None]
    return View(
        scale=first.scale * second.scale,
        horizontal=first.horizontal != second.horizontal,
        vertical=first.vertical != second.vertical,
        adjust=_InTurn(*adjusts) if len(adjusts) == 2 else adjusts[0] if adjusts else None,
    )


@dataclass(frozen=True)
class _InTurn:
    """One adjustment after another; a record, so that equal ones are seen to be equal."""

    first: Adjust
    second: Adjust

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return self.second(self.first(pixels))
