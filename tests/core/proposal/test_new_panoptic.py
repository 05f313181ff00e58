"""`fineseg new` for panoptic files: what it writes passes `check --data`, and trains a model that makes maps."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from panoptic_cases import change
from training_cases import Recorder

from fineseg.catalog import load_catalog
from fineseg.mm.model import build_model
from fineseg.mm.panoptic import predict_panoptic
from fineseg.mm.predict import load_trained
from fineseg.mm.training import TrainingJob, train_model
from fineseg.profile import load_profile
from fineseg.proposal.measure import Machine
from fineseg_datasets.showroom import write_panoptic_split

Answer = tuple[int, str, str]
STATION = Machine(cores=16, memory=100.0, gpus=(24.0, 24.0))
ROOMS = ("--coco", "annotations/panoptic_train.json", "--images", "images")
TRAIN = Path("annotations") / "panoptic_train.json"
WEIGHTS = "weights_mobilenet_v2_quant/mobilenet_v2_1.0_224_quant.npz"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rooms")
    write_panoptic_split(folder, "train", 8, (96, 64), seed=1)
    write_panoptic_split(folder, "val", 3, (96, 64), seed=2)
    return folder


@pytest.fixture
def rooms(drawn: Path, tmp_path: Path) -> Path:
    """Fill the working folder with drawn rooms: their pictures and PNGs by links, JSON of its own."""
    (tmp_path / "annotations").mkdir()
    (tmp_path / "images").symlink_to(drawn / "images")
    for split in ("train", "val"):
        name = f"panoptic_{split}"
        (tmp_path / "annotations" / name).symlink_to(drawn / "annotations" / name)
        (tmp_path / "annotations" / f"{name}.json").write_bytes((drawn / "annotations" / f"{name}.json").read_bytes())
    return tmp_path


def tables_of(profile: Path) -> dict[str, Any]:
    return tomllib.loads(profile.read_text(encoding="utf-8"))


def stuff_areas(file: Path) -> list[int]:
    """Return the areas that a file states of its stuff, in order."""
    document = json.loads(file.read_text())
    stuff = {each["id"] for each in document["categories"] if not each["isthing"]}
    segments = [each for row in document["annotations"] for each in row["segments_info"]]
    return sorted(each["area"] for each in segments if each["category_id"] in stuff)


@pytest.mark.parametrize("machine", [Machine(cores=2, memory=20.0), STATION], ids=["cpu", "gpu"])
@pytest.mark.parametrize("weights", [False, True], ids=["random", "imagenet"])
def test_what_it_writes_passes_the_check(
    machine: Machine, weights: bool, rooms: Path, call: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fineseg.proposal.surroundings.this_machine", lambda: machine)
    monkeypatch.setattr("fineseg.proposal.surroundings.answers", lambda address: weights)
    code, out, _ = call("new", "p.toml", *ROOMS)
    assert code == 0 and out.startswith("wrote p.toml: about ")
    assert call("check", "p.toml", "--data")[:2] == (0, "p.toml: ok; models first; next: fineseg run p.toml\n")
    text, tables = (rooms / "p.toml").read_text(encoding="utf-8"), tables_of(rooms / "p.toml")
    assert tables["competition"] == {"name": "p", "task": "panoptic"}
    assert tables["data"] == {
        "dataset": {
            "name": "coco-panoptic",
            "annotations": {"train": "annotations/panoptic_train.json"},
            "maps": {"train": "annotations/panoptic_train"},
            "images": {"train": "images"},
        },
        "root": ".",
        "train": "train",
        "validation": {"random": 1, "seed": 0},
    }
    assert "combine" not in tables and tables["submission"] == {"format": "coco-panoptic"}
    model, areas = tables["models"]["first"], stuff_areas(rooms / TRAIN)
    rules = model["head"]["panoptic"]
    below = sum(area < rules["stuff_area"] for area in areas)
    assert 0 < below <= 0.2 * len(areas) and f"# Stuff     {len(areas)} segments of 8 classes: " in text
    assert rules["score"] == (0.6 if machine is STATION else 0.4)
    assert rules["objects"] == tables["predict"]["max_per_image"] <= model["head"]["rpn"]["test_proposals"]
    assert ("weights" in model["backbone"]) == weights and model["neck"]["gap"] is True
    assert "precision" not in tables["train"]  # mixed precision is not proposed where nobody measured it


def test_validation_of_its_own(rooms: Path, call: Callable[..., Answer]) -> None:
    assert call("new", "p.toml", *ROOMS, "--val", "annotations/panoptic_val.json")[0] == 0
    data = tables_of(rooms / "p.toml")["data"]
    assert data["validation"] == "val"
    assert data["dataset"]["maps"] == {split: f"annotations/panoptic_{split}" for split in ("train", "val")}
    assert data["dataset"]["images"] == {"train": "images", "val": "images"}


def test_things_alone(rooms: Path, call: Callable[..., Answer]) -> None:
    assert call("new", "p.toml", *ROOMS, "--task", "instance")[0] == 0
    assert call("check", "p.toml", "--data")[0] == 0
    tables = tables_of(rooms / "p.toml")
    assert tables["data"]["dataset"]["name"] == "coco-panoptic" and "task" not in tables["competition"]
    assert tables["models"]["first"]["head"]["name"] in ("mask-rcnn", "pointrend")
    assert tables["submission"]["format"]["name"] == "coco-json"


def test_things_alone_of_data_without_stuff(rooms: Path, call: Callable[..., Answer]) -> None:
    document = json.loads((rooms / TRAIN).read_text())
    change(rooms / TRAIN, categories=[{**each, "isthing": 1} for each in document["categories"]])
    code, out, err = call("new", "p.toml", *ROOMS)
    assert (code, out) == (1, "") and "8 images with no stuff" in err and not (rooms / "p.toml").exists()
    assert call("new", "p.toml", *ROOMS, "--task", "instance")[0] == 0


def test_wrong_map_leaves_no_profile(rooms: Path, call: Callable[..., Answer]) -> None:
    document = json.loads((rooms / TRAIN).read_text())
    document["annotations"][2]["segments_info"].pop()
    change(rooms / TRAIN, annotations=document["annotations"])
    code, out, err = call("new", "p.toml", *ROOMS)
    name = document["annotations"][2]["file_name"]
    assert (code, out) == (1, "") and f"{name}: image " in err and "is in the map but not listed" in err
    assert not (rooms / "p.toml").exists()


def test_profile_trains_a_model_that_makes_maps(rooms: Path, call: Callable[..., Answer]) -> None:
    """The model of the profile as it is, one epoch long, on images that it makes small."""
    assert call("new", "p.toml", *ROOMS, "--val-fraction", "0.25")[0] == 0
    catalog = load_catalog(warn=lambda _: None)
    small = [
        "train.epochs=1",
        "train.long_side=96",
        "train.short_side=[64, 64]",
        "models.first.head.panoptic.score=0.01",
    ]
    profile = load_profile(rooms / "p.toml", catalog, settings=small).profile
    part, options = catalog.choose("dataset", profile.data.dataset.name, profile.data.dataset.options)
    split = part.read(options, rooms, "train")
    learned, scored = (split.select([image.id for image in images]) for images in (split.images[:6], split.images[6:]))
    recorder = Recorder(rooms / "kept")
    places = {"folder": rooms / "work", "weights_cache": rooms}
    job = TrainingJob(
        profile.models["first"], profile.train, profile.predict, profile.metric, learned, scored, **places
    )
    (rooms / "work").mkdir()
    train_model(job, catalog, recorder.events())
    assert len(recorder.steps) == 3  # a loss that is no number would have ended it
    built = build_model(
        profile.models["first"],
        catalog,
        len(split.categories),
        weights_cache=rooms,
        init=False,
        num_stuff=len(split.stuff),
    )
    load_trained(built, rooms / "kept" / "1" / "weights.pth")
    built.module.eval()
    head, _ = catalog.choose("head", profile.models["first"].head.name, profile.models["first"].head.options)
    look = scored.images[0]
    found = predict_panoptic(built, look, profile.predict, torch.device("cpu"), head.gives).panoptic
    assert found is not None and found.ids.shape == (look.height, look.width)
    limit = profile.models["first"].head.options["panoptic"]["stuff_area"]
    stuff = [each for each in found.segments if each.label >= len(split.categories)]
    assert all((found.ids == each.id).sum() >= limit for each in stuff)


@pytest.mark.realdata
def test_real_photographs(tmp_path: Path, shared_data: Path, call: Callable[..., Answer]) -> None:
    real = shared_data / "coco_panoptic_train100"
    given = ("--coco", str(real / "panoptic_train100.json"), "--images", str(real / "images"))
    code, out, err = call("new", "coco.toml", *given, "--weights", str(shared_data / WEIGHTS))
    assert code == 0 and "of training" in out and all(line.startswith("warning: ") for line in err.splitlines())
    assert call("check", "coco.toml", "--data")[0] == 0
    text, tables = (tmp_path / "coco.toml").read_text(encoding="utf-8"), tables_of(tmp_path / "coco.toml")
    assert "100 images, 740 objects of 80 classes: person " in text and "365 segments of 53 classes: " in text
    assert 1000 < tables["models"]["first"]["head"]["panoptic"]["stuff_area"] < 10_000  # 4096 on COCO, as published
    assert tables["models"]["first"]["backbone"]["weights"].endswith("quant.npz")
