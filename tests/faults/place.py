"""A folder with everything sound that commands read, and ways to spoil it."""

import gzip
import json
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_sets import as_coco, as_results, draw
from panoptic_cases import categories, change, draw_pair, write_maps
from PIL import Image

Make = Callable[[Path], AbstractContextManager[None] | None]
"""Spoils a sound folder; what it returns is entered for as long as the command runs."""

PROFILE = """\
[competition]
name = "toy"

[data]
dataset = "coco-instance"
root = "data"
test = "test"

[train]
epochs = 1
lr = 0.01
batch = 1
long_side = 32
short_side = [32, 32]

[models.a]
backbone = { name = "resnet", depth = 18, base_channels = 8, norm_eval = false }
neck = { name = "fpn", channels = 16 }
head = { name = "mask-rcnn", box = { width = 32 }, mask_convs = 1, mask_width = 16 }

[combine]
ensembler = "linear-interpolation"

[submission]
format = "coco-json"

[variants.longer]
train = { epochs = 2 }

[sweep]
samples = 2

[sweep.space]
"train.lr" = { uniform = [0.01, 0.1] }

[tables.steps]
model = "a"

[tables.steps.rows.first]
[tables.steps.rows.second]
set = { "train.lr" = 0.02 }
"""


@dataclass(frozen=True)
class Row:
    """A fault: what spoils the folder, and the command that meets it.

    What it says stands in messages.txt under its name. `leaves` are globs of what the command may add or change;
    nothing else, and what was there never goes. `patch` injects what a folder cannot bring about.
    """

    name: str
    make: Make
    command: str
    leaves: tuple[str, ...] = ()
    patch: Callable[[pytest.MonkeyPatch], object] = field(default=lambda monkeypatch: None)


def nothing(folder: Path) -> None:
    """Leave the folder as it is: the command itself is wrong."""


# ----------------------------------------------------------------- a sound folder


def build(folder: Path) -> None:
    """Fill a folder with a profile and its data, results, submissions and panoptic files."""
    (folder / "c.toml").write_text(PROFILE)
    for seed, split in enumerate(("train", "val", "test")):
        truth, _ = draw(seed + 2, images=3, classes=3)
        document = plain(as_coco(truth))
        document["categories"] = [{"id": n, "name": f"class {n}"} for n in (1, 2)]
        rng = np.random.default_rng(seed)
        (folder / "data" / split).mkdir(parents=True)
        for number, image in enumerate(document["images"], 1):
            renumber(document["annotations"], "image_id", image["id"], number + 100)
            image.update(id=number + 100, file_name=f"{number}.png")
            pixels = rng.integers(0, 255, (image["height"], image["width"], 3), np.uint8)
            Image.fromarray(pixels).save(folder / "data" / split / f"{number}.png")
        for index, row in enumerate(document["annotations"]):
            row["category_id"] = 1 + index % 2
        write(folder / "data" / "annotations" / f"instances_{split}.json", document)
    truth, found = draw(2, images=3, classes=3)
    rows = plain(as_results(truth, found))
    write(folder / "g.json", plain(as_coco(truth)))
    write(folder / "p.json", rows)
    write(folder / "q.json", rows[::2])
    size = [32, 32]
    row = {"image_id": 101, "category_id": 1, "score": 0.5, "segmentation": {"size": size, "counts": "0PP1"}}
    zipped(folder / "s.zip", {"results.json": json.dumps([row])})
    build_panoptic(folder)
    build_fusion(folder)


def build_fusion(folder: Path) -> None:
    """Write what two models say of one image, instances and semantics, and the table of their classes."""
    mask = {"size": [4, 4], "counts": "04<"}
    stuff = {"size": [4, 4], "counts": "4<"}
    entry = {"image_id": 1, "category_id": 1, "score": 0.5, "segmentation": mask}
    for name in ("fi", "fj"):
        write(folder / f"{name}.json", [entry])
    write(folder / "fs.json", [{"image_id": 1, "category_id": 2, "segmentation": stuff}])
    image = {"id": 1, "file_name": "1.jpg", "height": 4, "width": 4}
    truth = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": mask}
    classes = categories({1: True, 2: False})
    write(folder / "fg.json", {"images": [image], "annotations": [truth], "categories": classes[:1]})
    write(folder / "fc.json", classes)
    row = {"id": 1, "name": "class 1", "ap": {"fi": 50.0, "fj": None}}
    write(folder / "ft.json", {"ap": {"fi": 50.0, "fj": None}, "classes": [row]})


def build_panoptic(folder: Path) -> None:
    rng = np.random.default_rng(7)
    pairs = [draw_pair(rng, number, 2) for number in (1, 2)]
    for name, maps in zip(("pg", "pp"), zip(*pairs, strict=True), strict=True):
        path = write_maps(folder, name, maps, (1, 2))
        change(path, categories=categories({1: True, 2: False}))


def plain(value: Any) -> Any:
    """Return results or annotations as JSON holds them."""
    return json.loads(json.dumps(value, default=lambda counts: counts.decode()))


def renumber(rows: Sequence[dict[str, Any]], key: str, old: int, new: int) -> None:
    for row in rows:
        if row[key] == old:
            row[key] = new


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def zipped(path: Path, members: Mapping[str, str | bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


# ------------------------------------------------------------------------ spoiling


def both(*makes: Make) -> Make:
    """Spoil in several ways, one after the other."""

    def make(folder: Path) -> None:
        for each in makes:
            each(folder)

    return make


def gone(name: str) -> Make:
    return lambda folder: (folder / name).unlink()


def holds(name: str, content: str | bytes) -> Make:
    """Let a file hold these bytes or this text."""
    return lambda folder: (
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode()) and None
    )


def cut(name: str, at: float = 0.5) -> Make:
    def make(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * at)])

    return make


def folder_at(name: str) -> Make:
    """Put a folder where a file was."""

    def make(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()

    return make


def recoded(name: str, encoding: str) -> Make:
    def make(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_text().encode(encoding))

    return make


def compressed(name: str) -> Make:
    return lambda folder: (folder / name).write_bytes(gzip.compress((folder / name).read_bytes(), mtime=0)) and None


def copied(source: str, target: str) -> Make:
    return lambda folder: shutil.copy(folder / source, folder / target) and None


def edited(name: str, change: Callable[[Any], object]) -> Make:
    """Change what a JSON file holds."""

    def make(folder: Path) -> None:
        document = json.loads((folder / name).read_text())
        change(document)
        write(folder / name, document)

    return make


def replaced(name: str, old: str, new: str) -> Make:
    """Change a text file."""

    def make(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return make


def annotation(index: int, **values: Any) -> Make:
    return edited("data/annotations/instances_train.json", lambda d: d["annotations"][index].update(values))


def result(index: int, **values: Any) -> Make:
    return edited("p.json", lambda rows: rows[index].update(values))


def submission(members: Mapping[str, str | bytes]) -> Make:
    return lambda folder: zipped(folder / "s.zip", members)


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that claims a size and holds nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    coded = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(coded)


def plugin(name: str, code: str) -> Make:
    """Install a plugin into the folder's `site`."""

    def make(folder: Path) -> None:
        site = folder / "site"
        site.mkdir(exist_ok=True)
        (site / f"{name}_plugin.py").write_text(f"from fineseg import *\n{code}")
        info = site / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[fineseg]\n{name} = {name}_plugin\n")

    return make
