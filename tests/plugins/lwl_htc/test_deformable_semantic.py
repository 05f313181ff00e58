"""The deformable semantic head against plain convolutions and torchvision, its loss against numpy, and its fusion."""

import numpy as np
import pytest
import torch
import torchvision
from htc_cases import CLASSES, STUFF, WIDTH
from lwl_htc_cases import built_lwl_htc, small_lwl_htc
from mmengine.optim import build_optim_wrapper
from torch import Tensor, nn
from torch.nn import functional as F

from fineseg.catalog import load_catalog
from fineseg.mm.model import BuiltModel, build_model
from fineseg.mm.training import optimiser_config
from fineseg.profile.schema import TrainTable
from fineseg_e_ups.semantic import DeformConv
from fineseg_lwl_htc.semantic import DeformableSemanticHead

ALL = CLASSES + STUFF


def levels(batch: int = 2, finest: tuple[int, int] = (16, 24)) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    sides = [tuple(-(-side // 2**n) for side in finest) for n in range(5)]
    return [torch.randn(batch, WIDTH, *side, generator=generator) for side in sides]


def drawn_head(*, offsets: bool) -> DeformableSemanticHead:
    torch.manual_seed(0)
    head = DeformableSemanticHead(WIDTH, ALL, width=8)
    head.init_weights()
    for name, parameter in head.named_parameters():
        if "conv_offset" not in name:
            nn.init.normal_(parameter, std=0.2)
        elif offsets:
            nn.init.normal_(parameter, std=0.05)
    return head


def plainly(head: DeformableSemanticHead, pyramid: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Compute scores and embedding with torchvision's deformable convolution, level by level."""
    seen = []
    for level in pyramid[:4]:
        for conv in (part for part in head.branch.subnet if isinstance(part, DeformConv)):
            offsets = F.conv2d(level, conv.conv_offset.weight, conv.conv_offset.bias, padding=1)
            level = torchvision.ops.deform_conv2d(level, offsets, conv.weight, conv.bias, padding=1).relu()
        seen.append(F.interpolate(level, size=pyramid[0].shape[-2:], mode="bilinear", align_corners=False))
    cells = torch.cat(seen, dim=1).permute(0, 2, 3, 1)
    logits = cells @ head.branch.score.weight[:, :, 0, 0].T + head.branch.score.bias
    embedding = (cells @ head.embedding.weight[:, :, 0, 0].T + head.embedding.bias).clamp(min=0)
    return logits.permute(0, 3, 1, 2), embedding.permute(0, 3, 1, 2)


@pytest.mark.parametrize("offsets", [False, True])
@torch.no_grad()
def test_scores_and_embedding_equal_torchvisions(offsets: bool) -> None:
    head, pyramid = drawn_head(offsets=offsets), levels()
    logits, embedding = head(pyramid)
    assert logits.shape == (2, ALL, 16, 24) and embedding.shape == (2, WIDTH, 16, 24)
    for found, wanted in zip((logits, embedding), plainly(head, pyramid), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert (embedding >= 0).all() and embedding.std() > 0.01
    moved, _ = drawn_head(offsets=not offsets)(pyramid)
    assert (moved - logits).abs().max() > 1e-3
    pyramid[4] = pyramid[4] + 1  # the coarsest level is not read
    torch.testing.assert_close(head(pyramid)[0], logits)


def cross_entropy(logits: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean over counted pixels, one pixel at a time."""
    found = []
    for image in range(len(logits)):
        for row in range(logits.shape[2]):
            for column in range(logits.shape[3]):
                label = truth[image, row, column]
                if label != 255:
                    scores = logits[image, :, row, column].astype(np.float64)
                    found.append(np.log(np.exp(scores).sum()) - scores[label])
    return float(np.mean(found)) if found else 0.0


def enlarged(logits: Tensor) -> np.ndarray:
    """Return logits at four times the size: each pixel blends the cells between whose centres its own lies."""
    values = logits.detach().numpy()
    for axis in (2, 3):
        cells = values.shape[axis]
        place = ((np.arange(4 * cells) + 0.5) / 4 - 0.5).clip(0, cells - 1)
        low = np.floor(place).astype(int)
        part = np.expand_dims(place - low, tuple(n for n in range(4) if n != axis))
        high = values.take((low + 1).clip(max=cells - 1), axis)
        values = values.take(low, axis) * (1 - part) + high * part
    return values


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("ignored", [0, 20, 64])
def test_loss_is_the_mean_over_pixels_that_count(ignored: int, full: bool) -> None:
    head = DeformableSemanticHead(WIDTH, ALL, width=8, full_resolution=full, loss_weight=0.2)
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(2, ALL, 16, 24, generator=generator, requires_grad=True)
    truth = torch.randint(ALL, (2, 1, 64, 96), generator=generator, dtype=torch.uint8)
    truth[:, :, :ignored] = 255
    loss = head.loss(logits, truth)
    planes, labels = enlarged(logits) if full else logits.detach().numpy(), truth[:, 0].numpy()
    wanted = cross_entropy(planes, labels if full else labels[:, ::4, ::4])
    assert loss.item() == pytest.approx(0.2 * wanted, rel=1e-5)
    loss.backward()
    assert logits.grad is not None and logits.grad.isfinite().all() and logits.grad.any() == (ignored < 64)


def test_offsets_start_at_zero_and_learn() -> None:
    """mmengine's initialisation of a whole detector leaves them as they were meant."""
    branch = built_without_spread().module.roi_head.semantic_head
    offsets = [parameter for name, parameter in branch.named_parameters() if "conv_offset" in name]
    assert len(offsets) == 6 and not any(parameter.any() for parameter in offsets)
    convs = [conv.weight for conv in branch.branch.subnet if isinstance(conv, DeformConv)]
    assert all(weight.std() > 0.01 for weight in convs)
    logits, _ = branch(levels())
    branch.loss(logits, torch.randint(ALL, (2, 1, 64, 96))).backward()
    assert all(parameter.grad.any() for parameter in offsets)


def test_offsets_learn_at_a_tenth_of_the_rate() -> None:
    built = built_without_spread()
    wrapper = build_optim_wrapper(built.module, optimiser_config(TrainTable(lr=0.02, epochs=1), dict(built.paramwise)))
    rates = {id(p): group["lr"] for group in wrapper.optimizer.param_groups for p in group["params"]}
    slow = {name for name, parameter in built.module.named_parameters() if rates.get(id(parameter), 0.02) != 0.02}
    assert slow == {name for name, _ in built.module.named_parameters() if "semantic" in name and "offset" in name}
    assert all(rates[id(built.module.get_parameter(name))] == pytest.approx(0.002) for name in slow)


def built_without_spread() -> BuiltModel:
    table = small_lwl_htc(semantic="deformable", semantic_width=8)
    return build_model(table, load_catalog(warn=lambda _: None), CLASSES, weights_cache=None, num_stuff=STUFF)


@torch.no_grad()
def test_rois_take_the_embedding_at_a_quarter() -> None:
    built = built_lwl_htc(semantic="deformable", semantic_width=8)
    roi_head = built.module.eval().roi_head
    *pyramid, logits, embedding = built.predictor.encode(torch.randn(1, 3, 64, 96))
    assert logits.shape[-2:] == embedding.shape[-2:] == (16, 24)
    rois = torch.tensor([[0.0, 4, 4, 40, 50], [0, 10, 20, 90, 60]])
    with_it, without = (roi_head._pooled(pyramid, rois, each) for each in (embedding, None))
    added = torchvision.ops.roi_align(embedding, rois, 8, 1 / 4, -1, aligned=True)
    torch.testing.assert_close(with_it - without, added, atol=1e-5, rtol=1e-4)
    assert added.abs().max() > 0.01
