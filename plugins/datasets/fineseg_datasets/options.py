"""Options of the data sets and submission formats. Paths are relative to the data's root unless absolute."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from fineseg import Options

SPLIT = "{split}"


def _only_split(pattern: str) -> str:
    rest = pattern.replace(SPLIT, "")
    if not pattern or "{" in rest or "}" in rest:
        raise ValueError(f"must be a path in which only {SPLIT} stands for something, like annotations/{SPLIT}.json")
    return pattern


def _plain_name(name: str) -> str:
    if not name.endswith(".json") or "/" in name or "\\" in name or name == ".json":
        raise ValueError("must be a file name without folders that ends in .json")
    return name


def _checked_if_pattern(value: str | Mapping[str, str]) -> str | Mapping[str, str]:
    return _only_split(value) if isinstance(value, str) else value


Pattern = Annotated[str, AfterValidator(_only_split)]
PatternOrTable = Annotated[str | Mapping[str, str], AfterValidator(_checked_if_pattern)]
JsonName = Annotated[str, AfterValidator(_plain_name)]
Positive = Annotated[int, Field(gt=0)]


class CocoInstanceOptions(Options):
    """Where a COCO data set keeps its files; the defaults are COCO's own layout, with splits named like `train2017`."""

    annotations: PatternOrTable = Field(
        f"annotations/instances_{SPLIT}.json", description=f"annotation file: a path with {SPLIT}, or a table of splits"
    )
    images: PatternOrTable = Field(
        SPLIT, description=f"folder that file names are relative to: a path with {SPLIT}, or a table of splits"
    )
    classes: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        None, description="names of the classes to keep; all if absent"
    )
    group: str = Field(
        "",
        description="field of the images' rows that names what belongs together (scene, room, patient), which random "
        "hold-out and folds never divide; each row of a labelled split has it; none if empty",
    )


class CocoPanopticOptions(Options):
    """Where a COCO panoptic data set keeps its files; the defaults are COCO's own layout."""

    annotations: PatternOrTable = Field(
        f"annotations/panoptic_{SPLIT}.json", description=f"annotation file: a path with {SPLIT}, or a table of splits"
    )
    maps: PatternOrTable = Field(
        f"annotations/panoptic_{SPLIT}", description="folder of the PNGs: a path or a table of splits, as above"
    )
    images: PatternOrTable = Field(
        SPLIT, description="folder that file names of images are relative to: a path or a table of splits, as above"
    )
    classes: str | None = Field(
        None,
        description="annotation file that says which classes are things, for splits whose own does not, as COCO's list "
        "of test images",
    )


class ShowroomOptions(Options):
    """How many rooms are drawn, and how."""

    train: Positive = Field(600, description="rooms to train on")
    val: Positive = Field(100, description="rooms to validate on")
    test: Positive = Field(60, description="rooms to predict for the submission")
    size: Annotated[int, Field(ge=32, le=4096, description="side of a picture [pixels]")] = 192
    seed: Annotated[int, Field(ge=0, description="another seed, other rooms")] = 0


class ThreeDFutureOptions(Options):
    """Where the files lie; the defaults are the challenge's layout."""

    annotations: Pattern = Field(f"annotations/{SPLIT}_set.json", description="annotation file")
    images: Pattern = Field(f"images/{SPLIT}", description="folder of the images")


class ThreeDFutureSubmissionOptions(Options):
    """The challenge's zip."""

    score_decimals: Annotated[int, Field(ge=1, le=9, description="decimals that scores are rounded to")] = 3
    max_per_image: Positive = Field(100, description="detections an image, best first")
    file_name: JsonName = Field("segmentation_results.json", description="name of the file in the zip")


class CocoJsonOptions(Options):
    """COCO's results list: zipped for a path that ends in .zip, else plain JSON."""

    score_decimals: Annotated[int, Field(ge=1, le=9)] | None = Field(
        None, description="decimals that scores are rounded to; not rounded if absent"
    )
    max_per_image: Positive = Field(100, description="detections an image, best first")
    boxes: bool = Field(True, description="write boxes too; without them readers take the masks'")
    file_name: JsonName = Field("results.json", description="name of the file in the zip")


class CocoPanopticSubmissionOptions(Options):
    """COCO's panoptic zip: `panoptic_<split>_<algorithm>_results`."""

    algorithm: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="name of the entry")] = (
        "fineseg"
    )
