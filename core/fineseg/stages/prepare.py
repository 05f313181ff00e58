"""prepare: generate data where it is drawn, read the splits, check them, and hash what they hold."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from fineseg.data.checks import hash_files
from fineseg.data.findings import told
from fineseg.errors import FinesegError
from fineseg.runs import Splits, part_key, read_splits, split_digest, wanted_splits
from fineseg.stages.context import Context
from fineseg.stages.cut import cut_folds, fold_digests
from fineseg.stages.examine import HASHES, examine, split_files
from fineseg.store import content_key, write_json

SHOWN_LINES = 20


@dataclass(frozen=True)
class Prepared:
    """Data ready to be trained on: where it lies, its splits, a digest of each, and the hashes of their files.

    `folds`, where the training split is cut into them, are the data of the training that leaves each one out; in those,
    `fold` is the number of that one, and `folds_file` says which image is in which.
    """

    root: Path
    splits: Splits
    digests: Mapping[str, str]
    hashes: Mapping[str, str] = field(default_factory=dict)
    folds: tuple["Prepared", ...] = ()
    fold: int | None = None
    folds_file: Path | None = None


def prepare(context: Context) -> Prepared:
    """Make the data of a profile ready, and refuse data that would waste a training.

    Raises `FinesegError` that lists what the checks found.
    """
    root, splits = read_root(context)
    examined = examine(context, splits)
    if not examined.sound:
        raise FinesegError("\n".join(_shown(told(examined.findings, "error"))))
    for line in _shown(told(examined.findings, "warning")):
        context.console.say(f"warning: {line}")
    return _prepared(context, root, splits, examined.digests, examined.hashes)


def _shown(lines: list[str]) -> list[str]:
    """Return the most harmful lines, and how many others there are."""
    if len(lines) <= SHOWN_LINES:
        return lines
    return [*lines[:SHOWN_LINES], f"and {len(lines) - SHOWN_LINES} more; `fineseg check --data` lists them all"]


def read_root(context: Context) -> tuple[Path, Splits]:
    """Draw the data where it is drawn; return the folder that it lies in, and its splits."""
    root = data_root(context, wanted_splits(context.profile))
    return root, read_splits(context.profile, context.catalog, root)


def read_data(context: Context) -> Prepared:
    """Make the data ready without a look at what is wrong with it."""
    root, splits = read_root(context)
    named = splits.named()
    files = split_files(named)
    _refuse_missing(files)
    with context.console.task("reading images", len(files), "files") as task:
        hashes = hash_files(files, context.store.root / HASHES, task.update)
    digests = {name: split_digest(split, hashes) for name, split in named.items()}
    return _prepared(context, root, splits, digests, hashes)


def _prepared(
    context: Context, root: Path, splits: Splits, digests: Mapping[str, str], hashes: Mapping[str, str]
) -> Prepared:
    prepared = Prepared(root, splits, digests, hashes)
    return _in_folds(context, prepared) if context.profile.data.in_folds else prepared


def _in_folds(context: Context, prepared: Prepared) -> Prepared:
    folds, file = cut_folds(context, prepared.splits.train, prepared.digests, prepared.hashes)
    parts = []
    for fold in range(folds.count):
        splits = prepared.splits.of_fold(folds, fold)
        digests = fold_digests(splits, prepared.splits, prepared.digests)
        parts.append(replace(prepared, splits=splits, digests=digests, fold=fold, folds_file=file))
    return replace(prepared, folds=tuple(parts), folds_file=file)


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
        raise FinesegError("\n".join(_shown([f"{path}: no such file" for path in missing])))
