"""predict: every (model, split) that the store does not hold yet, in fixed shards."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fineseg.data.panoptic import PanopticMap
from fineseg.data.split import Split
from fineseg.panoptic_predictions import StoredMaps, StoredPanoptic, panoptic_file, read_panoptic
from fineseg.parts import Output
from fineseg.predictions import Instances, read_instances
from fineseg.profile.outputs import outputs_of
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
    `members` are those of an ensemble that says one thing together, each with its own weights. `gives` says what the
    answer tells; files of instances are there in any case.
    """

    model: str
    role: str
    key: str
    files: tuple[Path, ...]
    weights: Path | None = None
    parts: tuple["Predicted", ...] = ()
    members: tuple["Predicted", ...] = ()
    gives: tuple[Output, ...] = ("instances",)

    @property
    def entries(self) -> tuple["Predicted", ...]:
        """What single trainings said, alone or with others."""
        return tuple(entry for part in self.parts for entry in part.entries) or self.members or (self,)

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

    A training that leaves a fold out predicts that fold in the role of the validation split. A model with ends makes a
    prediction MODEL/END for each, all of them with one pass of its backbone.
    """
    found: dict[tuple[str, str], list[Predicted]] = {}
    keys: dict[str, str] = {}
    orders: list[PredictionOrder] = []
    for role, trained in wanted.items():
        for name, entry in trained.items():
            part = prepared if entry.fold is None else prepared.folds[entry.fold]
            split: Split = getattr(part.splits, role)
            missing: dict[str, Mapping[tuple[int, ...], Path]] = {}
            table = context.profile.models[entry.model]
            for end, prediction in zip(table.heads, context.profile.predictions_of(entry.model), strict=True):
                key = prediction_key(context.profile, context.catalog, prediction, entry.key, part.digests[split.name])
                shards = shards_of(split, context.profile.predict.shard, context.store.folder("predict", key))
                gives, own = outputs_of(context.catalog, table, end), name.removeprefix(entry.model)
                answer = Predicted(f"{prediction}{own}", role, key, tuple(shards.values()), entry.weights, gives=gives)
                found.setdefault((prediction, role), []).append(answer)
                if context.store.finished("predict", key) is None and key not in keys:
                    keys[key] = entry.model
                    missing[end] = {ids: file for ids, file in shards.items() if not file.exists()}
            orders += _orders(f"{name} {role}", entry, role, missing)
    if keys:
        run_orders(context, prepared, keys, orders)
    return {place: join_folds(prepared, *place, parts) for place, parts in found.items()}


def join_folds(prepared: Prepared, model: str, role: str, parts: list[Predicted]) -> Predicted:
    """Make one answer of what the trainings of a model said; where each said something of all images, none yet."""
    if len(parts) == 1:
        return parts[0]
    out_of_fold = getattr(prepared.splits, role).name == prepared.splits.validation.name
    files = tuple(file for part in parts for file in part.files) if out_of_fold else ()
    key = content_key({"folds": [part.key for part in parts]})
    return Predicted(model, role, key, files, parts=tuple(parts), gives=parts[0].gives)


def _orders(
    topic: str, entry: Trained, role: str, missing: Mapping[str, Mapping[tuple[int, ...], Path]]
) -> list[PredictionOrder]:
    """Return the orders of one training; `missing` are files by images, by end, and one order writes those of all."""
    shards: dict[tuple[int, ...], dict[str, str]] = {}
    for end, files in missing.items():
        for ids, file in files.items():
            shards.setdefault(ids, {})[end] = str(file)
    orders = []
    for ids, shard in sorted(shards.items(), key=lambda item: sorted(item[1].values())):
        first, ends = next(iter(shard.values())), {end: path for end, path in shard.items() if end}
        orders.append(PredictionOrder(topic, entry.model, str(entry.weights), role, ids, first, ends))
    return orders


def shards_of(split: Split, size: int, folder: Path) -> dict[tuple[int, ...], Path]:
    """Cut a split into files of `size` images, in the order of the split."""
    ids = [image.id for image in split.images]
    return {
        tuple(ids[start : start + size]): folder / f"{start // size:05d}.parquet" for start in range(0, len(ids), size)
    }


def run_orders(
    context: Context, prepared: Prepared, keys: Mapping[str, str], orders: Sequence[PredictionOrder]
) -> None:
    """Work off orders, and finish what stands under the keys, of which model each is."""
    setting = PredictionSetting(context.tables, str(context.file), str(prepared.root), context.profile.predict.cpus)
    total = sum(len(order.image_ids) for order in orders)
    with ExitStack() as stack:
        for key in keys:
            stack.enter_context(context.store.writing("predict", key))
        task = stack.enter_context(context.console.task("predict", total, "images"))
        done: dict[str, int] = {}

        def show(topic: str, state: tuple[int, int, str]) -> None:
            done[topic] = state[0]
            task.update(sum(done.values()), note=topic.partition("/")[0])

        if orders:
            context.scheduler.predict(orders, setting, show)
            task.update(total)
        for key, model in keys.items():
            context.store.finish("predict", key, {"model": model})
