"""The look at a profile's data: each image opened once, findings kept under what they were found in."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fineseg import FinesegError
from fineseg.catalog import load_catalog
from fineseg.console import Console
from fineseg.data import checks
from fineseg.profile import load_profile
from fineseg.scheduling.scheduler import Scheduler
from fineseg.stages.context import Context
from fineseg.stages.examine import Examined, examine
from fineseg.stages.prepare import prepare, read_data, read_root
from fineseg.store import Store

PROFILE = """
[competition]
name = "blobs"

[data]
dataset = { name = "coco-instance", annotations = "{split}.json", images = "." }
root = "data"
train = "train"
validation = "val"

[train]
epochs = 1
lr = 0.01
batch = 2

[models.a]
backbone = "resnet"
neck = "fpn"
head = "mask-rcnn"
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return a folder with a profile and its data, five sound images in two splits."""
    data = tmp_path / "data"
    data.mkdir()
    for split, count in (("train", 3), ("val", 2)):
        for number in range(1, count + 1):
            noise = np.random.default_rng([number, *split.encode()]).integers(0, 255, (40, 50, 3), dtype=np.uint8)
            Image.fromarray(noise).save(data / f"{split}{number}.png")
        write(data / f"{split}.json", document(split, count))
    (tmp_path / "blobs.toml").write_text(PROFILE)
    return tmp_path


def document(split: str, count: int) -> dict[str, Any]:
    square = [5, 5, 25, 5, 25, 25, 5, 25]
    rows = {"category_id": 1, "segmentation": [square], "area": 400, "bbox": [5, 5, 20, 20]}
    return {
        "images": [{"id": n, "file_name": f"{split}{n}.png", "width": 50, "height": 40} for n in range(1, count + 1)],
        "annotations": [{"id": n, "image_id": n, **rows} for n in range(1, count + 1)],
        "categories": [{"id": 1, "name": "blob"}],
    }


def write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


def change(site: Path, split: str, edit: Callable[[Any], object]) -> None:
    file = site / "data" / f"{split}.json"
    value = json.loads(file.read_text())
    edit(value)
    write(file, value)


def context_of(site: Path) -> Context:
    catalog = load_catalog(warn=pytest.fail)
    loaded = load_profile(site / "blobs.toml", catalog)
    console = Console()
    store = Store(site / "store")
    return Context(loaded.profile, loaded.tables, loaded.file, catalog, store, console, Scheduler(console))


def look(site: Path) -> Examined:
    context = context_of(site)
    return examine(context, read_root(context)[1])


def lines(examined: Examined) -> list[str]:
    return [f"{each.severity}: {each.line}" for each in examined.findings]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the files that are read from now on, for their pixels or for their hash."""
    seen: list[str] = []
    whole, hashed = checks.open_picture, checks._hash_known

    def hash_known(path: Path, known: dict[str, list[Any]]) -> str:
        before = dict(known)
        digest = hashed(path, known)
        seen.extend([path.name] if known != before else [])
        return digest

    monkeypatch.setattr(checks, "open_picture", lambda file: seen.append(file.name) or whole(file))
    monkeypatch.setattr(checks, "_hash_known", hash_known)
    return seen


def test_each_image_is_opened_once_and_not_again(site: Path, opened: list[str]) -> None:
    assert look(site).findings == ()
    assert sorted(opened) == ["train1.png", "train2.png", "train3.png", "val1.png", "val2.png"]
    again = look(site)
    prepared = prepare(context_of(site))
    assert len(opened) == 5
    assert again.sound and again.digests == prepared.digests == read_data(context_of(site)).digests


def test_findings_are_kept_for_what_they_were_found_in(site: Path, opened: list[str]) -> None:
    change(site, "train", lambda d: d["annotations"][0].update(area=2000))
    found = ["warning: train: image 1 (train1.png): object 1: its area is given as 2000; its mask has 400 pixels"]
    assert lines(look(site)) == lines(look(site)) == found
    assert len(opened) == 5
    (site / "data" / "train1.png").rename(site / "data" / "one.png")
    change(site, "train", lambda d: d["images"][0].update(file_name="one.png"))
    assert lines(look(site)) == [found[0].replace("train1.png", "one.png")]
    change(site, "train", lambda d: d["annotations"][0].update(area=400))
    assert lines(look(site)) == []


def test_findings_of_an_older_form_are_not_misread(site: Path) -> None:
    """What was kept before findings had kinds stands under another key."""
    context = context_of(site)
    metric = context.profile.metric.model_dump(mode="json")
    from fineseg.store import content_key

    old = content_key({"digests": dict(read_data(context).digests), "metric": metric})
    (site / "store" / "checks" / old).mkdir(parents=True)
    write(site / "store" / "checks" / old / "findings.json", [{"severity": "error", "where": "x", "what": "y"}])
    assert look(site).findings == ()


def test_all_missing_and_damaged_files_are_listed(site: Path) -> None:
    data = site / "data"
    for name in ("train2.png", "train3.png", "val2.png"):
        (data / name).unlink()
    (data / "val1.png").write_bytes((data / "val1.png").read_bytes()[:900])
    change(site, "val", lambda d: d["annotations"][1].update(bbox=[5, 5, 200, 20]))
    for _ in range(2):
        examined = look(site)
        assert [line.split(": ")[1:3] for line in lines(examined)] == [
            ["train", "image 2 (train2.png)"],
            ["train", "image 3 (train3.png)"],
            ["val", "image 2 (val2.png)"],
            ["val", "image 1 (val1.png)"],
            ["val", "image 2 (val2.png)"],
        ]
        assert [each.kind for each in examined.findings] == [*["image-missing"] * 3, "image-unreadable", "box-beyond"]
        assert not examined.digests
    with pytest.raises(FinesegError) as caught:
        prepare(context_of(site))
    assert len(str(caught.value).splitlines()) == 4
    assert not (site / "store" / "checks").exists()


def test_a_damaged_file_that_is_mended_is_fine(site: Path) -> None:
    file = site / "data" / "val1.png"
    whole = file.read_bytes()
    file.write_bytes(whole[:900])
    assert not look(site).sound
    file.write_bytes(whole)
    assert look(site).findings == ()


def test_classes_that_differ_are_findings(site: Path) -> None:
    change(site, "val", lambda d: d["categories"][0].update(name="blot"))
    assert lines(look(site)) == [
        "error: val: its classes differ from those of train: id 1 is 'blot', there 'blob'",
    ]


def test_groups_of_the_annotations(site: Path) -> None:
    profile = site / "blobs.toml"
    profile.write_text(PROFILE.replace('images = "."', 'images = ".", group = "room"'))
    for split, rooms in (("train", ["a", "a", "b"]), ("val", ["c", "d"])):
        change(site, split, lambda d, rooms=rooms: [i.update(room=r) for i, r in zip(d["images"], rooms, strict=True)])
    assert look(site).findings == ()
    change(site, "val", lambda d: d["images"][1].update(room="b"))  # nothing else changes
    assert lines(look(site)) == ["error: val: image 2 (val2.png): group 'b' also lies in train: image 3 (train3.png)"]


def test_a_run_tells_the_worst_first_and_not_all(
    site: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fineseg.console.MOMENT", 1e6)
    for row in range(3):
        change(site, "train", lambda d, row=row: d["annotations"][row].update(area=2000, bbox=[5, 5, 50, 20]))
    change(site, "val", lambda d: d["annotations"][0].update(area=2000))
    twin = Image.open(site / "data" / "train1.png")
    twin.save(site / "data" / "val2.png", compress_level=1)
    prepare(context_of(site))
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("warning: val: image 2 (val2.png): looks the same as train: image 1 (train1.png)")
    assert told[1].startswith("warning: 4 stated areas are far from the mask's: train: image 1") and len(told) == 5
    assert told[1].endswith("; and 1 more")
