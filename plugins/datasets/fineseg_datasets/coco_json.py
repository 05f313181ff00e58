"""Submission `coco-json`: COCO's results list, in a zip or plain."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fineseg import FinesegError, Instances, Split
from fineseg.coco_results import instances_of_results
from fineseg.data.json_entries import load_json
from fineseg.data.zipped import load_zipped_json
from fineseg.store import write_text
from fineseg_datasets.archive import write_zip
from fineseg_datasets.options import CocoJsonOptions
from fineseg_datasets.result_rows import check_rows, result_rows, shortened


def write(options: CocoJsonOptions, split: Split, predictions: Mapping[int, Instances], path: Path) -> Path:
    """Write the results of a split's images: a zip where `path` ends in .zip, else plain JSON."""
    rows = result_rows(split, predictions, options.max_per_image, options.score_decimals)
    if not options.boxes:
        rows = [{key: value for key, value in row.items() if key != "bbox"} for row in rows]
    text = json.dumps(rows, separators=(",", ":"), allow_nan=False)
    if path.suffix == ".zip":
        return write_zip(path, options.file_name, text)
    write_text(path, text)
    return path


def check(options: CocoJsonOptions, split: Split, path: Path) -> list[str]:
    """Return what is wrong with a written file, one line each."""
    try:
        rows, source = _load(options, path)
        return shortened(check_rows(rows, source, split, options.max_per_image))
    except FinesegError as error:
        return [str(error)]


def read_submission(options: CocoJsonOptions, split: Split, path: Path) -> dict[int, Instances]:
    """Turn a written file into instances by image id, to score it; raises `FinesegError` with its first fault."""
    rows, source = _load(options, path)
    return instances_of_results(rows, source, split)


def _load(options: CocoJsonOptions, path: Path) -> tuple[Any, str]:
    return load_zipped_json(path, options.file_name) if path.suffix == ".zip" else (load_json(path), str(path))
