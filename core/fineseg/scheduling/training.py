"""Trainings through Ray Train: one `TorchTrainer` a model, several side by side while there are cores for them."""

import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fineseg.cost import Meter
from fineseg.errors import BudgetSpent, FinesegError
from fineseg.scheduling.board import Poster, watched
from fineseg.scheduling.estimate import Estimate, Running
from fineseg.scheduling.failures import in_words
from fineseg.scheduling.orders import State, TrainingOrder
from fineseg.scheduling.session import nodes, room, total
from fineseg.store import SCRATCH, WEIGHTS, write_beside

STARTING: State = (0, 0, "starting its processes")
"""What is shown of a training whose turn has come, until the first of its processes speaks."""
RETRIES = 3
"""How often a training is taken up again from its last checkpoint after a worker died; a fault ends it at once."""


def train_all(
    orders: Sequence[TrainingOrder],
    show: Callable[[str, State], None],
    ended: Callable[[TrainingOrder], None],
    say: Callable[[str], None],
) -> list[Exception | None]:
    """Run trainings, as many at a time as the session has room for; return per order None or what went wrong.

    A training that fails does not stop the others; `ended` is told of each that succeeds, as soon as its weights stand.
    `say` is told what all will take, once that is known. Where the orders' meter says that the budget is spent, none
    starts and those that run stop at a checkpoint: their outcome is `BudgetSpent`.
    """
    machines = nodes()
    side_by_side, cores = plan_side_by_side(orders, machines)
    gpu = any(gpus for _, gpus in machines)
    meter = orders[0].meter
    if meter is not None:
        meter.budget.check(gpu=gpu)
    units = [order.workers * (1 if gpu else share) for order, share in zip(orders, cores, strict=True)]
    running = [Running(o.topic or o.model, Path(o.folder), u, o.epochs) for o, u in zip(orders, units, strict=True)]
    estimate = Estimate(running, side_by_side, gpu, total(machines), say, meter)

    def heard(topic: str, state: State) -> None:
        show(topic, state)
        estimate.see(topic, state)

    with watched(heard) as board:

        def attempt(number: int) -> Exception | None:
            order = orders[number]
            show(running[number].name, STARTING)
            try:
                if (meter is not None and meter.is_spent()) or not train_one(order, board, cores[number], gpu):
                    return BudgetSpent("the budget is spent")
                ended(order)
                shutil.rmtree(Path(order.folder) / SCRATCH, ignore_errors=True)
            except Exception as error:
                return in_words(error, "the command", 1) or error
            finally:
                estimate.ended(running[number].name)
            return None

        return _in_threads(attempt, len(orders), side_by_side)


def _in_threads(attempt: Callable[[int], Exception | None], count: int, threads: int) -> list[Exception | None]:
    """Call `attempt` with 0..count - 1, `threads` at a time.

    The threads are daemons joined in short waits: Ctrl-C must end the run, not wait for the trainings.
    """
    outcomes: dict[int, Exception | None] = {}
    waiting = iter(range(count))

    def work() -> None:
        for number in waiting:
            outcomes[number] = attempt(number)

    pool = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
    for thread in pool:
        thread.start()
    for thread in pool:
        while thread.is_alive():
            thread.join(0.2)
    return [outcomes[number] for number in range(count)]


def plan_side_by_side(orders: Sequence[TrainingOrder], machines: Sequence[tuple[int, int]]) -> tuple[int, list[int]]:
    """Return how many trainings run at once on machines of (cores, GPUs), and the cores each worker of each gets.

    With GPUs every worker has one to itself. Without, trainings go in rounds, and those of one round share the cores
    evenly: three on two cores are two with one core each, then one with both. Trainings that are finished count there,
    as a `place` tells. `train.cpus` overrides the share.

    Raises `FinesegError` when not even one training fits.
    """
    workers = max(order.workers for order in orders)
    slots = room(machines, max(order.cpus or 1 for order in orders))
    if workers > slots:
        what = f"no room on the {total(machines)} that Ray found"
        raise FinesegError(f"train.workers = {workers}: {what}; lower it or train.cpus")
    cores = []
    for index, order in enumerate(orders):
        number, count = order.place or (index, len(orders))
        a_round = min(count, slots // workers)
        beside = min(a_round, count - number // a_round * a_round)
        cores.append(order.cpus or _share(machines, beside * workers))
    return min(len(orders), slots // workers), cores


def _share(machines: Sequence[tuple[int, int]], processes: int) -> int:
    """Return the most cores that each of so many processes can have."""
    most = max(cores for cores, _ in machines)
    return next((cores for cores in range(most, 1, -1) if room(machines, cores) >= processes), 1)


def train_one(
    order: TrainingOrder, board: Any, cpus: int, gpu: bool, callbacks: Sequence[Any] = (), mark: int = 0
) -> bool:
    """Run one training on `cpus` cores a worker, until its weights stand in its entry; `callbacks` are Ray Train's.

    A `mark` is a memory [bytes] that its workers ask for, so few that it only tells what was reserved for them.
    Return False for one that stopped before its last epoch, as its budget is spent: it goes on from there.
    """
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.config import LoggingConfig

    from fineseg.scheduling.callbacks import EndAtFaults

    best = order.best_by
    folder = Path(order.folder)
    resources = {"CPU": cpus, **({"GPU": 1} if gpu else {}), **({"memory": mark} if mark else {})}
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"order": order, "board": board, "cpus": cpus},
        scaling_config=ScalingConfig(num_workers=order.workers, use_gpu=gpu, resources_per_worker=resources),
        run_config=RunConfig(
            name=SCRATCH,
            storage_path=str(folder),
            failure_config=FailureConfig(max_failures=RETRIES, controller_failure_limit=RETRIES),
            checkpoint_config=CheckpointConfig(num_to_keep=order.keep, checkpoint_score_attribute=best),
            logging_config=LoggingConfig(log_level="INFO"),
            callbacks=[EndAtFaults(), *callbacks],
        ),
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
    )
    result = _fit(trainer)
    if result.metrics["epoch"] < order.epochs:
        return False
    checkpoint = max(result.best_checkpoints, key=lambda pair: pair[1][best])[0] if best else result.checkpoint
    with checkpoint.as_directory() as saved:
        write_beside(folder / WEIGHTS, lambda beside: shutil.copyfile(Path(saved) / WEIGHTS, beside))
    return True


def _fit(trainer: Any) -> Any:
    """Run a trainer; what a worker raised is raised here, in words where there are any for it."""
    try:
        return trainer.fit()
    except Exception as error:
        words = in_words(error, "a process of the training", RETRIES + 1)
        if words is None:
            raise
        raise words from None


def train_worker(config: dict[str, Any]) -> None:
    """Run in each of a training's processes: rebuild the job from the order and train."""
    import ray
    import torch
    from ray import train

    order: TrainingOrder = config["order"]
    context = train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    topic = order.topic or order.model
    board = config["board"]
    torch.set_num_threads(config["cpus"])
    if rank == 0:
        ray.get(board.post.remote(topic, (0, 0, "loading")))

    from fineseg.catalog import load_catalog
    from fineseg.data.folds import read_folds
    from fineseg.mm.quiet import let_print
    from fineseg.mm.training import TrainingJob, train_model
    from fineseg.mm.training_hook import TrainingEvents
    from fineseg.profile.check import check_tables
    from fineseg.profile.outputs import validated_outputs
    from fineseg.runs import read_splits

    let_print()  # Ray keeps what a worker prints
    catalog = load_catalog(disable=order.tables.get("plugins", {}).get("disable", ()), warn=lambda _: None)
    profile = check_tables(order.tables, catalog, Path(order.file))
    splits = read_splits(profile, catalog, Path(order.data_root))
    if order.fold is not None:
        splits = splits.of_fold(read_folds(Path(order.folds_file), splits.train), order.fold)
    job = TrainingJob(
        model=profile.models[order.model],
        train=profile.train_of(order.model, whole=order.whole),
        predict=profile.predict_of(order.model),
        metric=profile.metric,
        train_split=splits.everything() if order.whole else splits.train,
        validation=splits.validation,
        folder=Path(order.folder),
        weights_cache=Path(order.weights_cache),
        rank=rank,
        world=world,
        gives=validated_outputs(profile, catalog, order.model),
    )
    poster = Poster(board, topic) if rank == 0 else None
    resume = train.get_checkpoint()

    def report(metrics: Mapping[str, Any], folder: Path | None) -> None:
        train.report(dict(metrics), checkpoint=train.Checkpoint.from_directory(str(folder)) if folder else None)

    def start(resume_from: Path | None) -> None:
        enough = partial(_enough, order.meter, rank, world)
        train_model(job, catalog, TrainingEvents(poster or _nothing, report, resume_from, enough))

    if resume is None:
        start(None)
    else:
        with resume.as_directory() as saved:
            start(Path(saved))


def _enough(meter: Meter | None, rank: int, world: int) -> bool:
    """Say whether a budget is spent: the first worker looks, for all stop together."""
    if meter is None:
        return False
    found = [rank == 0 and meter.is_spent()]
    if world > 1:
        import torch.distributed as dist

        dist.broadcast_object_list(found, src=0)
    return found[0]


def _nothing(step: int, total: int, note: str) -> None:
    """Ranks other than 0 keep their progress to themselves."""
