"""What a model was trained on, as a record beside its weights, and the refusal to tune on images that it has seen.

`refuse_seen(prepared, members, trusted)` is for whoever tunes weights, thresholds or calibration on predictions of the
validation split: call it first, with the predictions (`Predicted`) that are tuned on.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fineseg.data.json_entries import load_json
from fineseg.errors import FinesegError
from fineseg.stages.prepare import Prepared
from fineseg.store import file_hash, write_json

if TYPE_CHECKING:
    from fineseg.stages.predict import Predicted

RECORD = "trained_on.json"
"""Beside weights: hashes of these and of the images that they were trained on."""

FOLD = re.compile(r" fold \d+$")
"""What the name of a fold's training has after its model's."""


def refuse_seen(prepared: Prepared, members: Sequence["Predicted"], trusted: Collection[str]) -> None:
    """Refuse to tune on the members' predictions of validation images that the predicting weights were trained on.

    The evidence are the records beside the weights and the contents of the predicted images' files. Weights without a
    record are refused too, unless their model, in a dense ensemble each for itself, is `trusted`: somebody says that
    they never saw these images; a record that says otherwise is believed more. Raises `FinesegError` with a line for
    each model.
    """
    faults = [fault for member in members if (fault := _fault(prepared, member, trusted))]
    if faults:
        raise FinesegError("\n".join(faults))


def _fault(prepared: Prepared, member: "Predicted", trusted: Collection[str]) -> str | None:
    images = {image.id: image for image in prepared.splits.validation.images}
    for entry in member.entries:
        if entry.weights is None:
            raise ValueError(f"nobody knows which weights made the predictions '{entry.model}'")
        seen, model = trained_on(entry.weights, stored=True), FOLD.sub("", entry.model)
        name = entry.model if model == member.model else f"{entry.model} of {member.model}"
        if seen is None and model not in trusted:
            return (
                f"model {name}: {entry.weights.parent} has no {RECORD}, so nobody can know whether its weights "
                "have seen the validation images, and nothing is tuned on them; if they have not, say so: [combine] "
                f'held_out = ["{model}"]'
            )
        found = [images[number] for number in entry.read()]
        known = [image for image in found if seen is not None and prepared.hashes[str(image.file)] in seen]
        if known:
            return (
                f"model {name}: was trained on {len(known)} of the {len(found)} images that it is to be tuned "
                f"on, such as {known[0].file}; tune on images that it has not seen, as out-of-fold predictions do"
            )
    return None


def trained_on(weights: Path, *, stored: bool = False) -> frozenset[str] | None:
    """Return the SHA-256 hashes of the images that weights were trained on, or None where no record tells of them.

    A record beside weights from anywhere must be of these very weights; those `stored` here stand beside their own.
    """
    record = weights.with_name(RECORD)
    if not record.is_file() or not weights.is_file():
        return None
    found: Any = load_json(record)
    sound = isinstance(found, dict) and isinstance(found.get("images"), list)
    return frozenset(found["images"]) if sound and (stored or found.get("weights") == file_hash(weights)) else None


def record_training(weights: Path, images: Iterable[str]) -> None:
    """Note beside weights the hashes of the images that they were trained on."""
    write_json(weights.with_name(RECORD), {"weights": file_hash(weights), "images": sorted(set(images))})
