"""Prediction over Ray: fixed shards of image ids, a bounded pool of actors, each shard one file written whole."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from fineseg.errors import FinesegError
from fineseg.scheduling.board import Poster, watched
from fineseg.scheduling.orders import PredictionOrder, PredictionSetting, State
from fineseg.scheduling.pool import Pool, ShardWorker
from fineseg.scheduling.session import nodes, room, total

if TYPE_CHECKING:
    from fineseg.data.split import ImageInfo
    from fineseg.predictions import Instances


def predict_all(
    orders: Sequence[PredictionOrder], setting: PredictionSetting, show: Callable[[str, State], None]
) -> None:
    """Predict all shards; raises what a shard raised once those of other models have ended (see `Pool`)."""
    machines = nodes()
    size = room(machines, setting.cpus)
    if size < 1:
        raise FinesegError(f"predict.cpus = {setting.cpus}: no room on the {total(machines)} that Ray found; lower it")
    gpus = any(cards for _, cards in machines)
    with watched(show) as board:
        worker = ray.remote(num_cpus=setting.cpus, num_gpus=1 if gpus else 0)(ShardWorker)
        pool = Pool(orders, lambda: worker.remote(partial(ShardPredictor, setting, board)), min(size, len(orders)))
        try:
            pool.run()
        except Exception:
            pool.close()
            raise
        pool.close()


class ShardPredictor:
    """A process that holds one model at a time, or those that look together, and predicts shards with it."""

    def __init__(self, setting: PredictionSetting, board: Any) -> None:
        import torch

        from fineseg.catalog import load_catalog
        from fineseg.mm.quiet import let_print
        from fineseg.profile.check import check_tables
        from fineseg.runs import read_splits

        let_print()  # Ray keeps what a worker prints
        torch.set_num_threads(setting.cpus)
        self.board = board
        disable = setting.tables.get("plugins", {}).get("disable", ())
        self.catalog = load_catalog(disable=disable, warn=lambda _: None)
        self.profile = check_tables(setting.tables, self.catalog, Path(setting.file))
        self.splits = read_splits(self.profile, self.catalog, Path(setting.data_root))
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.loaded: dict[tuple[str, str], tuple[Any, Any]] = {}

    def predict(self, order: PredictionOrder) -> None:
        """Predict one shard and write its files, those of instances last: where one stands that answer is done."""
        from fineseg.mm.work import at_work
        from fineseg.predictions import write_instances
        from fineseg.store import LEDGER, append_row

        images = getattr(self.splits, order.role).select(order.image_ids).images
        answer = self._panoptic if self.profile.competition.task == "panoptic" else self._instances
        answer = self._together if order.members else answer
        self._load(order)
        started = time.monotonic()
        found = answer(order, self._posted(order, images))
        passes = len(images) * max(len(order.members), 1)
        work = {"images": passes, "seconds": round(time.monotonic() - started, 3), **at_work(1)}
        append_row(Path(order.file).parent / LEDGER, work)
        for end, file in order.files.items():
            write_instances(Path(file), found[end])

    def _instances(self, order: PredictionOrder, images: "Iterable[ImageInfo]") -> "dict[str, list[Instances]]":
        """Return the instances by the names of the ends."""
        from fineseg.mm.predict import predict_heads

        built, viewing = self.loaded[order.model, order.weights]
        predict = self.profile.predict_of(order.model)
        found = [predict_heads(built, image, predict, self.device, viewing, order.files) for image in images]
        return {end: [answer[end] for answer in found] for end in order.files}

    def _panoptic(self, order: PredictionOrder, images: "Iterable[ImageInfo]") -> "dict[str, list[Instances]]":
        """Write maps and scores, and return the instances by the names of the ends."""
        from fineseg.mm.panoptic import predict_panoptic_heads
        from fineseg.panoptic_predictions import panoptic_file, write_panoptic_heads
        from fineseg.profile.outputs import outputs_of

        built, viewing = self.loaded[order.model, order.weights]
        predict = self.profile.predict_of(order.model)
        table = self.profile.models[order.model]
        gives = {end: outputs_of(self.catalog, table, end) for end in order.files}
        answers = (predict_panoptic_heads(built, image, predict, self.device, gives, viewing) for image in images)
        files = {end: panoptic_file(Path(file)) for end, file in order.files.items()}
        return write_panoptic_heads(files, answers, predict.semantic)

    def _together(self, order: PredictionOrder, images: "Iterable[ImageInfo]") -> "dict[str, list[Instances]]":
        """Write maps and scores of a dense ensemble, and return its instances."""
        from fineseg.mm.dense import Spaces
        from fineseg.mm.together import Together, predict_together
        from fineseg.panoptic_predictions import panoptic_file, write_panoptic

        combine = self.profile.combine
        if combine is None or combine.dense is None:
            raise ValueError("an order with members needs [combine] dense")
        dense, profile, models = combine.dense, self.profile, []
        for name, weights in order.members.items():
            built, viewing = self.loaded[profile.model_of(name), weights]
            built = built.of_end(profile.end_of(name)) if built.ends else built
            models.append(Together(built, viewing, profile.predict_of(name), dense.weights.get(name, 1.0)))
        predict, spaces = profile.predict, Spaces(dense.scores, dense.masks, dense.semantic)
        answers = (predict_together(models, image, predict, self.device, spaces) for image in images)
        return {"": write_panoptic(panoptic_file(Path(order.file)), answers, predict.semantic)}

    def _posted(self, order: PredictionOrder, images: "Sequence[ImageInfo]") -> "Iterator[ImageInfo]":
        """Yield images, and tell how many are done."""
        post = Poster(self.board, f"{order.topic}/{Path(order.file).name}")
        for done, image in enumerate(images, start=1):
            yield image
            post(done, len(images))

    def _load(self, order: PredictionOrder) -> None:
        """Hold the models that an order needs, each with how it looks at images, and no others."""
        owners = {(self.profile.model_of(name), weights) for name, weights in order.members.items()}
        needed = owners or {(order.model, order.weights)}
        self.loaded = {key: self.loaded[key] for key in needed if key in self.loaded}
        for model, weights in needed - self.loaded.keys():
            self.loaded[model, weights] = self._model(model, weights)

    def _model(self, model: str, weights: str) -> tuple[Any, Any]:
        """Return a trained model, and how it looks at images."""
        from fineseg.mm.model import build_model
        from fineseg.mm.predict import load_trained
        from fineseg.mm.views import build_viewing

        table, train = self.profile.models[model], self.splits.train
        classes, stuff = len(train.categories), len(train.stuff)
        built = build_model(table, self.catalog, classes, weights_cache=None, init=False, num_stuff=stuff)
        load_trained(built, Path(weights))
        built.module.to(self.device).eval()
        return built, build_viewing(self.profile.predict_of(model), self.catalog, classes)
