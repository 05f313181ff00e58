"""Which of several models is better in which class, from anyone's files: results and ground truth in COCO's form."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fineseg.class_ends import ClassTable, class_table
from fineseg.coco_results import read_coco_results
from fineseg.console import Console
from fineseg.data.json_entries import load_json
from fineseg.data.panoptic_json import read_panoptic
from fineseg.data.split import Split
from fineseg.metrics.mask_ap import COCO_AREA_RANGES, mask_ap, model_score
from fineseg.stages.files import read_truth
from fineseg.stages.fuse_files import refuse_same_names
from fineseg.store import write_json


def make_class_table(
    files: Sequence[Path], truth: Path, console: Console, out: Path, *, default: str, margin: float
) -> ClassTable:
    """Measure the mask AP of each file's model by class, and write the table; models are called like their files.

    The ground truth is a COCO instances file, or a panoptic one with its PNGs in the folder that is called like it.
    Raises `FinesegError`.
    """
    refuse_same_names(files)
    with console.task(f"read {truth}"):
        split = read_true_things(truth)
    scores = []
    for file in files:
        with console.task(f"score {file}"):
            result = mask_ap(split, read_coco_results(file, split))
        scores.append(model_score(file.stem, result, COCO_AREA_RANGES))
    table = class_table(scores, default=default, margin=margin)
    write_json(out, table.plain(split.categories))
    return table


def read_true_things(path: Path) -> Split:
    """Return the true objects of a COCO instances file, or the things of a panoptic one."""
    document: Any = load_json(path)
    rows = document.get("annotations") if isinstance(document, dict) else None
    if isinstance(rows, list) and rows and isinstance(rows[0], dict) and "segments_info" in rows[0]:
        return read_panoptic(path, path.with_suffix(""), path.parent, path.stem, labelled=True)
    return read_truth(path)
