"""A submission's record: in the zip's comment, in the store, and out of hostile files."""

import json
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from fineseg import FinesegError, make_instances
from fineseg.data import masks
from fineseg.data.split import Category, ImageInfo, Split
from fineseg.provenance.page import page
from fineseg.provenance.record import FORM, LARGEST_COMMENT, carry, content_hash, explained, keep
from fineseg_datasets import coco_json
from fineseg_datasets.options import CocoJsonOptions

RECORD = {"command": "fineseg run a.toml", "git": {"commit": "c" * 40, "dirty": True}, "größe": "é"}


def split_of(folder: Path) -> Split:
    images = tuple(ImageInfo(n, folder / f"{n}.png", 20, 10) for n in (1, 2))
    return Split("test", (Category(3, "bed"),), images)


def write_submission(path: Path, score: float = 0.5) -> Path:
    split = split_of(path.parent)
    mask = np.zeros((10, 20), bool)
    mask[2:8, 3:9] = True
    found = {
        i.id: make_instances(i.id, (10, 20), [0], [score], [[3, 2, 9, 8]], [masks.encode(mask)]) for i in split.images
    }
    return coco_json.write(CocoJsonOptions(), split, found, path)


def test_a_zip_carries_its_record(tmp_path: Path) -> None:
    file = write_submission(tmp_path / "s.zip")
    before, digest = file.read_bytes(), content_hash(file)
    assert carry(file, RECORD)
    after = file.read_bytes()
    assert after[: len(before) - 2] == before[:-2]  # all but the comment and its length
    assert content_hash(file) == digest
    record, found = explained(file, tmp_path / "no-store")
    assert record == {FORM: 1, **RECORD} and found == "the file's own comment"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.zip"]


def test_readers_pass_over_the_record(tmp_path: Path) -> None:
    """The format's own checker and reader, zipfile, and COCO's own tools read what they read without it."""
    file, plain = write_submission(tmp_path / "s.zip"), write_submission(tmp_path / "plain.zip")
    carry(file, RECORD)
    split = split_of(tmp_path)
    assert coco_json.check(CocoJsonOptions(), split, file) == []
    with_record, without = (coco_json.read_submission(CocoJsonOptions(), split, f) for f in (file, plain))
    assert [with_record[n].masks for n in (1, 2)] == [without[n].masks for n in (1, 2)]
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None and archive.namelist() == ["results.json"]
        rows = json.loads(archive.read("results.json"))
    truth = COCO()
    truth.dataset = {
        "images": [{"id": n, "width": 20, "height": 10} for n in (1, 2)],
        "categories": [{"id": 3, "name": "bed"}],
        "annotations": [],
    }
    truth.createIndex()
    assert len(truth.loadRes(rows).anns) == 2


def test_files_that_cannot_carry_it_are_left_as_they_are(tmp_path: Path) -> None:
    plain = write_submission(tmp_path / "s.json")
    commented = write_submission(tmp_path / "c.zip")
    with zipfile.ZipFile(commented, "a") as archive:
        archive.comment = b"by the organisers' tool"
    short = tmp_path / "short"
    short.write_bytes(b"PK\5\6")
    for file in (plain, commented, short):
        before = file.read_bytes()
        assert not carry(file, RECORD)
        assert file.read_bytes() == before


@pytest.mark.parametrize("name", ["s.json", "s.zip"])
def test_the_store_knows_files_by_what_they_hold(tmp_path: Path, name: str) -> None:
    file, store = write_submission(tmp_path / name), tmp_path / "store"
    carry(file, RECORD)
    keep(store, file, RECORD)
    other = write_submission(tmp_path / "other" / name, score=0.25)
    stripped = tmp_path / f"stripped-{name}"
    if name.endswith(".zip"):  # packed anew by another tool, and unpacked
        with zipfile.ZipFile(file) as archive, zipfile.ZipFile(stripped, "w", zipfile.ZIP_STORED) as again:
            again.writestr("results.json", archive.read("results.json"))
        (tmp_path / "unpacked.json").write_bytes(zipfile.ZipFile(file).read("results.json"))
        assert explained(tmp_path / "unpacked.json", store)[0] == {FORM: 1, **RECORD}
    else:
        stripped.write_bytes(file.read_bytes())
    record, found = explained(stripped, store)
    assert record == {FORM: 1, **RECORD} and found == f"the store {store}, by the file's content"
    for unknown, where in ((other, store), (stripped, tmp_path / "another")):
        with pytest.raises(FinesegError) as caught:
            explained(unknown, where)
        assert str(caught.value) == (
            f"{unknown}: carries no record of where it comes from, and the store {where} knows no submission of this "
            "content; give --store the store of the run that wrote it"
        )


def test_members_count_by_name_and_content(tmp_path: Path) -> None:
    def zipped(name: str, members: dict[str, str]) -> str:
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for member, text in members.items():
                archive.writestr(member, text)
        return content_hash(tmp_path / name)

    same = zipped("a.zip", {"a": "1", "b": "2"})
    assert zipped("b.zip", {"b": "2", "a": "1"}) == same
    assert (
        len({same, zipped("c.zip", {"a": "2", "b": "1"}), zipped("d.zip", {"a": "1", "c": "2"}), zipped("e.zip", {})})
        == 4
    )


def test_a_record_too_long_for_a_comment_leaves_something_out(tmp_path: Path) -> None:
    file = write_submission(tmp_path / "s.zip")
    long = {**RECORD, "profile": {"text": "x" * 70_000}, "cost": {"ever": {"cpu_hours": 1.5}}}
    assert carry(file, long)
    record, _ = explained(file, tmp_path)
    assert record == {FORM: 1, **RECORD, "cost": {"ever": {"cpu_hours": 1.5}}, "left out": ["profile"]}
    assert "left out" in page(record, "s.zip", "comment")[-1]
    hopeless = write_submission(tmp_path / "h.zip")
    assert carry(hopeless, {"command": "x" * 70_000})
    assert explained(hopeless, tmp_path)[0] == {FORM: 1, "left out": ["all"]}
    exact = write_submission(tmp_path / "e.zip")
    empty = len(json.dumps({FORM: 1, "command": ""}, separators=(",", ":")))
    carry(exact, {"command": "x" * (LARGEST_COMMENT - empty)})
    assert len(explained(exact, tmp_path)[0]["command"]) == LARGEST_COMMENT - empty
    with zipfile.ZipFile(exact) as archive:
        assert len(archive.comment) == LARGEST_COMMENT


@pytest.mark.parametrize(
    "comment", [b"", b"hello", b"{}", b"[1]", b'{"a": 1', b"\xff\xfe", b"[" * 60_000, b'{"a": ' + b"9" * 9000 + b"}"]
)
def test_comments_that_are_no_record(tmp_path: Path, comment: bytes) -> None:
    file = write_submission(tmp_path / "s.zip")
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = comment
    with pytest.raises(FinesegError, match="carries no record"):
        explained(file, tmp_path)


@pytest.mark.parametrize("seed", range(30))
def test_damaged_zips_are_hashed_as_they_are(tmp_path: Path, seed: int) -> None:
    file = write_submission(tmp_path / "s.zip")
    carry(file, RECORD)
    content = bytearray(file.read_bytes())
    rng = np.random.default_rng(seed)
    for place in rng.integers(0, len(content), 5):
        content[place] = rng.integers(256)
    file.write_bytes(content[: rng.integers(1, len(content))] if seed % 2 else content)
    try:
        assert isinstance(explained(file, tmp_path)[0], dict)
    except FinesegError as error:
        assert "carries no record" in str(error)


def test_a_zip_that_claims_too_much_is_not_unpacked(tmp_path: Path) -> None:
    file = tmp_path / "bomb.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(3):
            archive.writestr(f"{number}", "x")
    content = file.read_bytes()
    for place in [n for n in range(len(content)) if content[n : n + 4] == b"PK\1\2"]:
        content = content[: place + 24] + struct.pack("<I", 2**32 - 2) + content[place + 28 :]
    file.write_bytes(content)
    assert len(content_hash(file)) == 64


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.zip", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(FinesegError) as caught:
            explained(path, tmp_path)
        assert str(caught.value) == f"{path}: {reason}; give a submission file"


# ---------------------------------------------------------------------- page


def test_a_page_of_aligned_lines() -> None:
    record = {
        **RECORD,
        "written": "2026-01-02T03:04:05+00:00",
        "settings": {"file": "a.toml", "models": {"m1": {"backbone": "b", "neck": "n", "train": {"lr": 0.02}}}},
        "data": {"splits": {"train": {"images": 9144, "objects": 12, "digest": "d" * 64}}},
        "scores": {"combined": {"segm": {"AP": 31.4159, "AP50": None}}},
        "environment": {"versions": {"torch": "2.1", "mmdet": None}, "python": "3.11"},
    }
    assert page(record, "s.zip", "comment") == [
        "file         s.zip",
        "record       comment",
        "command      fineseg run a.toml",
        "written      2026-01-02T03:04:05+00:00",
        f"git commit   {'c' * 40}, with uncommitted changes",
        "profile      a.toml",
        "model m1     b + n; lr 0.02",
        f"split train  9,144 images, 12 objects, digest {'d' * 16}",
        "held-out AP  AP 31.4159",
        "versions     python 3.11, torch 2.1",
    ]


def test_hostile_records_print_nothing_that_a_terminal_obeys() -> None:
    names = ["git", "settings", "data", "seeds", "trainings", "scores", "cost", "hardware", "environment", "left out"]
    evil: list[Any] = ["\x1b[2J", 5, True, None, [1, ["x"]], {"a": {"b": {"\x1b": "\n"}}}, {"models": [1], "splits": 7}]
    for number in range(len(evil) * 3):
        record = {name: evil[(number + place * (number // 7 + 1)) % len(evil)] for place, name in enumerate(names)}
        lines = page({"command": "a\nb\x1b]0;x\x07" + "y" * 999, **record}, "s.zip", "comment")
        assert all(line.isprintable() and len(line) < 1100 for line in lines)
    assert os.linesep not in "".join(lines)
