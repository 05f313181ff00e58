"""Panoptic quality of anyone's files: COCO panoptic JSON and a folder of PNGs, against ground truth of that form."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fineseg.console import Console
from fineseg.data.json_entries import document_of, load_json
from fineseg.data.panoptic import PanopticMap, read_ids
from fineseg.data.panoptic_json import PanopticClasses, read_classes, read_found_maps, read_truth_maps
from fineseg.data.split import PanopticFile
from fineseg.errors import FinesegError
from fineseg.metrics.panoptic_quality import PanopticCounts, PanopticResult, count_image, panoptic_result
from fineseg.stages.threads import in_threads


@dataclass(frozen=True)
class PanopticScores:
    """Panoptic quality of a file, and the classes in the order of its rows."""

    result: PanopticResult
    classes: PanopticClasses

    def class_names(self) -> list[str]:
        """Return a name for each class; those that share one are told apart by their ids."""
        names = [category.name for category in self.classes.every]
        return [f"{c.name} ({c.id})" if names.count(c.name) > 1 else c.name for c in self.classes.every]

    def plain(self) -> dict[str, Any]:
        """Return JSON-ready data: "All", "Things", "Stuff", and "per_class" with a row by name."""
        table = self.result.plain()
        rows = dict(zip(self.class_names(), table.pop("classes"), strict=True))
        return {**table, "per_class": rows}


def score_panoptic_files(
    predictions: Path, prediction_folder: Path | None, truth: Path, truth_folder: Path | None, console: Console
) -> PanopticScores:
    """Score panoptic maps. A folder that is not given is called like its JSON, without the ending.

    Predictions of images that the ground truth lacks are left aside. Raises `FinesegError`, also where an image of the
    ground truth has no prediction.
    """
    with console.task(f"read {truth}"):
        top = document_of(load_json(truth), str(truth), "annotations and categories")
        classes = read_classes(top)
        true = read_truth_maps(top, _folder(truth, truth_folder), classes.labels(), strict=False)
    with console.task(f"read {predictions}"):
        top = document_of(load_json(predictions), str(predictions), "annotations")
        found = read_found_maps(top, _folder(predictions, prediction_folder), classes.labels(), true)
    missing = [number for number in true if number not in found]
    if missing:
        count = f"{len(missing)} of the {len(true)} images of {truth} have none"
        raise FinesegError(f"{predictions}: no prediction for image {missing[0]}; {count}")
    total = PanopticCounts.none(len(classes.every))
    with console.task(f"score {predictions}", len(true), "images") as task:
        for done, counts in enumerate(_counts(true, found, len(classes.every), predictions), 1):
            total += counts
            task.update(done)
    return PanopticScores(panoptic_result(total, len(classes.things)), classes)


def _folder(annotations: Path, given: Path | None) -> Path:
    folder = annotations.with_suffix("") if given is None else given
    if not folder.is_dir():
        raise FinesegError(f"{folder}: no such folder; it should hold the PNGs of {annotations}")
    return folder


def _counts(
    true: Mapping[int, PanopticFile], found: Mapping[int, PanopticFile], classes: int, source: Path
) -> Iterator[PanopticCounts]:
    """Yield the counts of each image, in order; images are read and matched in threads."""

    def count(number: int) -> PanopticCounts:
        left, right = (
            PanopticMap(number, read_ids(side[number].file), side[number].segments) for side in (true, found)
        )
        try:
            return count_image(left, right, classes)
        except FinesegError as error:
            raise FinesegError(f"{source}: {error} ({found[number].file})") from None

    return in_threads(count, iter(true))
