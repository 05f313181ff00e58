"""Faults of profiles and of what is laid over them, of parts and of plugins."""

from faults.place import Row, both, copied, cut, holds, nothing, plugin, recoded, replaced

CHECK = "check c.toml"
FILES = [
    Row("profile missing", nothing, "check nowhere.toml"),
    Row("profile is a folder", nothing, "check data"),
    Row("profile is a picture", copied("data/train/1.png", "c.toml"), CHECK),
    Row("profile empty", holds("c.toml", ""), CHECK),
    Row("profile cut off", cut("c.toml", 0.05), CHECK),
    Row("profile in UTF-16", recoded("c.toml", "utf-16"), CHECK),
    Row("profile is JSON", holds("c.toml", "{}"), CHECK),
    Row("profile nested 100,000 deep", holds("c.toml", "a = " + "[" * 10**5), CHECK),
    Row("profile of keys 1000 deep", holds("c.toml", "a." * 1000 + "b = 1"), CHECK),
    Row("number of 10^5 digits", replaced("c.toml", "epochs = 1", "epochs = " + "9" * 10**5), CHECK),
    Row("number beyond 64 bits", replaced("c.toml", "epochs = 1", "epochs = 0x" + "f" * 17), CHECK),
    Row("extends a file that is gone", replaced("c.toml", "[comp", 'extends = "x.toml"\n[comp'), CHECK),
]
ENDS = """\
[models.a]
ends = { x = "mask-rcnn", y = "htc" }

[models.b]
backbone = "resnet"
neck = "fpn"
ends = { x = "mask-rcnn" }

[models.c]
backbone = "resnet"
neck = "fpn"
head = "htc"
ends_training = "joint"
"""
WRONG_ENDS = """\
[models.b]
backbone = "resnet"
neck = "fpn"
ends = { "x.y" = "mask-rcnn", glossy = "htd", z = { name = "htc", mask_cons = 1 } }
ends_training = "frozen-first"
balancer = "uncertainty"
"""
UNFIT = " --set models.a.losses.semantic=ohem --set models.a.losses.mask=ohem --set models.a.losses.class=focus"
VALUES = [
    Row("key of two lines", replaced("c.toml", "lr = 0.01", 'lr = 0.01\n"a\\nb" = 1'), CHECK),
    Row("unknown key, a near one", replaced("c.toml", "epochs", "epoch"), CHECK),
    Row("wrong types", replaced("c.toml", "lr = 0.01\nbatch = 1", 'lr = "fast"\nflip = 2\nbatch = true'), CHECK),
    Row("table that is a number", nothing, CHECK + " --set train=3"),
    Row("unknown part, a near one", replaced("c.toml", '"fpn"', '"fbn"'), CHECK),
    Row("part of another kind", replaced("c.toml", '"fpn"', '"mask-rcnn"'), CHECK),
    Row("unknown option of a part", replaced("c.toml", "channels = 16", "channel = 16"), CHECK),
    Row("learning rate not finite", nothing, CHECK + " --set train.lr=inf"),
    Row("seed below zero", nothing, CHECK + " --set train.seed=-1"),
    Row("model that is not there", nothing, CHECK + " --set 'competition.models=[\"b\"]'"),
    Row("ends beside a head, and a single one", holds("o.toml", ENDS), CHECK + " --with o.toml"),
    Row("ends of wrong names and parts", holds("o.toml", WRONG_ENDS), CHECK + " --with o.toml"),
    Row("losses that do not fit", nothing, CHECK + UNFIT),
    Row("setting without value", nothing, CHECK + " --set train.lr"),
    Row("setting of 10^5 digits", nothing, CHECK + f" --set train.lr={'9' * 10**5}"),
    Row("setting 1000 deep", nothing, CHECK + f" --set {'a.' * 1000}b=1"),
    Row("overlay missing", nothing, CHECK + " --with nowhere.toml"),
    Row("overlay of a model in halves", holds("o.toml", "[models.b]\nneck = 'fpn'"), CHECK + " --with o.toml"),
    Row("variant unknown", nothing, CHECK + " --variant long"),
    Row("no demo", nothing, CHECK + " --demo"),
    Row("explains no key", nothing, CHECK + " --explain train.lrr"),
    Row("sweeps an unknown key", replaced("c.toml", '"train.lr" = { uniform', '"train.l" = { uniform'), CHECK),
    Row("row sets an unknown key", replaced("c.toml", '"train.lr" = 0.02', '"train.lx" = 0.02'), CHECK),
    Row("row sets a wrong value", replaced("c.toml", '"train.lr" = 0.02', '"train.lr" = -1'), CHECK),
    Row(
        "table scores no model",
        both(
            replaced("c.toml", '[tables.steps]\nmodel = "a"', '[tables.steps]\nmodel = "c"'),
            replaced("c.toml", 'set = { "train.lr" = 0.02 }', 'scores = "a"'),
        ),
        CHECK,
    ),
]


def part(kind: str, record: str, functions: str = "") -> str:
    return f"{functions}\n@hookimpl\ndef fineseg_{kind}():\n    yield {record}\n"


def fails(name: str) -> str:
    return f"def {name}(*_):\n    raise KeyError('width')\n"


def returns(name: str, value: str) -> str:
    return f"def {name}(*_):\n    return {value}\n"


ENSEMBLER = 'Ensembler("mine", "", NoOptions, build)'
DATASET = 'Dataset("mine", "", NoOptions, read)'
FORMAT = 'Submission("mine", "", NoOptions, write=print, check=check)'
ENSEMBLE = "ensemble p.json q.json --method mine --out e.json"
MINE = CHECK + " --data --set data.dataset=mine"
FORMED = "submission check s.zip --profile c.toml --set submission.format=mine"
PLUGINS = [
    Row("plugin raises at load", plugin("mine", "1 / 0"), ENSEMBLE),
    Row("plugin yields no part", plugin("mine", part("ensemblers", "3")), ENSEMBLE),
    Row(
        "plugin takes a name that is taken",
        plugin("mine", part("necks", 'Neck("fpn", "", NoOptions, build=print)')),
        "plugins list",
    ),
    Row("ensembler raises in build", plugin("mine", part("ensemblers", ENSEMBLER, fails("build"))), ENSEMBLE),
    Row("ensembler builds nothing", plugin("mine", part("ensemblers", ENSEMBLER, returns("build", "3"))), ENSEMBLE),
    Row(
        "ensembler raises on an image",
        plugin("mine", part("ensemblers", ENSEMBLER, fails("merge") + returns("build", "merge"))),
        ENSEMBLE,
    ),
    Row(
        "ensembler gives no instances",
        plugin("mine", part("ensemblers", ENSEMBLER, returns("merge", "[]") + returns("build", "merge"))),
        ENSEMBLE,
    ),
    Row("data set raises", plugin("mine", part("datasets", DATASET, fails("read"))), MINE),
    Row("data set gives no split", plugin("mine", part("datasets", DATASET, returns("read", "None"))), MINE),
    Row("format raises in check", plugin("mine", part("submissions", FORMAT, fails("check"))), FORMED),
    Row("format gives no list", plugin("mine", part("submissions", FORMAT, returns("check", "True"))), FORMED),
    Row("plugin shows no such part", nothing, "plugins show fpm"),
]
ROWS = FILES + VALUES + PLUGINS
