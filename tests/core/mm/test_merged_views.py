"""Small detectors that were really built: views against flipped files, and merged views against plain loops."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from small_models import small_model

from fineseg import Instances, View, make_instances
from fineseg.catalog import Catalog
from fineseg.data.masks import decode, encode
from fineseg.data.split import ImageInfo, Split
from fineseg.mm.images import fit_size, read_image
from fineseg.mm.model import BuiltModel, build_model
from fineseg.mm.paste import paste_to_rle
from fineseg.mm.predict import predict_image
from fineseg.mm.views import Viewing, build_viewing
from fineseg.profile.schema import PredictTable

CPU = torch.device("cpu")
PREDICT = PredictTable(long_side=96, short_side=96, score_threshold=0.1, nms_iou=0.5, max_per_image=12)
Box = list[float]


@pytest.fixture(scope="module", params=["pointrend", "mask-rcnn"])
def built(request: pytest.FixtureRequest, catalog: Catalog) -> BuiltModel:
    torch.manual_seed(5)
    built = build_model(small_model(request.param), catalog, 14, weights_cache=None)
    for name, parameter in built.module.named_parameters():
        if "reg" in name:
            torch.nn.init.normal_(parameter, std=0.1)
        elif any(part in name for part in ("fc_logits", "conv_logits", "fc_cls", "rpn_cls")) and parameter.dim() > 1:
            torch.nn.init.normal_(parameter)  # spread the answers: untrained heads say the same everywhere
            parameter.data -= parameter.data.mean(1, keepdim=True)
    built.module.eval()
    return built


def assert_same(found: Instances, wanted: Instances) -> None:
    """Hold every array equal, bit for bit."""
    for name in ("labels", "scores", "boxes", "masks"):
        assert np.array_equal(getattr(found, name), getattr(wanted, name)), name


def assert_close(found: Instances, wanted: Instances) -> None:
    assert len(wanted) > 3
    assert found.labels.tolist() == wanted.labels.tolist()
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-5)
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=1e-3)
    masks = [np.stack([decode(c, some.height, some.width) for c in some.masks]) for some in (found, wanted)]
    assert masks[1].any()
    assert (masks[0] == masks[1]).mean() > 0.9999


# --------------------------------------------------------------- one view


@pytest.mark.parametrize("merge", ["shared-proposals", "soft-nms"])
@pytest.mark.parametrize("scales", [[1.0], [1.0, 1.0]])
def test_views_that_are_the_plain_one_change_no_bit(
    built: BuiltModel, rooms: Split, catalog: Catalog, merge: str, scales: list[float]
) -> None:
    tta = PredictTable(tta=[{"name": "multi-scale", "scales": scales}], merge_views=merge)
    viewing = build_viewing(tta, catalog, 14)
    for image in rooms.images[:2]:
        plain = predict_image(built, image, PREDICT, CPU)
        assert len(plain) > 3
        assert_same(predict_image(built, image, PREDICT, CPU, viewing), plain)


@pytest.mark.parametrize(("horizontal", "vertical"), [(True, False), (False, True), (True, True)])
def test_a_mirrored_view_is_a_mirrored_file(
    built: BuiltModel, rooms: Split, tmp_path: Path, horizontal: bool, vertical: bool
) -> None:
    """The image is scaled to its own size, so that the file can be mirrored in the place of the network's input."""
    image = rooms.images[0]
    predict = PREDICT.model_copy(
        update={"long_side": max(image.width, image.height), "short_side": min(image.width, image.height)}
    )
    step_x, step_y = (-1 if horizontal else 1), (-1 if vertical else 1)
    cv2.imwrite(str(tmp_path / "mirrored.png"), read_image(image.file)[::step_y, ::step_x])
    file = ImageInfo(image.id, tmp_path / "mirrored.png", image.width, image.height)
    there = predict_image(built, file, predict, CPU)
    view = predict_image(built, image, predict, CPU, Viewing((View(horizontal=horizontal, vertical=vertical),)))
    boxes = there.boxes.copy()
    if horizontal:
        boxes[:, [0, 2]] = image.width - there.boxes[:, [2, 0]]
    if vertical:
        boxes[:, [1, 3]] = image.height - there.boxes[:, [3, 1]]
    masks = np.empty(len(there), dtype=object)
    masks[:] = [encode(decode(c, image.height, image.width)[::step_y, ::step_x]) for c in there.masks]
    assert_close(view, there.with_rows(there.labels, there.scores, boxes, masks))


def test_a_scaled_view_is_another_size(built: BuiltModel, rooms: Split) -> None:
    larger = PREDICT.model_copy(update={"long_side": 144, "short_side": 144})
    found = predict_image(built, rooms.images[0], PREDICT, CPU, Viewing((View(scale=1.5),)))
    assert_same(found, predict_image(built, rooms.images[0], larger, CPU))


def test_heads_judge_no_proposals(built: BuiltModel) -> None:
    with torch.no_grad():
        features = built.predictor.encode(torch.zeros(1, 3, 64, 64))
        ((boxes, scores),) = built.predictor.boxes(features, [torch.zeros(0, 4)], [(64, 64)])
    assert (len(boxes), scores.shape) == (0, (0, 15))


# ----------------------------------------------------- several views, in loops


def iou(a: Box, b: Box) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inner = max(width, 0.0) * max(height, 0.0)
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return inner / (area - inner) if area > inner else 0.0


def hard_nms(rows: Sequence[tuple[float, Box]], threshold: float) -> list[int]:
    kept: list[int] = []
    for n in sorted(range(len(rows)), key=lambda n: -rows[n][0]):
        if all(iou(rows[n][1], rows[k][1]) <= threshold for k in kept):
            kept.append(n)
    return kept


class LoopView:
    """One view of an image, all of it written out."""

    def __init__(self, built: BuiltModel, pixels: np.ndarray, view: View) -> None:
        self.height, self.width = pixels.shape[:2]
        self.view, self.predictor = view, built.predictor
        self.size = fit_size(
            self.height, self.width, int(PREDICT.long_side * view.scale), int(PREDICT.short_side * view.scale)
        )
        scaled = cv2.resize(pixels, self.size[::-1]).astype(np.float32)[:, :, ::-1]  # to RGB
        scaled = (scaled - np.float32(built.normalisation.mean)) / np.float32(built.normalisation.std)
        scaled = scaled[:: -1 if view.vertical else 1, :: -1 if view.horizontal else 1]
        padded = np.zeros((-(-self.size[0] // 32) * 32, -(-self.size[1] // 32) * 32, 3), np.float32)
        padded[: self.size[0], : self.size[1]] = scaled
        self.features = built.predictor.encode(torch.from_numpy(padded.transpose(2, 0, 1).copy())[None])

    def back(self, box: Box) -> Box:
        x1, y1, x2, y2 = box
        if self.view.horizontal:
            x1, x2 = self.size[1] - x2, self.size[1] - x1
        if self.view.vertical:
            y1, y2 = self.size[0] - y2, self.size[0] - y1
        x, y = self.width / self.size[1], self.height / self.size[0]
        return [x1 * x, y1 * y, x2 * x, y2 * y]

    def there(self, box: Box) -> Box:
        x, y = self.size[1] / self.width, self.size[0] / self.height
        x1, y1, x2, y2 = box[0] * x, box[1] * y, box[2] * x, box[3] * y
        if self.view.horizontal:
            x1, x2 = self.size[1] - x2, self.size[1] - x1
        if self.view.vertical:
            y1, y2 = self.size[0] - y2, self.size[0] - y1
        return [x1, y1, x2, y2]

    def proposals(self) -> list[tuple[float, Box]]:
        ((boxes, scores),) = self.predictor.proposals(self.features, [self.size])
        return [(s, self.back(b)) for s, b in zip(scores.tolist(), boxes.tolist(), strict=True)]

    def judge(self, proposals: list[Box]) -> list[tuple[Box, list[float]]]:
        inside = torch.tensor([self.there(p) for p in proposals])
        ((boxes, scores),) = self.predictor.boxes(self.features, [inside], [self.size])
        return [(self.back(b), s) for b, s in zip(boxes.tolist(), scores.tolist(), strict=True)]

    def masks(self, boxes: list[Box], labels: list[int]) -> np.ndarray:
        inside = torch.tensor([self.there(b) for b in boxes])
        (masks,) = self.predictor.masks(self.features, [inside], [torch.tensor(labels)])
        return masks.numpy()[:, :: -1 if self.view.vertical else 1, :: -1 if self.view.horizontal else 1]


@torch.no_grad()
def shared_in_loops(built: BuiltModel, image: ImageInfo, views: Sequence[View]) -> Instances:
    looks = [LoopView(built, read_image(image.file), view) for view in views]
    rows = [row for look in looks for row in look.proposals()]
    proposals = [rows[n][1] for n in hard_nms(rows, 0.7)][:50]
    judged = [look.judge(proposals) for look in looks]
    found: list[tuple[float, int, Box]] = []
    for label in range(14):
        candidates = []
        for r in range(len(proposals)):
            score = sum(judgement[r][1][label] for judgement in judged) / len(views)
            box = [sum(judgement[r][0][side] for judgement in judged) / len(views) for side in range(4)]
            if score > PREDICT.score_threshold:
                candidates.append((score, box))
        found += [(*candidates[n][:1], label, candidates[n][1]) for n in hard_nms(candidates, PREDICT.nms_iou)]
    found = sorted(found, key=lambda row: -row[0])[: PREDICT.max_per_image]
    scores, labels, boxes = (list(column) for column in zip(*found, strict=True))
    masks = sum(look.masks(boxes, labels) for look in looks) / len(views)
    counts = paste_to_rle(
        torch.from_numpy(masks), torch.tensor(boxes), image.height, image.width, PREDICT.mask_threshold
    )
    return make_instances(image.id, (image.height, image.width), labels, scores, boxes, counts)


VIEWS = {
    "flip": (View(), View(horizontal=True)),
    "scales": (View(0.75), View(), View(1.25)),
    "mixed": (View(horizontal=True, vertical=True), View(1.5, vertical=True)),
}


@pytest.mark.parametrize("views", VIEWS.values(), ids=VIEWS)
def test_shared_proposals_equal_plain_loops(built: BuiltModel, rooms: Split, views: tuple[View, ...]) -> None:
    for image in rooms.images[:2]:
        found = predict_image(built, image, PREDICT, CPU, Viewing(views))
        assert_close(found, shared_in_loops(built, image, views))


def soft_pool(members: Sequence[Instances], limit: int) -> list[tuple[float, int, Box]]:
    """Pool members and run linear soft-NMS, one detection after another."""
    waiting: list[tuple[float, int, Box]] = [
        (float(s), int(label), box)
        for m in members
        for s, label, box in zip(m.scores, m.labels, m.boxes.tolist(), strict=True)
    ]
    settled = []
    while waiting:
        best = max(waiting, key=lambda row: row[0])
        waiting.remove(best)
        settled.append(best)
        lowered = []
        for score, label, box in waiting:
            overlap = iou(best[2], box) if label == best[1] else 0.0
            weaker = score * (1 - overlap) if overlap > 0.5 else score
            if overlap <= 0.5 or weaker >= 0.001:
                lowered.append((weaker, label, box))
        waiting = lowered
    return sorted(settled, key=lambda row: -row[0])[:limit]


def mask_pool(members: Sequence[Instances], limit: int) -> list[tuple[float, int, Box]]:
    """Pool members and drop masks that a better one of their class covers, one after another."""
    rows: list[Any] = []
    for m in members:
        masks = [decode(c, m.height, m.width) for c in m.masks]
        rows += zip(m.scores.tolist(), m.labels.tolist(), m.boxes.tolist(), masks, strict=True)
    kept: list[Any] = []
    for row in sorted(rows, key=lambda row: -row[0]):
        rivals = [k[3] for k in kept if k[1] == row[1]]
        if all((k & row[3]).sum() <= 0.5 * (k | row[3]).sum() for k in rivals):
            kept.append(row)
    return [row[:3] for row in kept][:limit]


@pytest.mark.parametrize(("name", "loops"), [("soft-nms", soft_pool), ("mask-nms", mask_pool)])
def test_pooled_views_equal_plain_loops(
    built: BuiltModel, rooms: Split, catalog: Catalog, name: str, loops: Callable[..., list[tuple[float, int, Box]]]
) -> None:
    table = PredictTable(
        tta=["flip", {"name": "multi-scale", "scales": [1.0, 1.25]}], merge_views={"name": name, "max_per_image": 30}
    )
    viewing = build_viewing(table, catalog, 14)
    assert len(viewing.views) == 4
    found = predict_image(built, rooms.images[1], PREDICT, CPU, viewing)
    members = [predict_image(built, rooms.images[1], PREDICT, CPU, Viewing((view,))) for view in viewing.views]
    wanted = loops(members, 30)
    assert len(found) == len(wanted) > 12
    np.testing.assert_allclose(found.scores, [row[0] for row in wanted], rtol=1e-5)
    assert found.labels.tolist() == [row[1] for row in wanted]
    np.testing.assert_allclose(found.boxes, [row[2] for row in wanted], rtol=1e-6)
    pairs = {(tuple(b), c) for m in members for b, c in zip(m.boxes.tolist(), m.masks, strict=True)}
    assert {(tuple(b), c) for b, c in zip(found.boxes.tolist(), found.masks, strict=True)} <= pairs
