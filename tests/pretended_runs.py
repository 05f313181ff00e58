"""A toy data set, a store, and commands on them without Ray: trainings and predictions are pretended."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from prepared_toys import CORNER, split_of
from profile_toys import PROFILE, toy_catalog

from fineseg import Dataset, Ensembler, NoOptions, Split
from fineseg.catalog import Catalog, Entry
from fineseg.console import Console
from fineseg.predictions import concatenate, make_instances, write_instances
from fineseg.profile import load_profile
from fineseg.scheduling.orders import PredictionOrder, PredictionSetting, TrainingOrder
from fineseg.stages.context import Context
from fineseg.stages.predict import Predicted, predict
from fineseg.stages.prepare import Prepared, read_data
from fineseg.stages.train import Trained, train, train_final
from fineseg.store import WEIGHTS, Store, append_row, write_text


class Pretender:
    """Stands for the scheduler: weights are the name of their training, and a detection's score tells who made it."""

    def __init__(self) -> None:
        self.orders: list[TrainingOrder] = []
        self.predicted: list[PredictionOrder] = []

    def train(
        self, orders: Sequence[TrainingOrder], show: Any, ended: Callable[[TrainingOrder], None]
    ) -> list[Exception | None]:
        for order in orders:
            self.orders.append(order)
            write_text(Path(order.folder) / WEIGHTS, order.topic)
            append_row(Path(order.folder) / "ledger.jsonl", {"steps": 3, "seconds": 60.0, "cores": 2, "device": "cpu"})
            ended(order)
        return [None for _ in orders]

    def predict(self, orders: Sequence[PredictionOrder], setting: PredictionSetting, show: Any) -> None:
        for order in orders:
            self.predicted.append(order)
            found = [[0], [0.5], [[0, 0, 2, 2]], [CORNER]]
            write_instances(Path(order.file), [make_instances(i, (6, 8), *found) for i in order.image_ids])


class Bench:
    """A toy data set of nine pictures on the disk, one store, and as many commands on them as one likes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.train = folder, split_of("train", range(1, 10))
        for name in ("train", "test"):
            (folder / "data" / name).mkdir(parents=True)
        (folder / "toy.toml").write_text(PROFILE)
        rest = [entry for entry in toy_catalog().entries if entry.part.name != "photos"]
        pool = Ensembler("pool", "", NoOptions, build=lambda options, scores: concatenate)
        photos = Dataset("photos", "", NoOptions, read=self.read)
        self.catalog = Catalog((*rest, *(Entry(part, "toy", "toy-parts", "1.0") for part in (pool, photos))))

    def read(self, options: Any, root: Path, name: str) -> Split:
        split = self.train if name == "train" else split_of(name, (21, 22))
        images = tuple(replace(image, file=root / image.file) for image in split.images)
        for image in images:
            if not image.file.exists():
                image.file.write_text(f"{name} {image.id}")
        return replace(split, images=images, labelled=name == "train")

    def context(self, *settings: str, weights: dict[str, Path] | None = None) -> Context:
        """Return what a command with these settings works in."""
        loaded = load_profile(self.folder / "toy.toml", self.catalog, settings=settings)
        store = Store(self.folder / "store")
        return Context(
            loaded.profile, loaded.tables, loaded.file, self.catalog, store, Console(), Pretender(), weights or {}
        )  # type: ignore[arg-type]

    def run(self, *settings: str, **more: Any) -> "Outcome":
        """Train and predict."""
        context = self.context(*settings, **more)
        prepared = read_data(context)
        trained = train(context, prepared)
        final = train_final(context, prepared, trained)
        predicted = predict(context, prepared, {"validation": trained, "test": final})
        return Outcome(context, prepared, trained, final, predicted)


class Outcome:
    """What a command made."""

    def __init__(
        self,
        context: Context,
        prepared: Prepared,
        trained: dict[str, Trained],
        final: dict[str, Trained],
        predicted: dict[tuple[str, str], Predicted],
    ) -> None:
        self.context, self.prepared, self.trained, self.final, self.predicted = (
            context, prepared, trained, final, predicted
        )  # fmt: skip
        self.work: Any = context.scheduler
