"""One Ray session for all stages of a run, started when a stage first has work to do."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from fineseg.console import Console
from fineseg.cost import Meter
from fineseg.scheduling.orders import PredictionOrder, PredictionSetting, State, StopRule, TrainingOrder, Trials
from fineseg.scheduling.session import PRIVATE, RaySettings, ray_session

Show = Callable[[str, State], None]


class Scheduler:
    """Where trainings and predictions run. A run that has nothing to do never starts Ray."""

    def __init__(self, console: Console, ray: RaySettings = PRIVATE, store: Path | None = None) -> None:
        self.console = console
        self.ray = ray
        self.store = store
        self._stack = ExitStack()
        self._started = False

    def __enter__(self) -> "Scheduler":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._started:
            with self.console.task("stopping Ray"):
                self._stack.__exit__(kind, error, trace)

    def start(self, tables: Mapping[str, Any], data: Path | None = None) -> None:
        """Start Ray, or join a cluster and look whether all of it can do the work of a profile; once."""
        if self._started:
            return
        with self.console.task("starting Ray"):
            self._stack.enter_context(ray_session(self.ray))
        self._started = True
        if self.ray.address is not None and self.store is not None:
            with self.console.task("comparing the machines"):
                from fineseg.scheduling.cluster import check_cluster

                check_cluster(tables.get("plugins", {}).get("disable", ()), self.store, data)

    def train(
        self, orders: Sequence[TrainingOrder], show: Show, ended: Callable[[TrainingOrder], None]
    ) -> list[Exception | None]:
        """Run trainings; see `training.train_all`."""
        self.start(orders[0].tables, Path(orders[0].data_root))
        with self.console.task("loading torch and mmdet"):
            from fineseg.scheduling.training import train_all

        return train_all(orders, show, ended, self.console.say)

    def sweep(self, trials: Trials, rule: StopRule, meter: Meter | None, folder: Path, show: Show) -> None:
        """Run trials; see `sweep.run_trials`."""
        self.start({})
        with self.console.task("loading torch and mmdet"):
            from fineseg.scheduling.sweep import run_trials

        run_trials(trials, rule, meter, folder, show, self.console.say)

    def predict(
        self,
        orders: Sequence[PredictionOrder],
        setting: PredictionSetting,
        show: Show,
    ) -> None:
        """Predict shards; see `prediction.predict_all`."""
        self.start(setting.tables, Path(setting.data_root))
        with self.console.task("loading torch and mmdet"):
            from fineseg.scheduling.prediction import predict_all

        predict_all(orders, setting, show)
