"""examine: what is wrong with a profile's data, found once for each content and kept in the store.

Every image is opened once, to hash it, measure it and compare it with the others; one that is known and whose findings
are kept is not opened at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fineseg.data.checks import Pictures, check_between, check_twins, hash_files, known_hashes, open_data, remember
from fineseg.data.findings import Finding, ranked
from fineseg.data.split import Split
from fineseg.metrics.mask_ap import mask_ap, truth_as_prediction
from fineseg.runs import Splits, split_digest
from fineseg.stages.context import Context
from fineseg.store import content_key, read_json, write_json

HASHES = "hashes.json"
FORM = 2  # of the findings that are kept; raise it when the checks find something else in the same data


@dataclass(frozen=True)
class Examined:
    """What is wrong, most harmful first; hashes of the files, and digests of the splits by name.

    There are neither hashes nor digests where files cannot be read.
    """

    findings: tuple[Finding, ...]
    hashes: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def sound(self) -> bool:
        """Whether nothing speaks against a training."""
        return all(finding.severity != "error" for finding in self.findings)


def split_files(splits: Mapping[str, Split]) -> list[Path]:
    """Return the files that splits stand for: images, and maps of panoptic ones."""
    images = [image.file for split in splits.values() for image in split.images]
    return images + [panoptic.file for split in splits.values() for panoptic in split.panoptic.values()]


def examine(context: Context, splits: Splits) -> Examined:
    """Check the splits of a run, with ground truth scored as a prediction, which must reach 100."""
    named, cache = splits.named(), context.store.root / HASHES
    images = {image.file for split in named.values() for image in split.images}
    opened = None
    if not known_hashes(images, cache).keys() >= {str(file) for file in images}:
        opened = _open(context, named)
        _remember(named, opened[1], cache)
    files = split_files(named)
    if not all(file.is_file() for file in files) or (opened is not None and _unreadable(opened[1])):
        found, pictures = opened if opened is not None else _open(context, named)
        found = ranked(found + _between(context, splits, pictures))
        if any(finding.severity == "error" for finding in found):
            return Examined(tuple(found))
    with context.console.task("reading images", len(files), "files") as task:
        hashes = hash_files(files, cache, task.update)
    digests = {name: split_digest(split, hashes) for name, split in named.items()}
    note = context.store.folder("checks", _key(context, splits, digests)) / "findings.json"
    if note.exists():
        return Examined(tuple(Finding(f["kind"], f["where"], f["what"]) for f in read_json(note)), hashes, digests)
    found, pictures = opened if opened is not None else _open(context, named)
    found += _between(context, splits, pictures)
    if all(finding.severity != "error" for finding in found):
        with context.console.task("scoring truth against itself"):
            found += _truth_findings(splits.validation, context.profile.metric.area_ranges)
    examined = Examined(tuple(ranked(found)), hashes, digests)
    if not _unreadable(pictures):  # what is said of those names their path
        write_json(note, [finding.plain() for finding in examined.findings])
    return examined


def _key(context: Context, splits: Splits, digests: Mapping[str, str]) -> str:
    """Return the key of the findings: the data, and by what names and in what roles they speak of it."""
    return content_key(
        {
            "form": FORM,
            "digests": dict(digests),
            "images": {name: [[i.id, i.file.name, i.group] for i in s.images] for name, s in splits.named().items()},
            "labelled": {name: split.labelled for name, split in splits.named().items()},
            "roles": [splits.train.name, splits.validation.name, splits.test.name],
            "metric": context.profile.metric.model_dump(mode="json"),
        }
    )


def _open(context: Context, named: Mapping[str, Split]) -> tuple[list[Finding], Pictures]:
    total = sum(len(split.images) for split in named.values())
    with context.console.task("checking data", total, "images") as task:
        return open_data(named, task.update)


def _remember(named: Mapping[str, Split], pictures: Pictures, cache: Path) -> None:
    """Keep the hashes of images that were read: nothing else has to read them again."""
    hashes: dict[Path, str] = {}
    for name, split in named.items():
        hashes |= {image.file: each.sha256 for image, each in zip(split.images, pictures[name], strict=True)}
    remember(hashes, cache)


def _between(context: Context, splits: Splits, pictures: Pictures) -> list[Finding]:
    named = splits.named()
    with context.console.task("comparing images", 0, "images") as task:
        return check_between(named, splits.train.name) + check_twins(named, pictures, task.update)


def _unreadable(pictures: Pictures) -> bool:
    return any(picture.fault for found in pictures.values() for picture in found)


def _truth_findings(split: Split, area_ranges: Mapping[str, tuple[float, float]]) -> list[Finding]:
    """Send ground truth through the whole metric path: anything below 100 is a fault of the data or the path."""
    most = max((len(split.objects_of(image.id)) for image in split.images), default=1)
    truth = truth_as_prediction(split)
    score = mask_ap(split, truth, area_ranges=area_ranges, max_detections=(max(most, 1),)).summary["AP"]
    if score > 99.99:
        return []
    what = f"ground truth scored as a prediction reaches AP {score:.2f}, not 100: masks, areas or ids contradict"
    return [Finding("truth-not-100", f"split '{split.name}'", what)]
