"""Two workers, and one process that does what they do: for tests of trainings that share a batch."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from fineseg.mm.sync_norm import sync_on_cpu

WORLD = 2


# ------------------------------------------------------------- batch norm, two processes


def normed_net(norm: type[nn.Module]) -> nn.Module:
    """Return a small net with a norm, drawn from the global state."""
    return nn.Sequential(nn.Conv2d(3, 4, 3), norm(4), nn.ReLU(), nn.Conv2d(4, 2, 1, bias=False), norm(2, affine=False))


def measure(net: nn.Module, steps: Sequence[Sequence[Tensor]]) -> dict[str, Tensor]:
    """Return gradients after one pass for every step's images (each of a size of its own), and the state."""
    for images in steps:
        outputs = [net(image) for image in images] if len(images) == 1 else joint(net, images)
        sum((output * output.cos()).sum() for output in outputs).backward()
    gradients = {f"gradient of {n}": p.grad for n, p in net.named_parameters() if p.grad is not None}
    return {**gradients, **net.state_dict()}


def joint(net: nn.Module, images: Sequence[Tensor]) -> list[Tensor]:
    """Run images of different sizes through a net as one batch: norms see all their pixels side by side."""
    found = list(images)
    for layer in net:
        if isinstance(layer, nn.BatchNorm2d):
            flat = [each.flatten(2) for each in found]
            normed = layer(torch.cat(flat, dim=2)[..., None])[..., 0].split([f.shape[2] for f in flat], dim=2)
            found = [part.reshape(each.shape) for part, each in zip(normed, found, strict=True)]
        else:
            found = [layer(each) for each in found]
    return found


def run_worker(rank: int, folder: str, steps: Sequence[Sequence[Tensor]]) -> None:
    """Be one of two workers: take the image of this rank at every step, and leave what came of it."""
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=WORLD)
    torch.manual_seed(0)
    net = normed_net(nn.SyncBatchNorm)
    sync_on_cpu(net)
    wrapped = nn.parallel.DistributedDataParallel(net, broadcast_buffers=False)
    found = measure(wrapped, [[images[rank]] for images in steps])
    found["in eval"] = net.eval()(steps[0][0])
    torch.save({name.replace("module.", ""): value for name, value in found.items()}, f"{folder}/{rank}")
    dist.destroy_process_group()


# ------------------------------------------------- a training, its workers one after the other


def train_by_turns(job: Any, catalog: Any, workers: int) -> dict[str, Tensor]:
    """Train in one process as `workers` do together: each one's share of a batch in turn, gradients accumulated.

    What a worker has to itself, its random state and its batch norms' running statistics, is put back at its turn.
    """
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import PARAM_SCHEDULERS

    from fineseg.mm.dataset import TrainingImages
    from fineseg.mm.model import build_model
    from fineseg.mm.training import optimiser_config, schedule_config

    train, images = job.train, TrainingImages(job.train_split, job.train)
    torch.manual_seed(train.seed)
    built = build_model(job.model, catalog, len(job.train_split.categories), weights_cache=job.weights_cache)
    module = built.module.train()
    settings = {**optimiser_config(train, dict(built.paramwise)), "accumulative_counts": workers}
    optimiser = build_optim_wrapper(module, settings)
    shares = [batches(len(images), train.seed, train.batch, rank, workers, 0) for rank in range(workers)]
    schedules = [PARAM_SCHEDULERS.build({**c, "optimizer": optimiser}) for c in schedule_config(train, len(shares[0]))]
    for epoch in range(train.epochs):
        turns = [Turn(module, (train.seed * 1_000_003 + epoch) * 1_009 + rank) for rank in range(workers)]
        for rank, turn in enumerate(turns):
            turn.begin()
            turn.load(images, batches(len(images), train.seed, train.batch, rank, workers, epoch))
            turn.end()
        for _ in shares[0]:
            for turn in turns:
                turn.begin()
                data = module.data_preprocessor(next(turn.loaded), True)
                loss, _ = module.parse_losses(module(**data, mode="loss"))
                optimiser.update_params(loss)
                turn.end()
            for schedule in schedules:
                schedule.step()
        for name, buffer in module.named_buffers():
            if buffer.is_floating_point():
                buffer.copy_(torch.stack([turn.buffers[name] for turn in turns]).mean(dim=0))
    return module.state_dict()


def batches(images: int, seed: int, batch: int, rank: int, workers: int, epoch: int) -> list[list[int]]:
    """Return a worker's batches of an epoch: the shuffled images are dealt out like cards, the first ones twice."""
    order = torch.randperm(images, generator=torch.Generator().manual_seed(seed + epoch)).tolist()
    dealt = (order * workers)[: -(-images // workers) * workers][rank::workers]
    share = batch // workers
    return [dealt[start : start + share] for start in range(0, len(dealt), share)]


class Turn:
    """What one worker has to itself during an epoch."""

    def __init__(self, module: nn.Module, seed: int) -> None:
        self.module = module
        self.buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
        self.loaded: Any = iter(())
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        self.state = draws()

    def load(self, images: Any, batches: list[list[int]]) -> None:
        """Make ready to load batches; torch's loader draws a number when it starts."""
        from mmengine.dataset import pseudo_collate
        from torch.utils.data import DataLoader

        self.loaded = iter(DataLoader(images, batch_sampler=batches, collate_fn=pseudo_collate))

    def begin(self) -> None:
        """Put back what this worker has to itself."""
        random.setstate(self.state[0])
        np.random.set_state(self.state[1])
        torch.set_rng_state(self.state[2])
        for name, buffer in self.module.named_buffers():
            buffer.copy_(self.buffers[name])

    def end(self) -> None:
        """Take it away again."""
        self.state = draws()
        self.buffers = {name: buffer.clone() for name, buffer in self.module.named_buffers()}


def draws() -> tuple[Any, Any, Tensor]:
    """Return the states of all that is drawn from."""
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def weights_of(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a training's weights file."""
    from fineseg.mm.weights import read_checkpoint

    return dict(read_checkpoint(file)["model"])
