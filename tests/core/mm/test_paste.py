"""Pasting against mmdet's own, to the pixel."""

import numpy as np
import torch
from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask

from fineseg.data.masks import decode
from fineseg.mm.paste import paste_to_rle

HEIGHT, WIDTH = 37, 53


def stock(probabilities: torch.Tensor, boxes: torch.Tensor) -> np.ndarray:
    pasted, _ = _do_paste_mask(probabilities[:, None], boxes, HEIGHT, WIDTH, skip_empty=False)
    return (pasted > 0.5).numpy()


def test_equals_mmdet_on_random_boxes() -> None:
    generator = torch.Generator().manual_seed(0)
    for side in (1, 7, 28):
        probabilities = torch.rand(40, side, side, generator=generator)
        corner = torch.rand(40, 2, generator=generator) * 60 - 10
        size = torch.rand(40, 2, generator=generator) * 40 + 0.3
        boxes = torch.cat([corner, corner + size], dim=1)
        ours = [decode(c, HEIGHT, WIDTH) for c in paste_to_rle(probabilities, boxes, HEIGHT, WIDTH, 0.5)]
        assert np.array_equal(np.stack(ours), stock(probabilities, boxes))


def test_full_mask_fills_its_box() -> None:
    (counts,) = paste_to_rle(torch.ones(1, 4, 4), torch.tensor([[10.0, 5.0, 20.0, 9.0]]), HEIGHT, WIDTH, 0.5)
    expected = np.zeros((HEIGHT, WIDTH), dtype=bool)
    expected[5:9, 10:20] = True
    assert np.array_equal(decode(counts, HEIGHT, WIDTH), expected)


def test_nothing_and_outside() -> None:
    assert paste_to_rle(torch.zeros(0, 4, 4), torch.zeros(0, 4), HEIGHT, WIDTH, 0.5) == []
    (counts,) = paste_to_rle(torch.ones(1, 4, 4), torch.tensor([[-50.0, -50.0, -20.0, -20.0]]), HEIGHT, WIDTH, 0.5)
    assert not decode(counts, HEIGHT, WIDTH).any()


def test_threshold_is_strict() -> None:
    box = torch.tensor([[0.0, 0.0, 8.0, 8.0]])
    (counts,) = paste_to_rle(torch.full((1, 4, 4), 0.5), box, HEIGHT, WIDTH, 0.5)
    assert not decode(counts, HEIGHT, WIDTH).any()
