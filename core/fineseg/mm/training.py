"""One training process: mmengine's Runner on our model, data and schedule, reporting through plain callbacks."""

import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.dataset import DefaultSampler, pseudo_collate
from mmengine.hooks import SyncBuffersHook
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import AmpOptimWrapper, CosineAnnealingLR, LinearLR, MultiStepLR, OptimWrapper
from mmengine.runner import Runner

from fineseg.catalog import Catalog
from fineseg.data.split import Split
from fineseg.errors import FinesegError
from fineseg.mm.balancing import add_balancer
from fineseg.mm.dataset import TrainingImages
from fineseg.mm.ends import SharedDetector
from fineseg.mm.losses import chosen_losses
from fineseg.mm.model import BuiltModel, build_model
from fineseg.mm.quiet import log_level, quiet
from fineseg.mm.semantic import refuse_unlabelled
from fineseg.mm.sync_norm import sync_on_cpu
from fineseg.mm.training_hook import STATE, TrainingEvents, TrainingHook
from fineseg.mm.weights import read_checkpoint
from fineseg.parts import Output
from fineseg.profile.schema import MetricTable, ModelTable, PredictTable, TrainTable


def _instances() -> dict[str, tuple[Output, ...]]:
    """Return what validations score of a model with one head, where nothing else is asked for."""
    return {"": ("instances",)}


@dataclass(frozen=True)
class TrainingJob:
    """All that one worker needs: what to build, what to train on, and where it stands among the workers.

    `gives` says by what validations score it (`Validation`).
    """

    model: ModelTable
    train: TrainTable
    predict: PredictTable
    metric: MetricTable
    train_split: Split
    validation: Split
    folder: Path
    weights_cache: Path
    rank: int = 0
    world: int = 1
    gives: Mapping[str, Collection[Output]] = field(default_factory=_instances)


def train_model(job: TrainingJob, catalog: Catalog, events: TrainingEvents) -> None:
    """Train to the last epoch of all phases, from `events.resume_from` where it stands.

    Raises `FinesegError` when the split holds nothing to train on, or a loss stops being finite.
    """
    _refuse_precision(job.train)
    losses = chosen_losses(job.model, catalog)
    torch.manual_seed(job.train.seed)
    things, stuff = len(job.train_split.categories), len(job.train_split.stuff)
    built = build_model(
        job.model, catalog, things, weights_cache=job.weights_cache, init=True, num_stuff=stuff, losses=losses
    )
    built = add_balancer(built, job.model, catalog)
    if built.needs_semantic:
        refuse_unlabelled(job.train_split)
    images = TrainingImages(job.train_split, job.train, semantic=built.needs_semantic)
    if not len(images):
        raise FinesegError(f"split '{job.train_split.name}' holds no image with an object to train on")
    for phase in range(_begun(job, events), len(job.model.phases)):
        if not _train_phase(job, built, images, events, phase):
            break
        events = replace(events, resume_from=None)


def _begun(job: TrainingJob, events: TrainingEvents) -> int:
    """Return the phase that a checkpoint was left in."""
    if events.resume_from is None or len(job.model.phases) == 1:
        return 0
    return int(read_checkpoint(events.resume_from / STATE)["phase"])


def _train_phase(
    job: TrainingJob, built: BuiltModel, images: TrainingImages, events: TrainingEvents, phase: int
) -> bool:
    """Train what learns in a phase, with an optimiser and a schedule of its own; return whether there is time left."""
    if isinstance(built.module, SharedDetector):
        built.module.learn(job.model.phases[phase], shared=phase == 0)
    steps = _steps_per_epoch(len(images), job)
    hook = TrainingHook(job, built, events, steps * job.train.epochs, phase)
    with tempfile.TemporaryDirectory() as scratch, quiet():
        runner = _runner(job, built.module, dict(built.paramwise), images, hook, steps, scratch)
        runner.train()
    return not runner.train_loop.stop_training


def _refuse_precision(train: TrainTable) -> None:
    if train.precision == "fp16" and not torch.cuda.is_available():
        raise FinesegError('train.precision: "fp16" needs a GPU; use "fp32" on a CPU')


def _steps_per_epoch(images: int, job: TrainingJob) -> int:
    share = -(-images // job.world)
    return -(-share // (job.train.batch // job.world))


class QuietRunner(Runner):
    """mmengine's Runner without its survey of the environment, which imports compilers for seconds at every start."""

    def _log_env(self, env_cfg: dict[str, Any]) -> None:
        """Leave it out: the manifest records the environment."""


def _runner(
    job: TrainingJob,
    module: torch.nn.Module,
    paramwise: dict[str, Any],
    images: TrainingImages,
    hook: TrainingHook,
    steps: int,
    scratch: str,
) -> Runner:
    distributed, cuda = job.world > 1, torch.cuda.is_available()
    settings = {
        "model": module,
        "work_dir": scratch,
        "train_dataloader": {
            "batch_size": job.train.batch // job.world,
            "num_workers": 0,
            "dataset": images,
            "sampler": {"type": DefaultSampler, "shuffle": True, "seed": job.train.seed},
            "collate_fn": {"type": pseudo_collate},
        },
        "train_cfg": {"by_epoch": True, "max_epochs": job.train.epochs},
        "optim_wrapper": optimiser_config(job.train, paramwise),
        "param_scheduler": schedule_config(job.train, steps),
        "default_hooks": {"logger": None, "checkpoint": None, "timer": None},
        "custom_hooks": [hook, *([{"type": SyncBuffersHook}] if distributed else [])],
        "launcher": "pytorch" if distributed else "none",
        "env_cfg": {"mp_cfg": {"mp_start_method": "spawn", "opencv_num_threads": 1}},
        "log_level": log_level(),
        "experiment_name": f"fineseg-{job.folder.name}-{hook.phase}",
        "randomness": {"seed": job.train.seed},
    }
    if distributed:
        # mmengine hands DDP a device id even on a CPU, which DDP refuses.
        devices = [torch.cuda.current_device()] if cuda else None
        wrapper = {"type": MMDistributedDataParallel, "device_ids": devices, "broadcast_buffers": False}
        settings["cfg"] = ConfigDict(model_wrapper_cfg=wrapper)
        if not cuda:
            sync_on_cpu(module)
    return QuietRunner(**settings)


def optimiser_config(train: TrainTable, paramwise: dict[str, Any]) -> dict[str, Any]:
    """Return mmengine's optimiser wrapper config for a `[train]` table."""
    table = train.optimiser
    optimiser: dict[str, Any] = {"lr": train.lr, "weight_decay": table.weight_decay}
    if table.name == "sgd":
        optimiser |= {"type": torch.optim.SGD, "momentum": table.momentum}
    else:
        optimiser |= {"type": torch.optim.AdamW}
    wrapper: dict[str, Any] = {"type": OptimWrapper, "optimizer": optimiser}
    if train.precision == "fp16":
        wrapper |= {"type": AmpOptimWrapper, "dtype": "float16", "loss_scale": train.loss_scale}
    if train.clip_norm is not None:
        wrapper["clip_grad"] = {"max_norm": train.clip_norm, "norm_type": 2}
    if paramwise:
        wrapper["paramwise_cfg"] = {"custom_keys": paramwise}
    return wrapper


def schedule_config(train: TrainTable, steps_per_epoch: int) -> list[dict[str, Any]]:
    """Return mmengine's learning rate schedules for a `[train]` table, counted in iterations."""
    table = train.schedule
    total = train.epochs * steps_per_epoch
    schedules: list[dict[str, Any]] = []
    warmup = min(table.warmup, total - 1)
    if warmup > 0:
        schedules.append(
            {"type": LinearLR, "start_factor": table.warmup_start, "begin": 0, "end": warmup, "by_epoch": False}
        )
    if table.name == "cosine":
        schedules.append(
            {
                "type": CosineAnnealingLR,
                "eta_min_ratio": table.end,
                "T_max": total - warmup,
                "begin": warmup,
                "end": total,
                "by_epoch": False,
            }
        )
    elif table.steps:
        milestones = [epoch * steps_per_epoch for epoch in table.steps]
        schedules.append({"type": MultiStepLR, "milestones": milestones, "gamma": table.gamma, "by_epoch": False})
    return schedules
