"""Two heads on one backbone: what they predict in one pass, what they learn at once or in turn."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import e_ups_cases
import htc_cases
import numpy as np
import pytest
import torch
from torch import nn

from fineseg import ImageInfo
from fineseg.catalog import load_catalog
from fineseg.mm.ends import SharedDetector
from fineseg.mm.model import BuiltModel, build_model
from fineseg.mm.panoptic import predict_panoptic, predict_panoptic_heads
from fineseg.mm.predict import encode_views, inputs_of, predict_heads, predict_image
from fineseg.mm.validation import mean_figures
from fineseg.mm.views import PLAIN, Viewing
from fineseg.panoptic_predictions import read_panoptic, write_panoptic, write_panoptic_heads
from fineseg.parts import Output, View
from fineseg.predictions import Instances
from fineseg.predictors import SemanticPredictor
from fineseg.profile.schema import ModelTable, PartChoice, PredictTable

THINGS, STUFF = e_ups_cases.THINGS, e_ups_cases.STUFF
CPU = torch.device("cpu")
PREDICT = PredictTable(long_side=90, short_side=75, score_threshold=0.02, max_per_image=7)
ENDS = {
    "maps": PartChoice(name="e-ups", **e_ups_cases.OPTIONS),
    "boxes": PartChoice(name="htc", **htc_cases.HEAD, semantic=True),
}
BACKBONE = PartChoice(name="resnet", depth=18, base_channels=8, norm_eval=False, frozen_stages=1)
NECK = PartChoice(name="fpn", channels=16)


def table(**changes: Any) -> ModelTable:
    return ModelTable(backbone=BACKBONE, neck=NECK, **{"ends": ENDS, **changes})


def build(model: ModelTable) -> BuiltModel:
    torch.manual_seed(1)
    return build_model(model, load_catalog(warn=pytest.fail), THINGS, weights_cache=None, num_stuff=STUFF)


def two_ends() -> BuiltModel:
    """Build both ends, with the variety that training gives."""
    built = build(table())
    maps, boxes = ends_of(built)
    e_ups_cases.spread(maps, 5)
    htc_cases.spread(boxes.roi_head)
    return built


def ends_of(built: BuiltModel) -> list[Any]:
    return list(shared(built).ends)


def shared(built: BuiltModel) -> SharedDetector:
    assert isinstance(built.module, SharedDetector)
    return built.module


def alone(built: BuiltModel, number: int) -> BuiltModel:
    """Build an end as a model of its own, with the same weights."""
    name = list(ENDS)[number]
    single = build(table(ends={}, head=ENDS[name]))
    state = {}
    for key, value in built.module.state_dict().items():
        first, _, rest = key.partition(".")
        if first != "ends":
            state[key] = value
        elif rest.startswith(f"{number}."):
            state[rest.partition(".")[2]] = value
    single.module.load_state_dict(state, strict=True)
    single.module.train(built.module.training)
    return single


@pytest.fixture(scope="module")
def trained() -> BuiltModel:
    built = two_ends()
    built.module.eval()
    return built


@pytest.fixture
def image(tmp_path: Path) -> ImageInfo:
    pixels = np.random.default_rng(2).integers(0, 255, (60, 50, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "x.png"), cv2.resize(pixels, (100, 120), interpolation=cv2.INTER_CUBIC))
    return ImageInfo(4, tmp_path / "x.png", 100, 120)


@pytest.fixture
def passes(trained: BuiltModel) -> Iterator[list[int]]:
    """Count how often the backbone of `trained` runs."""
    counted: list[int] = []
    handle = trained.module.backbone.register_forward_hook(lambda *_: counted.append(1))
    yield counted
    handle.remove()


def same(found: Instances, other: Instances) -> None:
    assert len(found) == len(other) > 0
    np.testing.assert_allclose(found.scores, other.scores, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.boxes, other.boxes, rtol=0, atol=1e-3)
    assert found.labels.tolist() == other.labels.tolist() and found.masks.tolist() == other.masks.tolist()


# ------------------------------------------------------------------------------------------------------- prediction


@pytest.mark.parametrize(
    ("viewing", "views"),
    [(PLAIN, 1), (Viewing((View(), View(horizontal=True), View(scale=0.7)), None), 3)],
    ids=["plain", "views"],
)
def test_one_pass_says_what_two_models_say(
    trained: BuiltModel, image: ImageInfo, passes: list[int], viewing: Viewing, views: int
) -> None:
    found = predict_heads(trained, image, PREDICT, CPU, viewing)
    assert list(found) == ["maps", "boxes"] and len(passes) == views
    for number, answer in enumerate(found.values()):
        same(answer, predict_image(alone(trained, number), image, PREDICT, CPU, viewing))
    assert len(passes) == views


def test_pooled_views_of_ends(trained: BuiltModel, image: ImageInfo, passes: list[int]) -> None:
    viewing = Viewing((View(), View(vertical=True)), lambda found: found[1])
    for number, answer in enumerate(predict_heads(trained, image, PREDICT, CPU, viewing).values()):
        same(answer, predict_image(alone(trained, number), image, PREDICT, CPU, viewing))
    assert len(passes) == 2


@torch.no_grad()
def test_features_and_scores_of_all_classes(trained: BuiltModel, image: ImageInfo) -> None:
    pixels = cv2.imread(str(image.file))
    ((images, frame),) = inputs_of(trained, pixels, PLAIN.views, PREDICT, CPU)
    features = trained.encode_ends(images)
    for number, (name, own) in enumerate(features.items()):
        single = alone(trained, number)
        ((other, same_frame),) = encode_views(single, pixels, PLAIN.views, PREDICT, CPU)
        assert frame == same_frame and len(own) == len(other) == (5, 6)[number]  # the last is a branch's own
        for level, expected in zip(own, other, strict=True):
            torch.testing.assert_close(level, expected, rtol=0, atol=1e-6)
        if isinstance(single.predictor, SemanticPredictor):
            there: Any = trained.ends[name]
            torch.testing.assert_close(there.semantic(own), single.predictor.semantic(other), rtol=0, atol=1e-5)
    assert all(a is b for a, b in zip(features["maps"], features["boxes"], strict=False)), "one pyramid, held once"


def test_an_end_is_also_a_model_that_encodes_for_itself(
    trained: BuiltModel, image: ImageInfo, passes: list[int]
) -> None:
    both = predict_heads(trained, image, PREDICT, CPU)
    for name, answer in both.items():
        same(predict_image(trained.of_end(name), image, PREDICT, CPU), answer)
    assert len(passes) == 3


@torch.no_grad()
def test_features_are_kept_for_their_images_alone(trained: BuiltModel) -> None:
    detector = shared(trained)
    first, second = torch.randn(2, 1, 3, 64, 64)
    maps = detector.extract_feat(first)
    with detector.once(first):
        assert detector.ends[0].extract_feat(first) is detector.ends[1].extract_feat(first)
        assert not torch.equal(detector.ends[0].extract_feat(second)[0], maps[0])
    assert detector.extract_feat(first) is not detector.extract_feat(first)


# --------------------------------------------------------------------------------------------------------- training


def test_joint_losses_and_gradients_are_those_of_two_models_added() -> None:
    built = two_ends()
    built.module.train()
    models = [alone(built, number) for number in range(2)]
    images, samples = e_ups_cases.drawn()
    torch.manual_seed(7)  # sampled RoIs: the ends draw one after the other
    joint = built.module.loss(images, samples)
    torch.manual_seed(7)
    parts = [model.module.loss(images, samples) for model in models]
    names = [f"{end}.{name}" for end, part in zip(ENDS, parts, strict=True) for name in part]
    assert list(joint) == names and {"maps.loss_panoptic", "boxes.s2.loss_mask"} <= joint.keys()
    parted = [e_ups_cases.total(part) for part in parts]
    torch.testing.assert_close(e_ups_cases.total(joint), sum(parted), rtol=1e-6, atol=0)

    e_ups_cases.total(joint).backward()
    for each in parted:
        each.backward()
    gradients = [{n: p.grad for n, p in model.module.named_parameters()} for model in models]
    compared = 0
    for name, parameter in built.module.named_parameters():
        end, own = shared(built).place(name)
        numbers = [list(ENDS).index(end)] if end is not None else [0, 1]
        given = [gradients[number][own] for number in numbers]
        if parameter.grad is None:
            assert all(gradient is None for gradient in given), name
            continue
        expected = torch.stack([gradient for gradient in given if gradient is not None]).sum(dim=0)
        off, size = (parameter.grad - expected).abs().max(), expected.abs().max()
        assert off <= 1e-4 * size, (name, float(off), float(size))
        compared += end is None and all(gradient is not None and bool(gradient.any()) for gradient in given)
    assert compared > 20, "what both ends teach"


def test_later_ends_leave_the_first_and_what_is_shared_as_they_are() -> None:
    built = two_ends()
    detector = shared(built)
    free = {name for name, parameter in detector.named_parameters() if parameter.requires_grad}
    assert any(name.startswith("backbone.layer1") for name, _ in detector.named_parameters())
    detector.train()
    kinds = []
    for phase, active in ((0, "maps"), (1, "boxes")):
        detector.learn((phase,), shared=phase == 0)
        before = {name: value.clone() for name, value in detector.state_dict().items()}
        losses = take_steps(detector)
        assert {name.partition(".")[0] for name in losses} == {active}
        moved = {n for n, value in detector.state_dict().items() if not torch.equal(value, before[n])}
        kinds.append({detector.place(name)[0] for name in moved})
        still = [p for n, p in detector.named_parameters() if not p.requires_grad]
        assert all(parameter.grad is None for parameter in still)
    assert kinds == [{None, "maps"}, {"boxes"}]
    assert not detector.backbone.training and not detector.ends[0].training and detector.ends[1].training
    detector.learn((0, 1), shared=True)
    assert {name for name, parameter in detector.named_parameters() if parameter.requires_grad} == free
    assert not any(name.startswith("backbone.layer1") for name in free), "frozen stages never learn"


def take_steps(detector: nn.Module) -> dict[str, Any]:
    """Train a little, with momentum and decay, which would move weights that have no gradient of their own."""
    optimiser = torch.optim.SGD(detector.parameters(), lr=1e-3, momentum=0.9, weight_decay=0.1)
    losses: dict[str, Any] = {}
    for seed in range(3):
        images, samples = e_ups_cases.drawn(2, seed=seed)
        losses = detector.loss(images, samples)  # type: ignore[operator]
        optimiser.zero_grad()
        e_ups_cases.total(losses).backward()
        optimiser.step()
    return losses


def test_without_gradients_for_the_backbone_its_steps_are_not_kept() -> None:
    built = two_ends()
    built.module.train()
    shared(built).learn((1,), shared=False)
    images, _ = e_ups_cases.drawn(1)
    assert not any(level.requires_grad for level in shared(built).extract_feat(images))
    shared(built).learn((0,), shared=True)
    assert all(level.requires_grad for level in shared(built).extract_feat(images))


def test_each_ends_rules_hold_for_its_own_parameters() -> None:
    """E-UPS lets biases learn twice as fast, HTC does not; for backbone and neck the first end decides."""
    built, turned = build(table()), build(table(ends=dict(reversed(ENDS.items()))))
    for model, first in ((built, "maps"), (turned, "boxes")):
        names = [name for name, _ in model.module.named_parameters() if "bias" in name]
        ruled = {name for name in names if name in model.paramwise}
        owners = {shared(model).place(name)[0] for name in ruled}
        assert owners == ({"maps", None} if first == "maps" else {"maps"})
        unruled = set(names) - ruled
        assert not any(shared(model).place(name)[0] == "maps" for name in unruled)
        assert all(model.paramwise[name] == {"lr_mult": 2.0, "decay_mult": 0.0} for name in ruled)
    assert built.paramwise.keys() <= {name for name, _ in built.module.named_parameters()}


def test_what_training_needs_is_what_any_end_needs() -> None:
    plain = PartChoice(name="htc", **htc_cases.HEAD)
    assert build(table()).needs_semantic
    assert not build(table(ends={"a": plain, "b": plain})).needs_semantic
    assert build(table(ends={"a": plain, "b": ENDS["maps"]})).needs_semantic
    processor: Any = build(table(ends={"a": plain, "b": ENDS["maps"]})).module.data_preprocessor
    assert processor.pad_seg and processor.pad_mask


def test_tasks_of_ends_are_told_apart() -> None:
    built = build(table())
    assert set(built.loss_groups.values()) == {
        f"{end}/{task}" for end, head in ENDS.items() for task in build(table(ends={}, head=head)).loss_groups.values()
    }
    assert all(beginning.startswith(("maps.", "boxes.")) for beginning in built.loss_groups)


def test_figures_of_ends_and_their_mean() -> None:
    assert mean_figures({"": {"AP": 3.0}}) == {"AP": 3.0}
    found = mean_figures({"a": {"AP": 3.0, "APs": 1.0}, "b": {"AP": 6.0}})
    assert found == {"AP": 4.5, "APs": 1.0, "a.AP": 3.0, "a.APs": 1.0, "b.AP": 6.0}


def test_a_model_of_one_head_has_no_ends() -> None:
    single = build(table(ends={}, head=ENDS["boxes"]))
    assert single.ends == {} and not isinstance(single.module, SharedDetector)
    with pytest.raises(ValueError, match="a model with one head has no ends"):
        single.encode_ends(torch.zeros(1, 3, 64, 64))
    with pytest.raises(ValueError, match="a model has a head, or ends"):
        build(table(ends={}))


# -------------------------------------------------------------------------------------- all that panoptic ends give


GIVES: dict[str, tuple[Output, ...]] = {"maps": ("instances", "semantic", "panoptic"), "boxes": ("instances",)}


def test_panoptic_answers_of_one_pass(trained: BuiltModel, image: ImageInfo, passes: list[int]) -> None:
    found = predict_panoptic_heads(trained, image, PREDICT, CPU, GIVES)
    assert list(found) == ["maps", "boxes"] and len(passes) == 1
    for number, (end, answer) in enumerate(found.items()):
        other = predict_panoptic(alone(trained, number), image, PREDICT, CPU, GIVES[end])
        same(answer.instances, other.instances)
        assert (answer.semantic is None) == (answer.panoptic is None) == (end == "boxes")
        if answer.panoptic is not None and other.panoptic is not None:
            assert np.array_equal(answer.panoptic.ids, other.panoptic.ids)
            assert answer.panoptic.segments == other.panoptic.segments
            assert answer.semantic is not None and other.semantic is not None
            np.testing.assert_allclose(answer.semantic.probabilities, other.semantic.probabilities, atol=1e-6)


def test_files_of_several_heads_are_those_of_each(trained: BuiltModel, image: ImageInfo, tmp_path: Path) -> None:
    found = predict_panoptic_heads(trained, image, PREDICT, CPU, GIVES)
    paths = {end: tmp_path / f"{end}.parquet" for end in GIVES}
    told = write_panoptic_heads(paths, iter([found, found]), "compact")
    for end, path in paths.items():
        assert told[end] == [found[end].instances] * 2
        write_panoptic(tmp_path / "alone.parquet", iter([found[end]] * 2), "compact")
        mine, other = (list(read_panoptic([each], semantic=True)) for each in (path, tmp_path / "alone.parquet"))
        assert [(r.png, r.segments, r.scores) for r in mine] == [(r.png, r.segments, r.scores) for r in other]


def test_a_write_that_breaks_off_leaves_no_file(trained: BuiltModel, image: ImageInfo, tmp_path: Path) -> None:
    answer = predict_panoptic_heads(trained, image, PREDICT, CPU, GIVES)

    def broken() -> Iterator[Any]:
        yield answer
        raise KeyError

    with pytest.raises(KeyError):
        write_panoptic_heads({end: tmp_path / f"{end}.parquet" for end in GIVES}, broken(), "none")
    assert not [path for path in tmp_path.iterdir() if "parquet" in path.name]
