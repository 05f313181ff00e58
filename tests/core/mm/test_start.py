"""A published checkpoint as a detector's start: what fits computes what it did there, what does not is named."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published import MASK_RCNN, OURS, POINTREND, save_as_mmengine, stock
from torch import nn

from fineseg import FinesegError
from fineseg.catalog import Catalog
from fineseg.mm.given import take_weights
from fineseg.mm.model import BuiltModel, build_model
from fineseg.mm.start import detector_state
from fineseg.mm.weights import read_checkpoint
from fineseg.profile.schema import PartChoice

BOTH = [POINTREND, MASK_RCNN]


@pytest.fixture(scope="module")
def nets() -> dict[str, nn.Module]:
    return {name: stock(name) for name in BOTH}


@pytest.fixture(scope="module")
def files(nets: dict[str, nn.Module], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: save_as_mmengine(nets[name], name, tmp_path_factory.mktemp("published")) for name in BOTH}


def started(name: str, catalog: Catalog, source: Path, classes: int = 80, **parts: Any) -> BuiltModel:
    torch.manual_seed(8)
    table = OURS[name].model_copy(update={"weights": str(source), **parts})
    return build_model(table, catalog, classes, weights_cache=source.parent)


@pytest.mark.parametrize("name", BOTH)
def test_a_published_detector_computes_here_what_it_does_there(
    name: str, nets: dict[str, nn.Module], files: dict[str, Path], catalog: Catalog
) -> None:
    built, net = started(name, catalog, files[name]), nets[name]
    ours = built.module.eval()
    image = torch.randint(0, 256, (3, 96, 128), dtype=torch.uint8)
    images = [module.data_preprocessor({"inputs": [image]}, False)["inputs"] for module in (ours, net)]
    assert torch.equal(*images)
    corner = torch.rand(7, 2) * 60
    boxes = torch.cat([corner, corner + 5 + torch.rand(7, 2) * 60], dim=1)
    rois = torch.cat([torch.zeros(7, 1), boxes], dim=1)
    labels = torch.arange(7) * 11
    with torch.no_grad():
        there, here = net.extract_feat(images[0]), built.predictor.encode(images[0])
        proposals = [[each for kind in module.rpn_head(there) for each in kind] for module in (ours, net)]
        outputs = [module.roi_head._bbox_forward(there, rois) for module in (ours, net)]
        masks = net.roi_head._mask_forward(there, rois)["mask_preds"]
        refined, head = masks, ours.roi_head
        if name == POINTREND:
            mine = head.coarse_logits(there, boxes, rois[:, 0].long())
            refined = net.roi_head._mask_point_forward_test(there, rois, labels, masks)
        else:
            mine = head._mask_forward(there, rois)["mask_preds"]
        drawn = built.predictor.masks(there, [boxes], [labels])[0]
    for a, b in zip([*here, *proposals[0], mine], [*there, *proposals[1], masks], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max()))
    for key in ("cls_score", "bbox_pred"):
        torch.testing.assert_close(outputs[0][key], outputs[1][key], rtol=1e-4, atol=1e-4)
    probabilities = refined[torch.arange(7), labels].sigmoid()
    assert drawn.std() > 0.01 and ((drawn - probabilities).abs() < 1e-3).float().mean() > 0.999
    total = sum("num_batches_tracked" not in key for key in ours.state_dict())
    assert built.notes == (f"{files[name]}: {total} of the model's {total} tensors taken",)


CLASS_LAYERS = {
    POINTREND: [
        "roi_head.bbox_head.fc_cls",
        "roi_head.bbox_head.fc_reg",
        "roi_head.mask_head.fc_logits",
        "roi_head.point_head.fcs.0.conv",
        "roi_head.point_head.fcs.1.conv",
        "roi_head.point_head.fcs.2.conv",
        "roi_head.point_head.fc_logits",
    ],
    MASK_RCNN: ["roi_head.bbox_head.fc_cls", "roi_head.bbox_head.fc_reg", "roi_head.mask_head.conv_logits"],
}


@pytest.mark.parametrize("name", BOTH)
def test_other_classes_leave_what_depends_on_them_at_its_start(
    name: str, nets: dict[str, nn.Module], files: dict[str, Path], catalog: Catalog
) -> None:
    built = started(name, catalog, files[name], classes=34)
    assert set(built.notes[1:]) == {
        f"left at its start: {layer} (80 classes there, 34 here)" for layer in CLASS_LAYERS[name]
    }
    torch.manual_seed(8)
    blank = build_model(OURS[name], catalog, 34, weights_cache=None).module.state_dict()
    there, here = nets[name].state_dict(), built.module.state_dict()
    assert there.keys() == here.keys() == blank.keys()
    left = {key for key in here if there[key].shape != here[key].shape}
    assert left and all(torch.equal(here[key], blank[key] if key in left else there[key]) for key in here)
    counted = [key for key in here if "num_batches_tracked" not in key]
    assert built.notes[0].endswith(f": {len(counted) - len(left)} of the model's {len(counted)} tensors taken")


def test_what_differs_otherwise_is_named_as_such(files: dict[str, Path], catalog: Catalog) -> None:
    table = OURS[POINTREND]
    backbone = table.backbone.model_copy(update={"style": "pytorch", "dcn": "v1"})
    head = table.head.model_copy(update={"box": {**table.head.options["box"], "class_agnostic": True}})
    notes = started(POINTREND, catalog, files[POINTREND], 34, backbone=backbone, head=head).notes
    layer = "roi_head.bbox_head.fc_reg"
    assert (
        f"left at its start: {layer} (weight is (320, 32) there, (4, 32) here; bias is (320,) there, (4,) here)"
        in notes
    )
    assert "left at its start: roi_head.bbox_head.fc_cls (80 classes there, 34 here)" in notes
    (absent,) = [note for note in notes if note.endswith("(not in the file)")]
    assert absent.count("conv_offset") == 13 and "backbone.layer2.0.conv2.conv_offset" in absent
    (beware,) = [note for note in notes if note.startswith("beware")]
    assert "mean [103.53, 116.28, 123.675] and deviation [1.0, 1.0, 1.0], here [123.675, 116.28, 103.53]" in beware


def test_wrapped_averaged_and_older_names(nets: dict[str, nn.Module], catalog: Catalog, tmp_path: Path) -> None:
    net = nets[MASK_RCNN]
    state = net.state_dict()
    wrapped = {"state_dict": {f"module.{key}": value.half() for key, value in state.items()}}
    torch.save(wrapped, tmp_path / "wrapped.pth")
    averaged = {"ema_state_dict": {"steps": torch.tensor(3), **wrapped["state_dict"]}, "meta": {"epoch": 1}}
    torch.save(averaged, tmp_path / "averaged.pth", _use_new_zipfile_serialization=False)
    for name in ("wrapped", "averaged"):
        built = started(MASK_RCNN, catalog, tmp_path / f"{name}.pth")
        assert len(built.notes) == 1
        assert all(torch.equal(value, state[key].half()) for key, value in built.module.state_dict().items())
    names = ("backbone.layer2.0.conv2_offset.weight", "neck.a.weight", "ema_neck_a_weight")
    old = detector_state({name: torch.ones(1) for name in names})
    assert list(old) == ["backbone.layer2.0.conv2.conv_offset.weight", "neck.a.weight"]


def test_averaged_weights_as_mmengine_saves_them(catalog: Catalog, tmp_path: Path) -> None:
    net = stock(MASK_RCNN)
    file = save_as_mmengine(net, MASK_RCNN, tmp_path, averaged=True)
    assert "ema_state_dict" in read_checkpoint(file)
    built = started(MASK_RCNN, catalog, file)
    assert len(built.notes) == 1
    here = built.module.state_dict()
    assert all(torch.allclose(here[key], value) for key, value in net.state_dict().items())


def test_a_classifier_of_mmdet_1_has_its_background_first(nets: dict[str, nn.Module]) -> None:
    """Both versions say the same of a RoI: class for class, with the background where each has it."""
    state = nets[MASK_RCNN].state_dict()
    old = {}
    for key, value in state.items():
        name = key.removeprefix("roi_head.")
        if name.startswith("bbox_head.fc_cls"):
            value = torch.cat([value[-1:], value[:-1]])
        elif name.startswith("bbox_head.fc_reg"):
            value = torch.cat([torch.full_like(value[:4], 9), value])
        elif name.startswith("mask_head.conv_logits"):
            value = torch.cat([torch.full_like(value[:1], 9), value])
        old[name] = value
    new = detector_state(old)
    assert new.keys() == state.keys() and all(torch.equal(new[key], state[key]) for key in state)
    agnostic = {**old, "bbox_head.fc_reg.weight": torch.ones(4, 3), "bbox_head.fc_reg.bias": torch.ones(4)}
    assert len(detector_state(agnostic)["roi_head.bbox_head.fc_reg.weight"]) == 4
    stages = {re.sub(r"^(bbox|mask)_head\.", r"\1_head.1.", key): value for key, value in old.items()}
    cascade = detector_state(stages)
    logits = "roi_head.mask_head.1.conv_logits.weight"
    assert torch.equal(cascade[logits], state["roi_head.mask_head.conv_logits.weight"])
    single_stage = {"bbox_head.fc_cls.weight": torch.ones(3, 2)}
    assert detector_state(single_stage).keys() == single_stage.keys()


def test_a_file_of_another_detector_is_refused(
    nets: dict[str, nn.Module], files: dict[str, Path], catalog: Catalog, tmp_path: Path
) -> None:
    ahead = r"no start for this model: \d+ of its \d+ tensors fit this model's \d+, fewer than half; "
    with pytest.raises(FinesegError, match=ahead + "give a checkpoint of a detector with this"):
        started(MASK_RCNN, catalog, files[POINTREND])
    shallow = PartChoice(name="resnet", depth=18, base_channels=8)  # whose convolutions a ResNet-50 has among others
    with pytest.raises(FinesegError, match=ahead):
        started(POINTREND, catalog, files[POINTREND], backbone=shallow)
    torch.save(nets[MASK_RCNN].backbone.state_dict(), tmp_path / "b.pth")
    with pytest.raises(FinesegError, match=r"0 of its .*; weights of a backbone alone belong to it: backbone = "):
        started(MASK_RCNN, catalog, tmp_path / "b.pth")
    torch.save({}, tmp_path / "empty.pth")
    with pytest.raises(FinesegError, match="no start for this model: 0 of its 0 tensors"):
        started(MASK_RCNN, catalog, tmp_path / "empty.pth")


def test_a_published_detector_predicts_untrained(
    nets: dict[str, nn.Module], files: dict[str, Path], catalog: Catalog, tmp_path: Path
) -> None:
    assert take_weights(OURS[POINTREND], catalog, 80, files[POINTREND], tmp_path / "weights.pth") == []
    taken = read_checkpoint(tmp_path / "weights.pth")["model"]
    state = nets[POINTREND].state_dict()
    assert taken.keys() == state.keys() and all(torch.equal(taken[key], state[key]) for key in state)


def test_the_history_beside_the_tensors_comes_back_empty(files: dict[str, Path]) -> None:
    loaded = read_checkpoint(files[MASK_RCNN])
    scalars = loaded["message_hub"]["log_scalars"]
    assert {"train/loss", "val/coco_AP"} <= scalars.keys()
    assert {type(value).__module__ for value in scalars.values()} == {"fineseg.mm.weights"}
    assert not any(vars(value) for value in scalars.values())
    assert not isinstance(scalars["train/loss"], np.ndarray) and loaded["meta"]["epoch"] == 1
