"""Faults of results, panoptic maps and submissions, as `evaluate`, `ensemble` and `submission check` meet them."""

import errno
import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from faults.place import (
    Row,
    compressed,
    copied,
    cut,
    edited,
    folder_at,
    gone,
    holds,
    nothing,
    png_header,
    recoded,
    result,
    submission,
)
from PIL import Image

NAN, INFINITE = float("nan"), float("inf")
EVALUATE = "evaluate --predictions p.json --ground-truth g.json"
PANOPTIC = "evaluate --task panoptic --predictions pp.json --ground-truth pg.json"
ENSEMBLE = "ensemble p.json q.json --method linear-interpolation --out e.json"
REWEIGHT = ENSEMBLE.replace("linear-interpolation", "linear-reweight")
FUSE = (
    "fuse --instances fi.json --semantic fs.json --images fg.json --categories fc.json --method heuristic --out fused"
)
TWO_LEVEL = FUSE.replace("heuristic", "two-level").replace("--semantic", "--instances fj.json --semantic")
CLASS_TABLE = "class-table --instances fi.json --instances fj.json --ground-truth fg.json --out t.json"
SUBMISSION = "submission check s.zip --profile c.toml"
FUTURE = SUBMISSION + """ --set 'submission.format={name="3dfuture", file_name="results.json"}'"""


def scored(score: Any) -> str:
    row = {"image_id": 101, "category_id": 1, "score": score, "segmentation": {"size": [32, 32], "counts": "0PP1"}}
    return json.dumps({"annotations": [row]})


def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk be full when a file is renamed into place."""

    def replace(source: Any, target: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("fineseg.store.os.replace", replace)


def palette(folder: Path) -> None:
    Image.new("P", (18, 12)).save(folder / "pp" / "000001.png")


@contextmanager
def short_files(folder: Path) -> Iterator[None]:
    """Let no file grow beyond 1000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


SCORING = [
    Row("results missing", gone("p.json"), EVALUATE),
    Row("results are a folder", folder_at("p.json"), EVALUATE),
    Row("results cut off", cut("p.json"), EVALUATE),
    Row("results gzipped", compressed("p.json"), EVALUATE),
    Row("results in UTF-16", recoded("p.json", "utf-16"), EVALUATE),
    Row("results are a picture", copied("data/train/1.png", "p.json"), EVALUATE),
    Row("results are a number", holds("p.json", "3"), EVALUATE),
    Row("score NaN", result(0, score=NAN), EVALUATE),
    Row("score infinite", result(0, score=INFINITE), EVALUATE),
    Row("score true", result(0, score=True), EVALUATE),
    Row("score a text", result(0, score="0.5"), EVALUATE),
    Row("score of 400 digits", result(0, score=10**400), EVALUATE),
    Row("image unknown", result(0, image_id=99), EVALUATE),
    Row("class unknown", result(0, category_id=99), EVALUATE),
    Row("class a text", result(0, category_id="1"), EVALUATE),
    Row("result without mask", edited("p.json", lambda rows: rows[0].pop("segmentation")), EVALUATE),
    Row("mask of polygons", result(0, segmentation=[[1, 1, 5, 5, 1, 5]]), EVALUATE),
    Row("result mask of 10^9 x 10^9", result(0, segmentation={"size": [10**9, 10**9], "counts": "0"}), EVALUATE),
    Row("mask covers too much", result(0, segmentation={"size": [32, 32], "counts": "0PPP2"}), EVALUATE),
    Row("box negative", result(0, bbox=[1, 1, 3, -3]), EVALUATE),
    Row("ground truth is results", copied("p.json", "g.json"), EVALUATE),
    Row("ground truth without labels", edited("g.json", lambda d: d.pop("annotations")), EVALUATE),
    Row("area range backwards", nothing, EVALUATE + " --area s:9:5"),
    Row("area range of one end", nothing, EVALUATE + " --area s:5"),
    Row("area range without name", nothing, EVALUATE + " --area :0:5"),
    Row("area range up to NaN", nothing, EVALUATE + " --area s:0:nan"),
    Row("area range named twice", nothing, EVALUATE + " --area s:0:5 --area s:5:9"),
    Row("limit of words", nothing, EVALUATE + " --max-detections ten"),
    Row("results in an empty zip", submission({}), EVALUATE.replace("p.json", "s.zip")),
    Row("truth for results", copied("g.json", "p.json"), EVALUATE),
    Row("limit of no detections", nothing, EVALUATE + " --max-detections 0"),
    Row("limit of 5000 digits", nothing, EVALUATE + f" --max-detections {'9' * 5000}"),
    Row("option of the other task", nothing, EVALUATE + " --prediction-folder pp"),
]
MAPS = [
    Row("maps: folder missing", nothing, PANOPTIC + " --prediction-folder nowhere"),
    Row("map missing", gone("pp/000001.png"), PANOPTIC),
    Row("map cut off", cut("pp/000001.png"), PANOPTIC),
    Row("map is a text", holds("pp/000001.png", "no picture"), PANOPTIC),
    Row("map claims 10^10 pixels", holds("pp/000001.png", png_header(10**5, 10**5)), PANOPTIC),
    Row("map of another size", copied("data/train/1.png", "pp/000001.png"), PANOPTIC),
    Row("maps of one image", edited("pp.json", lambda d: d["annotations"].pop()), PANOPTIC),
    Row("image mapped twice", edited("pp.json", lambda d: d["annotations"][1].update(image_id=1)), PANOPTIC),
    Row(
        "segment of an unknown class",
        edited("pp.json", lambda d: d["annotations"][0]["segments_info"][0].update(category_id=9)),
        PANOPTIC,
    ),
    Row(
        "segment that no colour is",
        edited("pp.json", lambda d: d["annotations"][0]["segments_info"][0].update(id=2**24)),
        PANOPTIC,
    ),
    Row(
        "segment listed twice",
        edited(
            "pp.json", lambda d: d["annotations"][0]["segments_info"].append(d["annotations"][0]["segments_info"][0])
        ),
        PANOPTIC,
    ),
    Row("neither thing nor stuff", edited("pg.json", lambda d: d["categories"][0].update(isthing=2)), PANOPTIC),
    Row("maps in an instances file", nothing, PANOPTIC.replace("pp.json", "p.json --prediction-folder pp")),
    Row("map of a palette", palette, PANOPTIC),
]
COMBINING = [
    Row("method unknown", nothing, ENSEMBLE.replace("linear-interpolation", "linear")),
    Row("method is a head", nothing, ENSEMBLE.replace("linear-interpolation", "mask-rcnn")),
    Row("option unknown", nothing, ENSEMBLE + " --option theta=1"),
    Row("option of a wrong value", nothing, ENSEMBLE + " --option nms_iou=2"),
    Row("option without value", nothing, ENSEMBLE + " --option nms_iou"),
    Row("option of 10^5 digits", nothing, ENSEMBLE + f" --option nms_iou={'9' * 10**5}"),
    Row("one score for two files", nothing, ENSEMBLE + " --scores 70"),
    Row("scores NaN", nothing, ENSEMBLE + " --scores nan,70"),
    Row("scores and truth", nothing, ENSEMBLE + " --scores 70,70 --ground-truth g.json"),
    Row("member missing", gone("q.json"), ENSEMBLE),
    Row(
        "members of different sizes",
        edited("q.json", lambda rows: [row["segmentation"].update(size=[16, 64]) for row in rows]),
        ENSEMBLE,
    ),
    Row("result below a file", nothing, ENSEMBLE.replace("e.json", "q.json/e.json")),
    Row("result is a folder", nothing, ENSEMBLE.replace("e.json", "data")),
    Row("disk full", nothing, ENSEMBLE, patch=full),
    Row("disk full over an older file", holds("e.json", "older"), ENSEMBLE, patch=full),
    Row("file too long", short_files, ENSEMBLE),
    Row("two options wrong", nothing, ENSEMBLE + " --option nms_iou=2 --option thetamin=1"),
    Row("options that exclude each other", nothing, ENSEMBLE + " --option theta_min=0.9 --option theta_max=0.5"),
    Row("ranked by classes without truth", nothing, REWEIGHT + " --option ranking=per-class --scores 1,2"),
    Row(
        "member without sizes",
        edited("q.json", lambda rows: rows[0].update(image_id=1000, segmentation={"counts": "0"})),
        ENSEMBLE,
    ),
    Row("member is an object", holds("q.json", '{"images": []}'), ENSEMBLE),
]
FUSING = [
    Row("fuser is an ensembler", nothing, FUSE.replace("heuristic", "soft-nms")),
    Row("fuser's option unknown", nothing, FUSE + " --option score=0.5"),
    Row("no semantics", nothing, FUSE.replace("--semantic fs.json", "")),
    Row("semantics missing", gone("fs.json"), FUSE),
    Row(
        "semantics of another size",
        edited("fs.json", lambda rows: rows[0].update(segmentation={"size": [5, 4], "counts": "0d0"})),
        FUSE,
    ),
    Row(
        "semantics cover too little",
        edited("fs.json", lambda rows: rows[0]["segmentation"].update(counts="42")),
        FUSE,
    ),
    Row("semantics of polygons", edited("fs.json", lambda rows: rows[0].update(segmentation=[[1, 1, 2, 2]])), FUSE),
    Row("semantics name a class twice", edited("fs.json", lambda rows: rows.append(rows[0])), FUSE),
    Row("semantics of an unknown class", edited("fs.json", lambda rows: rows[0].update(category_id=9)), FUSE),
    Row("instances of an unknown class", edited("fi.json", lambda rows: rows[0].update(category_id=9)), FUSE),
    Row("instances of stuff", edited("fi.json", lambda rows: rows[0].update(category_id=2)), FUSE),
    Row("instance of a nameless image", edited("fi.json", lambda rows: rows[0].pop("image_id")), FUSE),
    Row(
        "instances share an id",
        edited("fi.json", lambda rows: (rows[0].update(id=5), rows.append(dict(rows[0])))),
        FUSE,
    ),
    Row("instances are an object", holds("fi.json", '{"images": []}'), FUSE),
    Row("no images to fuse", edited("fg.json", lambda d: d["images"].clear()), FUSE),
    Row("images are a list", holds("fg.json", "[]"), FUSE),
    Row(
        "maps of two images share a name",
        edited("fg.json", lambda d: d["images"].append({**d["images"][0], "id": 2, "file_name": "x/1.png"})),
        FUSE,
    ),
    Row("categories without things and stuff", edited("fc.json", lambda rows: rows[0].pop("isthing")), FUSE),
    Row("two models of one name", nothing, FUSE.replace("--semantic", "--instances ./fi.json --semantic")),
    Row("two models for a fuser of one", nothing, TWO_LEVEL.replace("two-level", "heuristic")),
    Row("classes of models not known", nothing, TWO_LEVEL),
    Row("class table for a fuser that reads none", nothing, FUSE + " --class-table ft.json"),
    Row("class table missing", nothing, TWO_LEVEL + " --class-table nowhere.json"),
    Row(
        "class table of other classes",
        edited("ft.json", lambda d: d["classes"][0].update(id=3)),
        TWO_LEVEL + " --class-table ft.json",
    ),
    Row(
        "class table without the model",
        edited("ft.json", lambda d: d["classes"][0]["ap"].pop("fj")),
        TWO_LEVEL + " --class-table ft.json",
    ),
    Row("class table of words", holds("ft.json", '{"classes": [{"id": "1"}]}'), TWO_LEVEL + " --class-table ft.json"),
    Row("default is no model", nothing, TWO_LEVEL + " --class-table ft.json --option default=x"),
    Row("weight of no model", nothing, TWO_LEVEL + " --class-table ft.json --option weights={x=1}"),
    Row("fused folder is there", nothing, FUSE.replace("fused", "data")),
    Row("fused folder is a file", nothing, FUSE.replace("fused", "fi.json")),
    Row("fused folder below a file", nothing, FUSE.replace("fused", "fi.json/fused")),
    Row("disk full while fusing", nothing, FUSE, patch=full),
    Row("class table of results of other images", edited("fj.json", lambda r: r[0].update(image_id=2)), CLASS_TABLE),
    Row("class table's default is no model", nothing, CLASS_TABLE + " --default x"),
    Row("class table's margin below 0", nothing, CLASS_TABLE + " --margin -1"),
]
ZIPS = [
    Row("submission missing", gone("s.zip"), SUBMISSION),
    Row("submission is a folder", folder_at("s.zip"), SUBMISSION),
    Row("submission cut off", cut("s.zip"), SUBMISSION),
    Row("submission is JSON", copied("p.json", "s.zip"), SUBMISSION),
    Row("zip empty", submission({}), SUBMISSION),
    Row("zip of two members", submission({"results.json": "[]", "x.json": "[]"}), SUBMISSION),
    Row("zip of another name", submission({"r.json": "[]"}), SUBMISSION),
    Row("zip points outside", submission({"../results.json": "[]"}), SUBMISSION),
    Row("zip of an absolute path", submission({"/etc/results.json": "[]"}), SUBMISSION),
    Row("zip unpacks to 80 MB from 80 kB", submission({"results.json": b" " * 80_000_000}), SUBMISSION),
    Row("JSON in the zip in UTF-16", submission({"results.json": "[]".encode("utf-16")}), SUBMISSION),
    Row("JSON in the zip cut off", submission({"results.json": '[{"image_id": 1'}), SUBMISSION),
    Row("nothing detected", submission({"results.json": "[]"}), SUBMISSION),
    Row("score above 1", submission({"results.json": scored(1.5)}), FUTURE),
    Row("score NaN in the zip", submission({"results.json": scored(NAN)}), FUTURE),
    Row("every entry wrong", submission({"results.json": json.dumps([{"image_id": n} for n in (1, 2)])}), SUBMISSION),
]
ROWS = SCORING + MAPS + COMBINING + FUSING + ZIPS
