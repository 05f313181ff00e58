"""train: every chosen model that the store does not hold yet."""

import traceback
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from fineseg.console import here
from fineseg.errors import BudgetSpent, FinesegError
from fineseg.profile.outputs import best_figure
from fineseg.runs import model_key, training_key
from fineseg.scheduling.orders import TrainingOrder
from fineseg.stages.context import Context
from fineseg.stages.held_out import RECORD, record_training, trained_on
from fineseg.stages.prepare import Prepared
from fineseg.store import CURVE, NOT_MATCHED, WEIGHTS, content_key, file_hash, read_rows, write_text

SHOWN = 240
"""Characters of a line on what a training starts from; the rest is in its folder."""
OUT_OF_BUDGET = "the budget is spent"


@dataclass(frozen=True)
class Trained:
    """One model's training in the store: its key, folder and weights file, and the fold that it leaves out, if any."""

    model: str
    key: str
    folder: Path
    fold: int | None = None

    @property
    def weights(self) -> Path:
        """The file that predictions load."""
        return self.folder / WEIGHTS


def train(context: Context, prepared: Prepared) -> dict[str, Trained]:
    """Train what is missing, several models side by side where there is room; return all trainings by name.

    A training has its model's name; with folds a model has one for each, named like "m1 fold 0". Two models of one key
    share a training; a model whose weights were given is not trained. Raises `FinesegError` after all others have ended
    when one fails.
    """
    _refuse_whole_beside_folds(context, prepared)
    trained: dict[str, Trained] = {}
    for model in context.profile.chosen:
        if model in context.weights:
            trained[model] = _given(context, prepared, model, context.weights[model])
        else:
            trained |= find_trainings(context, prepared, model)
    own = {name: entry for name, entry in trained.items() if entry.model not in context.weights}
    _train(context, prepared, own, whole=False)
    return trained


def _refuse_whole_beside_folds(context: Context, prepared: Prepared) -> None:
    """A fuser reads models' files side by side: given weights predict the split whole, the others fold by fold."""
    table, chosen = context.profile.combine, context.profile.chosen
    given = [model for model in chosen if model in context.weights]
    if prepared.folds and table is not None and table.fuser is not None and 0 < len(given) < len(chosen):
        others = ", ".join(model for model in chosen if model not in given)
        raise FinesegError(
            f"--weights {given[0]}=...: a fuser takes models that are all trained in folds, or all given, and {others} "
            "would be trained: give weights of all models or of none, or hold out images once, data.validation = "
            "{ random = IMAGES }"
        )


def train_final(context: Context, prepared: Prepared, trained: Mapping[str, Trained]) -> dict[str, Trained]:
    """Return what predicts the test split: the scored trainings, or where the profile says so one on all images."""
    profile = context.profile
    models = [m for m in profile.chosen if profile.train_of(m).final == "all" and m not in context.weights]
    whole = {model: find_training(context, prepared, model, whole=True) for model in models}
    _train(context, prepared, whole, whole=True)
    final: dict[str, Trained] = {}
    for name, entry in trained.items():
        final |= {entry.model: whole[entry.model]} if entry.model in whole else {name: entry}
    return final


def _train(context: Context, prepared: Prepared, trained: Mapping[str, Trained], *, whole: bool) -> None:
    """Run those trainings, by name, that the store lacks."""
    missing: dict[str, TrainingOrder] = {}
    keys = list(dict.fromkeys(entry.key for entry in trained.values()))
    for name, entry in trained.items():
        order = training_order(context, prepared, entry, whole=whole, topic=name)
        order = replace(order, place=(keys.index(entry.key), len(keys)))
        if context.store.finished("train", entry.key) is None:
            missing.setdefault(entry.key, order)
        elif not (entry.folder / RECORD).exists():  # of an older store, under the key of just these images
            note_training(prepared, order)
    failures = run_orders(context, prepared, missing)
    lines = [f"model {missing[key].topic}: {line}" for key, line in failures.items() if line != OUT_OF_BUDGET]
    if len(lines) < len(failures):
        lines.append(_budget_line(context, trained, whole=whole))
    if failures:
        raise FinesegError("\n".join(lines))


def _budget_line(context: Context, trained: Mapping[str, Trained], *, whole: bool) -> str:
    """Say what was done within the budget, what is left, and how to go on."""
    done = [name for name, entry in trained.items() if context.store.finished("train", entry.key) is not None]
    left = [
        f"{name}{' on all images' * whole} ({_epochs(entry)} of {context.profile.epochs_of(entry.model)} epochs)"
        for name, entry in trained.items()
        if name not in done
    ]
    meter = context.meter
    used = f"the budget of {meter.budget.words()} is spent ({meter.budget.words(meter.spent())})" if meter else ""
    return (
        f"{used}: done {', '.join(done) or 'no model'}; left {', '.join(left)} and all that follows; the same command "
        "goes on from there, with a bigger budget to the end"
    )


def _epochs(entry: Trained) -> int:
    """Return how many epochs a training that stopped at a checkpoint has."""
    return max((row["epoch"] for row in read_rows(entry.folder / CURVE)), default=0)


def find_trainings(context: Context, prepared: Prepared, model: str) -> dict[str, Trained]:
    """Return where a model's trainings stand in the store, or will, by name: one, or one for each fold."""
    if not prepared.folds:
        return {model: find_training(context, prepared, model)}
    return {f"{model} fold {part.fold}": find_training(context, part, model) for part in prepared.folds}


def find_training(context: Context, prepared: Prepared, model: str, *, whole: bool = False) -> Trained:
    """Return where a model's training on the training split, or on all labelled images, stands in the store, or will.

    Raises `ValueError` for data in folds: with them a training is scored on what its own fold's data say.
    """
    if prepared.folds and not whole:
        raise ValueError("a training on all folds is scored on what it has seen")
    key = training_key(context.profile, context.catalog, model, prepared.digests, prepared.splits, whole=whole)
    return Trained(model, key, context.store.folder("train", key), prepared.fold)


def _given(context: Context, prepared: Prepared, model: str, file: Path) -> Trained:
    """Take a user's weights into the store, once for each content."""
    table = context.profile.models[model]
    try:
        digest = file_hash(file)
    except OSError as error:
        raise FinesegError(f"--weights {model}={file}: {error.strerror}; give a file of weights") from None
    key = content_key({"weights": digest, "parts": model_key(context.catalog, table, trained=False)})
    entry = Trained(model, key, context.store.folder("train", key))
    if context.store.finished("train", key) is None:
        with context.store.writing("train", key), context.console.task(f"loading weights of {model}"):
            from fineseg.mm.given import take_weights

            train = prepared.splits.train
            classes, stuff = len(train.categories), len(train.stuff)
            surplus = take_weights(table, context.catalog, classes, file, entry.weights, num_stuff=stuff)
            context.store.finish("train", key, {"model": model, "weights": str(file), "not in the network": surplus})
        for line in surplus:
            context.console.say(f"{file}: {line}")
    if (seen := trained_on(file)) is not None:  # they are some store's: its record goes on with them
        record_training(entry.weights, seen)
    return entry


def training_order(
    context: Context, prepared: Prepared, entry: Trained, *, whole: bool = False, topic: str = ""
) -> TrainingOrder:
    """Return what other processes need to run a training; `topic` is what it is shown as, if not the model."""
    table = context.profile.train_of(entry.model, whole=whole)
    best_by = best_figure(context.profile, context.catalog, entry.model) if table.checkpoint == "best" else None
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
        best_by=best_by,
        epochs=context.profile.epochs_of(entry.model),
        whole=whole,
        fold=entry.fold,
        folds_file="" if prepared.folds_file is None else str(prepared.folds_file),
        topic=topic,
        meter=context.meter,
    )


def note_training(prepared: Prepared, order: TrainingOrder) -> None:
    """Record beside the weights which images they were trained on, and those of the weights that they started from."""
    part = prepared if order.fold is None or not prepared.folds else prepared.folds[order.fold]
    split = part.splits.everything() if order.whole else part.splits.train
    images = {prepared.hashes[str(image.file)] for image in split.images}
    start = order.tables["models"][order.model].get("weights")
    before = trained_on(Path(start)) if isinstance(start, str) else None
    record_training(Path(order.folder) / WEIGHTS, images | (before or frozenset()))


def run_orders(context: Context, prepared: Prepared, missing: Mapping[str, TrainingOrder]) -> dict[str, str]:
    """Run trainings by key, which may be of several profiles; return what went wrong, by key, in a line each.

    The line of a training that the budget stopped is `OUT_OF_BUDGET`.
    """
    if not missing:
        return {}
    if context.meter is not None:
        for order in missing.values():
            context.meter.watch(order.folder)
    keys = {order.topic or order.model: key for key, order in missing.items()}
    with ExitStack() as stack:
        for key in missing:
            stack.enter_context(context.store.writing("train", key))
        shown = {topic: stack.enter_context(ExitStack()) for topic in keys}
        what = {topic: f"train {topic}{' on all images' * missing[key].whole}" for topic, key in keys.items()}
        console = context.console
        tasks = {t: s.enter_context(console.task(what[t], 0, "steps", waits=True)) for t, s in shown.items()}
        begun: set[str] = set()

        def show(topic: str, state: tuple[int, int, str]) -> None:
            tasks[topic].update(state[0], state[1] or None, state[2])
            if state[0] and topic not in begun:
                begun.add(topic)
                _say_start(context, missing[keys[topic]])

        def ended(order: TrainingOrder) -> None:
            topic = order.topic or order.model
            note_training(prepared, order)
            context.store.finish("train", keys[topic], {"model": order.model})
            tasks[topic].complete()
            shown[topic].close()

        failures = context.scheduler.train(list(missing.values()), show, ended)
    return {
        key: _failure(context, order, failure)
        for (key, order), failure in zip(missing.items(), failures, strict=True)
        if failure is not None
    }


def _say_start(context: Context, order: TrainingOrder) -> None:
    """Say what a training took of the checkpoint that its model starts from; its folder holds the whole list."""
    list_of_all = Path(order.folder) / NOT_MATCHED
    started_from = order.tables["models"][order.model].get("weights")
    if started_from in (None, "none") or order.fold or not list_of_all.exists():  # the same for every fold
        return
    for line in list_of_all.read_text(encoding="utf-8").splitlines():
        shown = line if len(line) <= SHOWN else f"{line[:SHOWN]} ... (whole in {here(list_of_all)})"
        context.console.say(f"{order.model}: {shown}")


def _failure(context: Context, order: TrainingOrder, failure: Exception) -> str:
    """Say why a training failed: a user's fault as it is, anything else with its traceback in the entry."""
    if isinstance(failure, BudgetSpent):
        return OUT_OF_BUDGET
    if isinstance(failure, FinesegError):
        return str(failure)
    log = Path(order.folder) / "error.txt"
    write_text(log, "".join(traceback.format_exception(failure)))
    context.console.say(log.read_text(encoding="utf-8"))
    return f"training failed, see {here(log)}; the same command tries again"
