"""submit: the file that is handed in, written from the combined predictions and read back through the checker."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fineseg.data.split import Split
from fineseg.errors import FinesegError
from fineseg.predictions import Instances
from fineseg.provenance.record import carry, keep
from fineseg.stages.context import Context
from fineseg.stages.predict import Predicted
from fineseg.stages.prepare import Prepared


def submit(
    context: Context, prepared: Prepared, predicted: Predicted, out: Path, record: Mapping[str, Any]
) -> Path | None:
    """Write `submission<suffix>` into the run folder; None for a profile without `[submission]`.

    `record` says where it comes from: a zip carries it as its comment, and the store keeps it for any file.
    Raises `FinesegError` when the written file does not pass its own format's checker.
    """
    table = context.profile.submission
    if table is None:
        return None
    part, options = context.catalog.choose("submission", table.format.name, table.format.options)
    target = out / f"submission{part.suffix}"
    with context.console.task("write submission"):
        found = predicted.read_panoptic() if part.task == "panoptic" else predicted.read()
        written: Path = part.write(options, prepared.splits.test, found, target)
        carry(written, record)  # before the check, which so sees the file as it is handed in
        faults: list[str] = part.check(options, prepared.splits.test, written)
    if faults:
        refused = written.with_name(f"refused-{written.name}")
        written.replace(refused)
        raise FinesegError("\n".join([f"{refused}: the written submission fails its check:", *faults[:20]]))
    keep(context.store.root, written, record)
    return written


def as_submitted(context: Context, split: Split, predictions: Mapping[int, Instances]) -> Mapping[int, Instances]:
    """Return predictions of a split as their submission file gives them back: its limits, its rounding of scores.

    Without a submission format, or with one that cannot be read back, they stay as they are.
    """
    table = context.profile.submission
    if table is None:
        return predictions
    part, options = context.catalog.choose("submission", table.format.name, table.format.options)
    if part.read is None:
        return predictions
    with TemporaryDirectory(prefix="fineseg-") as folder:
        written = part.write(options, split, predictions, Path(folder) / f"submission{part.suffix}")
        read: Mapping[int, Instances] = part.read(options, split, written)
    return read
