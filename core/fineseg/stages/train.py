"""train: every chosen model that the store does not hold yet."""

import traceback
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fineseg.errors import FinesegError
from fineseg.runs import training_key
from fineseg.scheduling.orders import TrainingOrder
from fineseg.stages.context import Context
from fineseg.stages.prepare import Prepared
from fineseg.store import WEIGHTS, write_text


@dataclass(frozen=True)
class Trained:
    """One model's training in the store: its key, folder and weights file."""

    model: str
    key: str
    folder: Path

    @property
    def weights(self) -> Path:
        """The file that predictions load."""
        return self.folder / WEIGHTS


def train(context: Context, prepared: Prepared) -> dict[str, Trained]:
    """Train what is missing, several models side by side where there is room; return all trainings by model.

    Two models of one key share a training. Raises `FinesegError` after all others have ended when one fails.
    """
    trained = {}
    for model in context.profile.chosen:
        key = training_key(context.profile, context.catalog, model, prepared.digests, prepared.splits)
        trained[model] = Trained(model, key, context.store.folder("train", key))
    missing: dict[str, TrainingOrder] = {}
    for entry in trained.values():
        if context.store.finished("train", entry.key) is None:
            missing.setdefault(entry.key, _order(context, prepared, entry))
    if missing:
        _run(context, missing)
    return trained


def _order(context: Context, prepared: Prepared, entry: Trained) -> TrainingOrder:
    table = context.profile.train_of(entry.model)
    return TrainingOrder(
        model=entry.model,
        tables=context.tables,
        file=str(context.file),
        data_root=str(prepared.root),
        folder=str(entry.folder),
        weights_cache=str(context.store.root / "weights"),
        workers=table.workers,
        cpus=table.cpus,
        keep=table.keep,
        checkpoint=table.checkpoint,
    )


def _run(context: Context, missing: Mapping[str, TrainingOrder]) -> None:
    keys = {order.model: key for key, order in missing.items()}
    with ExitStack() as stack:
        for key in missing:
            stack.enter_context(context.store.writing("train", key))
        shown = {model: stack.enter_context(ExitStack()) for model in keys}
        tasks = {
            model: s.enter_context(context.console.task(f"train {model}", 0, "steps")) for model, s in shown.items()
        }
        for task in tasks.values():
            task.note = "waiting"

        def show(model: str, state: tuple[int, int, str]) -> None:
            tasks[model].update(state[0], state[1] or None, state[2])

        def ended(order: TrainingOrder) -> None:
            context.store.finish("train", keys[order.model], {"model": order.model})
            shown[order.model].close()

        failures = context.scheduler.train(list(missing.values()), show, ended)
    _raise_failures(context, missing, failures)


def _raise_failures(context: Context, missing: Mapping[str, TrainingOrder], failures: list[Exception | None]) -> None:
    """Say which trainings failed: a user's fault as one line, anything else with its traceback in the entry."""
    lines = []
    for order, failure in zip(missing.values(), failures, strict=True):
        if isinstance(failure, FinesegError):
            lines.append(f"model {order.model}: {failure}")
        elif failure is not None:
            log = Path(order.folder) / "error.txt"
            write_text(log, "".join(traceback.format_exception(failure)))
            context.console.say(log.read_text(encoding="utf-8"))
            lines.append(f"model {order.model}: training failed, see {log}; the same command tries again")
    if lines:
        raise FinesegError("\n".join(lines))
