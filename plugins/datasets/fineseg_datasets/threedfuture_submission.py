"""Submission `3dfuture`: the zip of the 3D AI Challenge 2020, as the winner wrote it.

{images: [{image_id, width, height, file_name}], annotations: [{image_id, category_id, segmentation, score}]}, category
ids 1..34, no boxes: the organisers score masks alone, and take nothing but `annotations`.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from fineseg import FinesegError, ImageInfo, Instances, Split
from fineseg.coco_results import instances_of_results
from fineseg.data.coco import known_image
from fineseg.data.json_entries import Entry, document_of, entries_of, shown
from fineseg.data.zipped import load_zipped_json
from fineseg_datasets.archive import write_zip
from fineseg_datasets.options import ThreeDFutureSubmissionOptions
from fineseg_datasets.result_rows import check_rows, result_rows, shortened

_KEYS = ("image_id", "category_id", "segmentation", "score")


def write(
    options: ThreeDFutureSubmissionOptions, split: Split, predictions: Mapping[int, Instances], path: Path
) -> Path:
    """Write the zip; file names stand without extension, as in the challenge's own files."""
    rows = result_rows(split, predictions, options.max_per_image, options.score_decimals)
    images = [
        {"image_id": image.id, "width": image.width, "height": image.height, "file_name": image.file.stem}
        for image in split.images
    ]
    document = {"images": images, "annotations": [{key: row[key] for key in _KEYS} for row in rows]}
    return write_zip(path, options.file_name, json.dumps(document, separators=(",", ":"), allow_nan=False))


def check(options: ThreeDFutureSubmissionOptions, split: Split, path: Path) -> list[str]:
    """Return what is wrong with a written file, one line each."""
    try:
        top = _load(options, path)
        source = f"{top.where}: annotations"
        faults = check_rows(top.get("annotations"), source, split, options.max_per_image, scores=(0, 1))
        return shortened(_check_images(top, split) + faults)
    except FinesegError as error:
        return [str(error)]


def read_submission(options: ThreeDFutureSubmissionOptions, split: Split, path: Path) -> dict[int, Instances]:
    """Turn a written file into instances by image id, to score it; raises `FinesegError` with its first fault.

    Boxes are the masks': the format has none.
    """
    top = _load(options, path)
    return instances_of_results(top.get("annotations"), f"{top.where}: annotations", split)


def _load(options: ThreeDFutureSubmissionOptions, path: Path) -> Entry:
    document, source = load_zipped_json(path, options.file_name)
    return document_of(document, source, "images and annotations")


def _check_images(top: Entry, split: Split) -> list[str]:
    """Check the list of images, which other tools may leave out."""
    if not top.has("images"):
        return []
    known = {image.id: image for image in split.images}
    seen: set[int] = set()
    faults = []
    for entry in entries_of(top, "images"):
        try:
            image = known_image(entry, known)
            if image.id in seen:
                raise entry.fault(f"image_id {image.id} is listed twice")
            seen.add(image.id)
            _check_image(entry, image)
        except FinesegError as error:
            faults.append(str(error))
    missing = [image.id for image in split.images if image.id not in seen]
    if missing:
        faults.append(f"{top.where}: images: lacks {len(missing)} of {len(known)} images, first image_id {missing[0]}")
    return faults


def _check_image(entry: Entry, image: ImageInfo) -> None:
    for key, wanted in (("width", image.width), ("height", image.height)):
        if entry.get(key) != wanted:
            raise entry.fault(f"{key} is {shown(entry.get(key))}; image {image.id} has {wanted}")
    if entry.get("file_name") not in (image.file.stem, image.file.name):
        raise entry.fault(f"file_name is {shown(entry.get('file_name'))}; image {image.id} is '{image.file.stem}'")
