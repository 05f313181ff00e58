"""Matrix-NMS against mmdet's and against loops over the paper's formula."""

from math import exp, inf

import pytest
import torch
from mmdet.models.layers import mask_matrix_nms
from torch import Tensor

from fineseg_solov2 import matrix_nms
from fineseg_solov2.matrix_nms import decay, ious


def draw(number: int, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Draw boxes that overlap much, best first."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(number, 24, 32, dtype=torch.bool)
    corners = torch.randint(0, 12, (number, 2), generator=generator).tolist()
    sides = torch.randint(2, 14, (number, 2), generator=generator).tolist()
    for mask, (y, x), (h, w) in zip(masks, corners, sides, strict=True):
        mask[y : y + h, x : x + w] = True
    scores = torch.rand(number, generator=generator).sort(descending=True).values
    return masks, torch.randint(0, classes, (number,), generator=generator), scores


def loops(masks: Tensor, labels: Tensor, kernel: str, sigma: float) -> list[float]:
    """Follow the formula mask by mask; a copy of a better mask lowers nothing under the linear kernel."""

    def iou(i: int, j: int) -> float:
        return ((masks[i] & masks[j]).sum() / (masks[i] | masks[j]).sum()).item()

    def f(overlap: float) -> float:
        return exp(-sigma * overlap**2) if kernel == "gaussian" else 1 - overlap

    factors = []
    for j in range(len(masks)):
        better = [i for i in range(j) if labels[i] == labels[j]]
        ratios = [1.0]
        for i in better:
            known = max((iou(k, i) for k in range(i) if labels[k] == labels[i]), default=0.0)
            ratios.append(f(iou(i, j)) / f(known) if f(known) else inf)
        factors.append(min(ratios))
    return factors


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
@pytest.mark.parametrize("sigma", [2.0, 0.5])
@pytest.mark.parametrize("number", [1, 2, 40])
def test_equals_loops(number: int, sigma: float, kernel: str) -> None:
    masks, labels, _ = draw(number)
    found = decay(masks.flatten(1), labels, kernel=kernel, sigma=sigma)
    assert found.tolist() == pytest.approx(loops(masks, labels, kernel, sigma), abs=1e-5)
    assert number < 40 or (found < 0.99).sum() > 5


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
@pytest.mark.parametrize("classes", [1, 4])
def test_equals_mmdet(classes: int, kernel: str) -> None:
    masks, labels, scores = draw(60, classes, seed=1)
    masks = masks[labels.new_tensor(sorted({tuple(m.flatten().tolist()): n for n, m in enumerate(masks)}.values()))]
    labels, scores = labels[: len(masks)], scores[: len(masks)]
    expected, expected_labels, _, order = mask_matrix_nms(masks, labels, scores, kernel=kernel, sigma=2.0)
    found = scores * decay(masks.flatten(1), labels, kernel=kernel, sigma=2.0)
    torch.testing.assert_close(found[order], expected, atol=1e-6, rtol=1e-5)
    assert torch.equal(labels[order], expected_labels)


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_copies_and_ties(kernel: str) -> None:
    masks, labels, _ = draw(6, classes=1)
    masks = masks[torch.tensor([0, 0, 0, 1, 1, 2])]
    found = decay(masks.flatten(1), labels, kernel=kernel, sigma=2.0)
    assert found.tolist() == pytest.approx(loops(masks, labels, kernel, 2.0), abs=1e-5)
    gone = 0.0 if kernel == "linear" else exp(-2)
    assert found[:3].tolist() == pytest.approx([1, gone, gone])


def test_other_labels_and_apart_masks_leave_scores_alone() -> None:
    masks = torch.zeros(3, 8, 8, dtype=torch.bool)
    masks[:2, :4], masks[2, 4:] = True, True
    found = decay(masks.flatten(1), torch.tensor([0, 1, 0]), kernel="gaussian", sigma=2.0)
    assert found.tolist() == [1, 1, 1]


def test_ious_of_one_pixel_masks_and_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = torch.eye(5, 40, dtype=torch.bool)
    assert torch.equal(ious(masks), torch.eye(5))
    drawn = draw(20)[0].flatten(1)
    whole = ious(drawn)
    monkeypatch.setattr(matrix_nms, "PIXELS", 7)
    assert torch.equal(ious(drawn), whole)
