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
    """A process that holds one model at a time and predicts shards with it."""

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
        self.loaded: tuple[tuple[str, str], Any, Any] | None = None

    def predict(self, order: PredictionOrder) -> None:
        """Predict one shard and write its file, the one of instances last: where it stands the shard is done."""
        from fineseg.mm.work import at_work
        from fineseg.predictions import write_instances
        from fineseg.store import LEDGER, append_row

        images = getattr(self.splits, order.role).select(order.image_ids).images
        answer = self._panoptic if self.profile.competition.task == "panoptic" else self._instances
        self._model(order)
        started = time.monotonic()
        found = answer(order, self._posted(order, images))
        work = {"images": len(found), "seconds": round(time.monotonic() - started, 3), **at_work(1)}
        append_row(Path(order.file).parent / LEDGER, work)
        write_instances(Path(order.file), found)

    def _instances(self, order: PredictionOrder, images: "Iterable[ImageInfo]") -> "list[Instances]":
        from fineseg.mm.predict import predict_image

        built, viewing = self._model(order)
        predict = self.profile.predict_of(order.model)
        return [predict_image(built, image, predict, self.device, viewing) for image in images]

    def _panoptic(self, order: PredictionOrder, images: "Iterable[ImageInfo]") -> "list[Instances]":
        """Write maps and scores, and return the instances."""
        from fineseg.mm.panoptic import predict_panoptic
        from fineseg.panoptic_predictions import panoptic_file, write_panoptic

        built, _ = self._model(order)
        predict = self.profile.predict_of(order.model)
        answers = (predict_panoptic(built, image, predict, self.device) for image in images)
        return write_panoptic(panoptic_file(Path(order.file)), answers, predict.semantic)

    def _posted(self, order: PredictionOrder, images: "Sequence[ImageInfo]") -> "Iterator[ImageInfo]":
        """Yield images, and tell how many are done."""
        post = Poster(self.board, f"{order.topic}/{Path(order.file).name}")
        for done, image in enumerate(images, start=1):
            yield image
            post(done, len(images))

    def _model(self, order: PredictionOrder) -> tuple[Any, Any]:
        """Return the model that an order needs, and how it looks at images."""
        from fineseg.mm.model import build_model
        from fineseg.mm.predict import load_trained
        from fineseg.mm.views import build_viewing

        if self.loaded is None or self.loaded[0] != (order.model, order.weights):
            table, train = self.profile.models[order.model], self.splits.train
            classes, stuff = len(train.categories), len(train.stuff)
            built = build_model(table, self.catalog, classes, weights_cache=None, init=False, num_stuff=stuff)
            load_trained(built, Path(order.weights))
            built.module.to(self.device).eval()
            viewing = build_viewing(self.profile.predict_of(order.model), self.catalog, classes)
            self.loaded = ((order.model, order.weights), built, viewing)
        return self.loaded[1:]
