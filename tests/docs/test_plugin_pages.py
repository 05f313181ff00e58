"""The pages for plugin authors: generated examples are current, and the tutorial shows the code that is tested."""

import importlib.util
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fineseg import ImageInfo, Split, hookspecs
from fineseg.catalog import Entry
from fineseg.data.masks import decode, to_rle
from fineseg.scaffold import project_files
from fineseg.testing import EnsemblerConformance
from fineseg.testing.kit import checks_of, run_check

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "tutorial" / "write-a-plugin.md"
EXAMPLE = ROOT / "docs" / "examples" / "fineseg-agreement"


def load(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_generated_page_is_current() -> None:
    generator = load("make_hook_examples", ROOT / "docs" / "make_hook_examples.py")
    made = generator.page()
    assert generator.PAGE.read_text(encoding="utf-8") == made, "run `python docs/make_hook_examples.py`"
    for hook in hookspecs.HOOK_OF_KIND.values():
        assert f"def {hook}()" in made


def test_tutorial_shows_the_code_of_the_example() -> None:
    """Every block is in a file of the example, line for line; an import block may be part of a longer import."""
    files = [file.read_text(encoding="utf-8") for file in EXAMPLE.rglob("*.py")]
    blocks = python_blocks(TUTORIAL)
    assert len(blocks) > 6
    for block in blocks:
        assert any(block in text for text in files), block


def test_rooms_stay_as_they_are_in_the_new_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the example's script writes of drawn rooms, its data set reads with the same objects, mask by mask."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    rooms = load("rooms_as_maps", EXAMPLE / "rooms_as_maps.py")
    drawn: dict[str, Split] = {}
    convert = rooms.convert

    def note(split: Split, root: Path) -> None:
        drawn[split.name] = split
        convert(split, root)

    monkeypatch.setattr(rooms, "convert", note)
    rooms.main(tmp_path, {"train": 3, "val": 1})
    names = tuple(category.name for category in drawn["train"].categories)
    reader, options = import_module("fineseg_agreement.id_maps"), import_module("fineseg_agreement.options")
    for name, split in drawn.items():
        read = reader.read(options.IdMapsOptions(classes=names), tmp_path, name)
        assert [image.file.name for image in read.images] == [image.file.name for image in split.images]
        assert sum(len(objects) for objects in read.objects.values()) > 0
        for before, after in zip(split.images, read.images, strict=True):
            assert masks_of(read, after) == masks_of(split, before)


def masks_of(split: Split, image: ImageInfo) -> list[tuple[int, bytes]]:
    """Return label and mask of an image's objects that have a pixel."""
    found = [(each.label, to_rle(each.segmentation, image.height, image.width)) for each in split.objects_of(image.id)]
    return sorted((label, rle["counts"]) for label, rle in found if decode(rle["counts"], *rle["size"]).any())


def test_tutorial_works_on_the_project_that_is_begun() -> None:
    """What the tutorial puts into the page of `plugins new` makes an ensembler that passes its checks."""
    names: dict[str, Any] = {}
    page = project_files("agreement", "ensembler")["fineseg_agreement/plugin.py"]
    blocks = python_blocks(TUTORIAL)
    own = [block for block in blocks[:4] if not block.startswith("    ")]
    imports_first = sorted(own, key=lambda block: not block.startswith(("from", "import")))
    for code in [page, *imports_first]:
        exec(compile(code, "plugin.py", "exec"), names)
    (part,) = names["fineseg_ensemblers"]()
    assert list(part.options.model_fields) == ["iou", "keep"]
    entry = Entry(part, "agreement", "fineseg-agreement", "0.1.0")
    kit = type("Agreement", (EnsemblerConformance,), {"part": "agreement", "entry": entry})
    verdicts = [run_check(kit, name) for name in checks_of(kit) if name != "test_import_is_light"]
    assert [each.why for each in verdicts if each.outcome != "passed"] == []
