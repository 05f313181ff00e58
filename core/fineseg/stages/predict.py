"""predict: every (model, split) that the store does not hold yet, in fixed shards."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fineseg.data.panoptic import PanopticMap
from fineseg.data.split import Split
from fineseg.panoptic_predictions import StoredMaps, StoredPanoptic, panoptic_file, read_panoptic
from fineseg.predictions import Instances, read_instances
from fineseg.runs import prediction_key
from fineseg.scheduling.orders import PredictionOrder, PredictionSetting
from fineseg.stages.context import Context
from fineseg.stages.prepare import Prepared
from fineseg.stages.train import Trained
from fineseg.store import content_key


@dataclass(frozen=True)
class Predicted:
    """What one model says of one split, in the store, and the weights that said it, where they are one training's.

    With folds the trainings of a model make `parts`: each says something of its own fold, which together is an answer,
    or each of the whole test split, which is one only when they are merged: such an answer has no `files` before.
    """

    model: str
    role: str
    key: str
    files: tuple[Path, ...]
    weights: Path | None = None
    parts: tuple["Predicted", ...] = ()

    @property
    def entries(self) -> tuple["Predicted", ...]:
        """What single trainings said."""
        return self.parts or (self,)

    @property
    def folders(self) -> dict[str, Path]:
        """The folders of the store that hold it, by the name of the training, or the model, that said it."""
        found = {part.model: part.files[0].parent for part in self.parts if part.files}
        own = next((file.parent for file in self.files if file.parent not in found.values()), None)
        return found if own is None else found | {self.model: own}

    def read(self) -> dict[int, Instances]:
        """Return the predictions by image id."""
        self._refuse_several()
        return read_instances(self.files)

    def read_panoptic(self) -> Mapping[int, PanopticMap]:
        """Return a panoptic model's maps by image id; each is decoded when it is asked for."""
        self._refuse_several()
        return StoredMaps(read_panoptic(map(panoptic_file, self.files), semantic=False))

    def read_stored(self) -> Iterator[StoredPanoptic]:
        """Return a panoptic model's maps with its scores of all classes, image by image, to be decoded."""
        self._refuse_several()
        return read_panoptic(map(panoptic_file, self.files), semantic=True)

    def _refuse_several(self) -> None:
        if self.parts and not self.files:
            raise ValueError(f"the {len(self.parts)} answers of model {self.model} are to be merged first")


def predict(
    context: Context, prepared: Prepared, wanted: Mapping[str, Mapping[str, Trained]]
) -> dict[tuple[str, str], Predicted]:
    """Predict each role's split with the trainings that are wanted of it; return predictions by (model, role).

    A training that leaves a fold out predicts that fold in the role of the validation split.
    """
    found: dict[tuple[str, str], list[Predicted]] = {}
    orders: dict[str, list[PredictionOrder]] = {}
    for role, trained in wanted.items():
        for name, entry in trained.items():
            part = prepared if entry.fold is None else prepared.folds[entry.fold]
            split: Split = getattr(part.splits, role)
            key = prediction_key(context.profile, context.catalog, entry.model, entry.key, part.digests[split.name])
            shards = _shards(split, context.profile.predict.shard, context.store.folder("predict", key))
            found.setdefault((entry.model, role), []).append(Predicted(name, role, key, tuple(shards), entry.weights))
            if context.store.finished("predict", key) is None and key not in orders:
                orders[key] = [
                    PredictionOrder(f"{name} {role}", entry.model, str(entry.weights), role, ids, str(file))
                    for file, ids in shards.items()
                    if not file.exists()
                ]
    if orders:
        _run(context, prepared, orders)
    return {place: _together(prepared, *place, parts) for place, parts in found.items()}


def _together(prepared: Prepared, model: str, role: str, parts: list[Predicted]) -> Predicted:
    """Make one answer of what the trainings of a model said; where each said something of all images, none yet."""
    if len(parts) == 1:
        return parts[0]
    out_of_fold = getattr(prepared.splits, role).name == prepared.splits.validation.name
    files = tuple(file for part in parts for file in part.files) if out_of_fold else ()
    key = content_key({"folds": [part.key for part in parts]})
    return Predicted(model, role, key, files, parts=tuple(parts))


def _shards(split: Split, size: int, folder: Path) -> dict[Path, tuple[int, ...]]:
    """Cut a split into files of `size` images, in the order of the split."""
    ids = [image.id for image in split.images]
    return {
        folder / f"{start // size:05d}.parquet": tuple(ids[start : start + size]) for start in range(0, len(ids), size)
    }


def _run(context: Context, prepared: Prepared, orders: Mapping[str, list[PredictionOrder]]) -> None:
    setting = PredictionSetting(context.tables, str(context.file), str(prepared.root), context.profile.predict.cpus)
    flat = [order for shard in orders.values() for order in shard]
    total = sum(len(order.image_ids) for order in flat)
    with ExitStack() as stack:
        for key in orders:
            stack.enter_context(context.store.writing("predict", key))
        task = stack.enter_context(context.console.task("predict", total, "images"))
        done: dict[str, int] = {}

        def show(topic: str, state: tuple[int, int, str]) -> None:
            done[topic] = state[0]
            task.update(sum(done.values()), note=topic.partition("/")[0])

        if flat:
            context.scheduler.predict(flat, setting, show)
        for key, shard in orders.items():
            context.store.finish("predict", key, {"model": shard[0].model if shard else None})
