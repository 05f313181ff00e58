"""What this distribution offers; imports nothing heavy."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from fineseg import Dataset, Instances, PanopticMap, Split, Submission, hookimpl
from fineseg_datasets.options import (
    CocoInstanceOptions,
    CocoJsonOptions,
    CocoPanopticOptions,
    CocoPanopticSubmissionOptions,
    ShowroomOptions,
    ThreeDFutureOptions,
    ThreeDFutureSubmissionOptions,
)


def read_coco_instance(options: CocoInstanceOptions, root: Path, split: str) -> Split:
    """Read a split of a COCO data set."""
    from fineseg_datasets.coco_instance import read

    return read(options, root, split)


def read_coco_panoptic(options: CocoPanopticOptions, root: Path, split: str) -> Split:
    """Read a split of a COCO panoptic data set."""
    from fineseg_datasets.coco_panoptic import read

    return read(options, root, split)


def read_showroom(options: ShowroomOptions, root: Path, split: str) -> Split:
    """Read a drawn split."""
    from fineseg_datasets.showroom_dataset import read

    return read(options, root, split)


def generate_showroom(options: ShowroomOptions, folder: Path, split: str, progress: Callable[[int, int], None]) -> None:
    """Draw a split."""
    from fineseg_datasets.showroom_dataset import generate

    generate(options, folder, split, progress)


def read_showroom_panoptic(options: ShowroomOptions, root: Path, split: str) -> Split:
    """Read a drawn split, things and stuff."""
    from fineseg_datasets.showroom_dataset import read_panoptic_rooms

    return read_panoptic_rooms(options, root, split)


def generate_showroom_panoptic(
    options: ShowroomOptions, folder: Path, split: str, progress: Callable[[int, int], None]
) -> None:
    """Draw a split in COCO's panoptic format."""
    from fineseg_datasets.showroom_dataset import generate_panoptic

    generate_panoptic(options, folder, split, progress)


def read_threedfuture(options: ThreeDFutureOptions, root: Path, split: str) -> Split:
    """Read a split of 3D-FUTURE."""
    from fineseg_datasets.threedfuture import read

    return read(options, root, split)


def write_threedfuture(
    options: ThreeDFutureSubmissionOptions, split: Split, predictions: Mapping[int, Instances], path: Path
) -> Path:
    """Write the challenge's zip."""
    from fineseg_datasets.threedfuture_submission import write

    return write(options, split, predictions, path)


def check_threedfuture(options: ThreeDFutureSubmissionOptions, split: Split, path: Path) -> list[str]:
    """Check the challenge's zip."""
    from fineseg_datasets.threedfuture_submission import check

    return check(options, split, path)


def read_threedfuture_zip(options: ThreeDFutureSubmissionOptions, split: Split, path: Path) -> dict[int, Instances]:
    """Read the challenge's zip back."""
    from fineseg_datasets.threedfuture_submission import read_submission

    return read_submission(options, split, path)


def write_coco_json(options: CocoJsonOptions, split: Split, predictions: Mapping[int, Instances], path: Path) -> Path:
    """Write COCO's results list."""
    from fineseg_datasets.coco_json import write

    return write(options, split, predictions, path)


def check_coco_json(options: CocoJsonOptions, split: Split, path: Path) -> list[str]:
    """Check COCO's results list."""
    from fineseg_datasets.coco_json import check

    return check(options, split, path)


def read_coco_json(options: CocoJsonOptions, split: Split, path: Path) -> dict[int, Instances]:
    """Read COCO's results list back."""
    from fineseg_datasets.coco_json import read_submission

    return read_submission(options, split, path)


def write_coco_panoptic(
    options: CocoPanopticSubmissionOptions, split: Split, predictions: Mapping[int, PanopticMap], path: Path
) -> Path:
    """Write COCO's panoptic zip."""
    from fineseg_datasets.panoptic_submission import write

    return write(options, split, predictions, path)


def check_coco_panoptic(options: CocoPanopticSubmissionOptions, split: Split, path: Path) -> list[str]:
    """Check COCO's panoptic zip."""
    from fineseg_datasets.panoptic_submission import check

    return check(options, split, path)


@hookimpl
def fineseg_datasets() -> Iterator[Dataset]:
    """Offer the data sets."""
    yield Dataset("coco-instance", "instances in COCO's annotation format", CocoInstanceOptions, read_coco_instance)
    yield Dataset(
        "coco-panoptic",
        "things and stuff in COCO's panoptic format",
        CocoPanopticOptions,
        read_coco_panoptic,
        panoptic=True,
    )
    yield Dataset("3dfuture", "3D-FUTURE, 34 classes of furniture in rooms", ThreeDFutureOptions, read_threedfuture)
    yield Dataset(
        "showroom", "furnished rooms, drawn: 13 classes, no download", ShowroomOptions, read_showroom, generate_showroom
    )
    yield Dataset(
        "showroom-panoptic",
        "the same rooms with 4 things and 8 stuff classes of COCO's",
        ShowroomOptions,
        read_showroom_panoptic,
        generate_showroom_panoptic,
        panoptic=True,
    )


@hookimpl
def fineseg_submissions() -> Iterator[Submission]:
    """Offer the formats."""
    yield Submission(
        "3dfuture",
        "zip of the 3D AI Challenge",
        ThreeDFutureSubmissionOptions,
        write_threedfuture,
        check_threedfuture,
        read=read_threedfuture_zip,
    )
    yield Submission(
        "coco-json",
        "COCO results list, zipped",
        CocoJsonOptions,
        write_coco_json,
        check_coco_json,
        read=read_coco_json,
    )
    yield Submission(
        "coco-panoptic",
        "zip of COCO's panoptic server: JSON and PNGs",
        CocoPanopticSubmissionOptions,
        write_coco_panoptic,
        check_coco_panoptic,
        task="panoptic",
    )
