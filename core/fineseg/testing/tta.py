"""Checks of TTA: views that can be undone, and pixels that stay where they are."""

from typing import Any

import numpy as np

from fineseg.data.masks import decode
from fineseg.parts import View
from fineseg.profile.schema import PredictTable
from fineseg.testing.conformance import Conformance, expect

SIZE = (60, 84)
LEAST_IOU = 0.8


class TTAConformance(Conformance):
    """Checks of a test-time augmentation."""

    kind = "tta"

    def views(self) -> tuple[View, ...]:
        """Build the views."""
        views: tuple[View, ...] = tuple(self.record.build(self.chosen))
        return views

    def test_views(self) -> None:
        """It builds at least one view, and none twice."""
        from fineseg.mm.views import multiply

        views = self.views()
        expect(bool(views), "no view: return at least one")
        expect(all(isinstance(view, View) for view in views), "every view must be a fineseg.View")
        expect(len(multiply([views])) == len(views), "two views are the same")

    def test_undo_restores_masks(self) -> None:
        """What a view shows of an object comes back as the object's mask in the image."""
        for view in self.views():
            overlap = _restored(view)
            expect(overlap >= LEAST_IOU, f"a mask came back from {view} with an IoU of {overlap:.2f}")

    def test_adjust_keeps_shape(self) -> None:
        """Adjust returns uint8 pixels of the same shape, also of one pixel, and the same twice."""
        rng = np.random.default_rng(0)
        for view in self.views():
            for sides in (SIZE, (1, 1)):
                pixels = rng.integers(0, 256, (*sides, 3)).astype(np.uint8)
                found, again = (_adjusted(view, pixels) for _ in range(2))
                expect(found.dtype == np.uint8, f"adjust returned {found.dtype}, must be uint8")
                expect(found.shape == pixels.shape, f"adjust made {found.shape} of {pixels.shape}")
                expect(np.array_equal(found, again), "adjust gave another picture the second time")

    def test_adjust_moves_nothing(self) -> None:
        """Adjust leaves things where they are: scales and flips are a view's own, as fineseg undoes those."""
        mask = _shape()
        for view in self.views():
            pixels = np.where(mask[:, :, None], np.uint8(200), np.uint8(60)).repeat(3, axis=2)
            grey = _adjusted(view, pixels).astype(float).mean(axis=2)
            inside, outside = grey[mask].mean(), grey[~mask].mean()
            if abs(inside - outside) < 1:
                continue  # it hides the shape; that may help nobody, but moves nothing
            seen = (grey > (inside + outside) / 2) == (inside > outside)
            expect(
                _iou(seen, mask) >= LEAST_IOU,
                f"adjust of {view} moved a shape: the models' answers would lie beside it",
            )


def _shape() -> np.ndarray:
    """Return a mask [H, W] that no flip maps onto itself."""
    mask = np.zeros(SIZE, dtype=bool)
    mask[8:40, 10:60] = True
    mask[8:24, 10:30] = False
    return mask


def _adjusted(view: View, pixels: np.ndarray) -> np.ndarray:
    return np.asarray(view.adjust(pixels.copy())) if view.adjust is not None else pixels


def _iou(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / max(1, (first | second).sum()))


def _restored(view: View) -> float:
    """Return the IoU of a mask with what is left of it after a view has shown it and was undone."""
    import cv2
    import torch

    from fineseg.mm.paste import paste_to_rle
    from fineseg.mm.views import frame_of

    mask: Any = _shape()
    frame = frame_of(view, *SIZE, PredictTable(long_side=max(SIZE), short_side=min(SIZE)))
    scaled = cv2.resize(mask.astype(np.float32), (frame.size[1], frame.size[0]), interpolation=cv2.INTER_LINEAR)
    seen = frame.mirror(torch.from_numpy(scaled))
    rows, columns = (torch.nonzero((seen > 0.5).any(dim=axis)).flatten() for axis in (1, 0))
    if not len(rows):
        return 0.0
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    answer = cv2.resize(seen[top:bottom, left:right].numpy(), (28, 28), interpolation=cv2.INTER_LINEAR)
    upright = frame.mirror(torch.from_numpy(answer)[None])
    box = frame.to_original(torch.tensor([[left, top, right, bottom]], dtype=torch.float32))
    (counts,) = paste_to_rle(upright, box, *SIZE, 0.5)
    return _iou(decode(counts, *SIZE), mask)
