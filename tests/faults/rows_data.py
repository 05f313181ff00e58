"""Faults of data, as `check --data`, `run` and `data sizes` meet them."""

from faults.place import (
    Row,
    annotation,
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
)

TRAIN = "data/annotations/instances_train.json"
CHECK = "check c.toml --data"
STORE = (".fineseg*",)
"""What a check may leave: hashes of images, and what it found."""
SQUARE = {"size": [32, 32]}

FILES = [
    Row("annotations missing", gone(TRAIN), CHECK),
    Row("annotations are a folder", folder_at(TRAIN), CHECK),
    Row("annotations cut off", cut(TRAIN), CHECK),
    Row("annotations empty", holds(TRAIN, ""), CHECK),
    Row("annotations are a picture", copied("data/train/1.png", TRAIN), CHECK),
    Row("annotations gzipped", compressed(TRAIN), CHECK),
    Row("annotations in UTF-16", recoded(TRAIN, "utf-16"), CHECK),
    Row("a number of a million digits", holds(TRAIN, '{"images": ' + "9" * 10**6 + "}"), CHECK),
    Row("nested 100,000 deep", holds(TRAIN, "[" * 10**5 + "]" * 10**5), CHECK),
    Row("annotations are a list", holds(TRAIN, "[]"), CHECK),
    Row("no classes", edited(TRAIN, lambda d: d["categories"].clear()), CHECK),
    Row("data folder missing", nothing, CHECK + " --set data.root=nowhere"),
    Row("pattern that no folder has", nothing, CHECK + " --set 'data.dataset.annotations=**x/{split}.json'"),
    Row("validation without labels", edited(TRAIN.replace("train", "val"), lambda d: d.pop("annotations")), CHECK),
    Row("more held out than there is", nothing, CHECK + " --set data.validation.random=3"),
    Row("negative seed of a draw", nothing, CHECK + " --set 'data.validation={random=1, seed=-1}'"),
    Row(
        "classes of splits differ",
        edited(TRAIN, lambda d: d["categories"].append({"id": 9, "name": "class 9"})),
        CHECK,
        STORE,
    ),
]
ENTRIES = [
    Row("polygon of two points", annotation(0, segmentation=[[1, 1, 5, 5]]), CHECK),
    Row("polygon far away", annotation(0, segmentation=[[1, 1, 1e9, 5, 5, 5]]), CHECK),
    Row("polygon of texts", annotation(0, segmentation=[["1", "1", "5", "5", "9", "9"]]), CHECK),
    Row("unknown image", annotation(0, image_id=7), CHECK),
    Row("unknown class", annotation(0, category_id=7), CHECK),
    Row("id beyond 64 bits", annotation(0, id=2**70), CHECK),
    Row("id is true", annotation(0, id=True), CHECK),
    Row("annotation id twice", annotation(1, id=1), CHECK),
    Row("image id twice", edited(TRAIN, lambda d: d["images"][1].update(id=101)), CHECK),
    Row("negative box", annotation(0, bbox=[1, 1, -4, 4]), CHECK),
    Row("box of three", annotation(0, bbox=[1, 1, 4]), CHECK),
    Row("area is not a number", annotation(0, area=float("nan")), CHECK),
    Row("area is a text", annotation(0, area="12"), CHECK),
    Row("crowd of two", annotation(0, iscrowd=2), CHECK),
    Row("mask of another size", annotation(0, segmentation={"size": [16, 16], "counts": "`8"}), CHECK),
    Row("mask of 10^9 x 10^9", annotation(0, segmentation={"size": [10**9, 10**9], "counts": "0"}), CHECK),
    Row("mask stops inside a number", annotation(0, segmentation={**SQUARE, "counts": "PP"}), CHECK),
    Row("mask of strange letters", annotation(0, segmentation={**SQUARE, "counts": "~~"}), CHECK),
    Row("runs cover too little", annotation(0, segmentation={**SQUARE, "counts": [1, 2]}), CHECK),
    Row("runs below zero", annotation(0, segmentation={**SQUARE, "counts": [1025, -1]}), CHECK),
    Row("width is true", edited(TRAIN, lambda d: d["images"][0].update(width=True)), CHECK),
    Row("width of 10^5", edited(TRAIN, lambda d: d["images"][0].update(width=10**5)), CHECK),
    Row("file name of two lines", edited(TRAIN, lambda d: d["images"][0].update(file_name="a\nb")), CHECK),
    Row("class name of half a letter", edited(TRAIN, lambda d: d["categories"][0].update(name="\ud800")), CHECK),
    Row("annotation is a number", edited(TRAIN, lambda d: d["annotations"].insert(0, 3)), CHECK),
]
IMAGES = [
    Row("image missing", gone("data/train/2.png"), CHECK, STORE),
    Row("image cut off", cut("data/train/2.png"), CHECK, STORE),
    Row("image is a text", holds("data/train/2.png", "no picture"), CHECK, STORE),
    Row("image empty", holds("data/train/2.png", ""), CHECK, STORE),
    Row("image is a folder", folder_at("data/train/2.png"), CHECK, STORE),
    Row("image claims 10^10 pixels", holds("data/train/2.png", png_header(10**5, 10**5)), CHECK, STORE),
    Row("image of another size", edited(TRAIN, lambda d: d["images"][1].update(height=31)), CHECK, STORE),
    Row("image in two splits", copied("data/val/1.png", "data/train/2.png"), CHECK, STORE),
    Row("mask empty", annotation(0, segmentation={**SQUARE, "counts": [1024]}, bbox=None), CHECK, STORE),
    Row("box outside", annotation(0, bbox=[40, 40, 4, 4]), CHECK, STORE),
]
SIZES = [
    Row("sizes: file missing", nothing, "data sizes nowhere.json"),
    Row("sizes: results for annotations", nothing, "data sizes p.json"),
    Row("sizes: no objects", edited("g.json", lambda d: d["annotations"].clear()), "data sizes g.json"),
    Row("sizes: figure of no known kind", nothing, "data sizes g.json --out f.jpg"),
    Row("sizes: no images drawn", nothing, "data sizes g.json --images 0"),
    Row("sizes: no file said", nothing, "data sizes"),
]
ROWS = FILES + ENTRIES + IMAGES + SIZES
