"""predict: every (model, split) that the store does not hold yet, in fixed shards."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fineseg.data.split import Split
from fineseg.predictions import Instances, read_instances
from fineseg.runs import prediction_key
from fineseg.scheduling.orders import PredictionOrder, PredictionSetting
from fineseg.stages.context import Context
from fineseg.stages.prepare import Prepared
from fineseg.stages.train import Trained


@dataclass(frozen=True)
class Predicted:
    """What one model says of one split, in the store."""

    model: str
    role: str
    key: str
    files: tuple[Path, ...]

    def read(self) -> dict[int, Instances]:
        """Return the predictions by image id."""
        return read_instances(self.files)


def predict(
    context: Context, prepared: Prepared, wanted: Mapping[str, Mapping[str, Trained]]
) -> dict[tuple[str, str], Predicted]:
    """Predict each role's split with the trainings that are wanted of it; return predictions by (model, role)."""
    found: dict[tuple[str, str], Predicted] = {}
    orders: dict[str, list[PredictionOrder]] = {}
    for role, trained in wanted.items():
        split: Split = getattr(prepared.splits, role)
        for model, entry in trained.items():
            key = prediction_key(context.profile, context.catalog, model, entry.key, prepared.digests[split.name])
            shards = _shards(split, context.profile.predict.shard, context.store.folder("predict", key))
            found[model, role] = Predicted(model, role, key, tuple(shards))
            if context.store.finished("predict", key) is None and key not in orders:
                orders[key] = [
                    PredictionOrder(f"{model} {role}", model, str(entry.weights), role, ids, str(file))
                    for file, ids in shards.items()
                    if not file.exists()
                ]
    if orders:
        _run(context, prepared, orders)
    return found


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
