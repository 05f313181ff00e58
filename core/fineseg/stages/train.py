"""train: every chosen model that the store does not hold yet."""

import hashlib
import traceback
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fineseg.errors import FinesegError
from fineseg.runs import part_key, training_key
from fineseg.scheduling.orders import TrainingOrder
from fineseg.stages.context import Context
from fineseg.stages.prepare import Prepared
from fineseg.store import WEIGHTS, content_key, write_text


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

    Two models of one key share a training; a model whose weights were given is not trained. Raises `FinesegError`
    after all others have ended when one fails.
    """
    given = {model: _given(context, prepared, model, file) for model, file in context.weights.items()}
    own = [model for model in context.profile.chosen if model not in given]
    trained = _train(context, prepared, own, whole=False)
    return {model: given[model] if model in given else trained[model] for model in context.profile.chosen}


def train_final(context: Context, prepared: Prepared, trained: Mapping[str, Trained]) -> dict[str, Trained]:
    """Return what predicts the test split: the scored trainings, or where the profile says so one on all images."""
    profile = context.profile
    whole = [m for m in trained if profile.train_of(m).final == "all" and m not in context.weights]
    return {**trained, **_train(context, prepared, whole, whole=True)}


def _train(context: Context, prepared: Prepared, models: Sequence[str], *, whole: bool) -> dict[str, Trained]:
    trained = {}
    missing: dict[str, TrainingOrder] = {}
    for model in models:
        key = training_key(context.profile, context.catalog, model, prepared.digests, prepared.splits, whole=whole)
        entry = trained[model] = Trained(model, key, context.store.folder("train", key))
        if context.store.finished("train", key) is None:
            missing.setdefault(key, training_order(context, prepared, entry, whole=whole))
    if missing:
        _run(context, missing)
    return trained


def _given(context: Context, prepared: Prepared, model: str, file: Path) -> Trained:
    """Take a user's weights into the store, once for each content."""
    table = context.profile.models[model]
    try:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise FinesegError(f"--weights {model}={file}: {error.strerror}; give a file of weights") from None
    parts = {kind: part_key(context.catalog, kind, getattr(table, kind)) for kind in ("backbone", "neck", "head")}
    key = content_key({"weights": digest, "parts": parts})
    entry = Trained(model, key, context.store.folder("train", key))
    if context.store.finished("train", key) is None:
        with context.store.writing("train", key), context.console.task(f"loading weights of {model}"):
            from fineseg.mm.given import take_weights

            classes = len(prepared.splits.train.categories)
            surplus = take_weights(table, context.catalog, classes, file, entry.weights)
            context.store.finish("train", key, {"model": model, "weights": str(file), "not in the network": surplus})
        for line in surplus:
            context.console.say(f"{file}: {line}")
    return entry


def training_order(context: Context, prepared: Prepared, entry: Trained, *, whole: bool = False) -> TrainingOrder:
    """Return what other processes need to run a training."""
    table = context.profile.train_of(entry.model, whole=whole)
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
        whole=whole,
    )


def _run(context: Context, missing: Mapping[str, TrainingOrder]) -> None:
    keys = {order.model: key for key, order in missing.items()}
    with ExitStack() as stack:
        for key in missing:
            stack.enter_context(context.store.writing("train", key))
        shown = {model: stack.enter_context(ExitStack()) for model in keys}
        what = {order.model: f"train {order.model}{' on all images' * order.whole}" for order in missing.values()}
        tasks = {model: s.enter_context(context.console.task(what[model], 0, "steps")) for model, s in shown.items()}
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
