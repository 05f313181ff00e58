"""prepare: generate data where it is drawn, read the splits, check them, and hash what they hold."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fineseg.data.checks import check_data, hash_files
from fineseg.data.split import Split
from fineseg.errors import FinesegError
from fineseg.metrics.mask_ap import mask_ap, truth_as_prediction
from fineseg.runs import Splits, part_key, read_splits, split_digest, wanted_splits
from fineseg.stages.context import Context
from fineseg.store import content_key, read_json, write_json

SHOWN_FINDINGS = 20


@dataclass(frozen=True)
class Prepared:
    """Data ready to be trained on: where it lies, its splits, and a digest of each."""

    root: Path
    splits: Splits
    digests: Mapping[str, str]


def prepare(context: Context) -> Prepared:
    """Make the data of a profile ready, and refuse data that would waste a training.

    Raises `FinesegError` that lists what the checks found.
    """
    prepared = read_data(context)
    warnings = check_splits(context, prepared)
    for line in warnings[:SHOWN_FINDINGS]:
        context.console.say(f"warning: {line}")
    if len(warnings) > SHOWN_FINDINGS:
        context.console.say(
            f"warning: and {len(warnings) - SHOWN_FINDINGS} more; `fineseg check --data` lists them all"
        )
    return prepared


def read_data(context: Context) -> Prepared:
    """Draw the data where it is drawn, read its splits, and hash what they hold."""
    root = data_root(context, wanted_splits(context.profile))
    splits = read_splits(context.profile, context.catalog, root)
    named = splits.named()
    paths = [image.file for split in named.values() for image in split.images]
    _refuse_missing(paths)
    with context.console.task("reading images", len(paths), "images") as task:
        hashes = hash_files(paths, context.store.root / "hashes.json", task.update)
    return Prepared(root, splits, {name: split_digest(split, hashes) for name, split in named.items()})


def data_root(context: Context, splits: Iterable[str]) -> Path:
    """Return the folder of the data; `splits` of data that is drawn are drawn into the store first."""
    data = context.profile.data
    part, options = context.catalog.choose("dataset", data.dataset.name, data.dataset.options)
    if part.generate is None:
        if not data.root:
            raise FinesegError(f"{context.file}: data.root: missing; the folder that dataset '{part.name}' reads")
        root = Path(data.root)
        if not root.is_dir():
            raise FinesegError(f"{context.file}: data.root: no folder {root}; point it at the data")
        return root
    root = context.store.folder("data", content_key(part_key(context.catalog, "dataset", data.dataset)))
    for split in splits:
        mark = root / f"{split}.done.json"
        if mark.exists():
            continue
        with context.store.writing("data", root.name), context.console.task(f"drawing {split}", None, "images") as task:
            part.generate(options, root, split, task.update)
            write_json(mark, {"split": split})
    return root


def _refuse_missing(paths: list[Path]) -> None:
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise FinesegError(f"{missing[0]}: no such image; {len(missing)} of {len(paths)} annotated images are missing")


def check_splits(context: Context, prepared: Prepared) -> list[str]:
    """Check the data once for each content; return the warnings.

    Raises `FinesegError` with the first errors. Ground truth scored as a prediction must reach 100 on the way.
    """
    key = content_key({"digests": dict(prepared.digests), "metric": context.profile.metric.model_dump(mode="json")})
    note = context.store.folder("checks", key) / "findings.json"
    if note.exists():
        findings: list[dict[str, Any]] = read_json(note)
    else:
        findings = _find(context, prepared.splits)
        write_json(note, findings)
    errors = [f"{f['where']}: {f['what']}" for f in findings if f["severity"] == "error"]
    if errors:
        more = [f"and {len(errors) - SHOWN_FINDINGS} more errors"] if len(errors) > SHOWN_FINDINGS else []
        raise FinesegError("\n".join([*errors[:SHOWN_FINDINGS], *more]))
    return [f"{f['where']}: {f['what']}" for f in findings if f["severity"] != "error"]


def _find(context: Context, splits: Splits) -> list[dict[str, Any]]:
    named = splits.named()
    total = sum(len(split.images) for split in named.values())
    with context.console.task("checking data", total, "images") as task:
        found = [{"severity": f.severity, "where": f.where, "what": f.what} for f in check_data(named, task.update)]
    if any(f["severity"] == "error" for f in found):
        return found
    with context.console.task("scoring truth against itself"):
        found += _truth_findings(splits.validation, context.profile.metric.area_ranges)
    return found


def _truth_findings(split: Split, area_ranges: Mapping[str, tuple[float, float]]) -> list[dict[str, Any]]:
    """Send ground truth through the whole metric path: anything below 100 is a fault of the data or the path."""
    most = max((len(split.objects_of(image.id)) for image in split.images), default=1)
    truth = truth_as_prediction(split)
    score = mask_ap(split, truth, area_ranges=area_ranges, max_detections=(max(most, 1),)).summary["AP"]
    if score > 99.99:
        return []
    what = f"ground truth scored as a prediction reaches AP {score:.2f}, not 100: masks, areas or ids contradict"
    return [{"severity": "error", "where": f"split '{split.name}'", "what": what}]
