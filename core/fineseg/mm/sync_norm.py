"""Batch norm over all workers' images on a CPU: torch's own wants a GPU as soon as several workers train."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class CPUSyncBatchNorm(_BatchNorm):
    """What `nn.SyncBatchNorm` computes, with plain collectives. Workers may hold images of different sizes."""

    def _check_input_dim(self, input: Tensor) -> None:
        """Take [B, C, ...], as `nn.SyncBatchNorm` does."""
        if input.dim() < 2:
            raise ValueError(f"batch norm wants [B, C, ...], not {list(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """Normalise [B, C, ...] by the statistics of all workers' batches; by the running ones in eval mode."""
        if not self.training:
            normed: Tensor = super().forward(input)
            return normed
        self._check_input_dim(input)
        rest = [0, *range(2, input.dim())]
        channels = [1, -1, *[1] * (input.dim() - 2)]
        count = input.new_tensor([input.numel() / input.shape[1]])
        totals = _total(torch.cat([input.sum(rest), count]))
        mean, number = totals[:-1] / totals[-1], totals[-1].detach()
        centred = input - mean.view(channels)
        variance = _total(centred.square().sum(rest)) / number
        self._keep(mean.detach(), variance.detach() * (number / (number - 1)))
        scale = (variance + self.eps).rsqrt()
        normed = centred * (scale * self.weight if self.affine else scale).view(channels)
        return normed + self.bias.view(channels) if self.affine else normed

    def _keep(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics, as batch norm does."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        part = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, part)
        self.running_var.lerp_(variance, part)


def sync_on_cpu(module: nn.Module) -> None:
    """Let every `nn.SyncBatchNorm` of a module work between CPU workers."""
    for part in module.modules():
        if type(part) is nn.SyncBatchNorm:
            part.__class__ = CPUSyncBatchNorm  # type: ignore[assignment]  # a new object would miss references to it


def _total(mine: Tensor) -> Tensor:
    total: Tensor = _AllReduce.apply(mine)  # type: ignore[no-untyped-call]
    return total


class _AllReduce(torch.autograd.Function):
    """The sum over all workers; what it was good for in any worker's loss comes back to each."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor) -> Tensor:
        total = mine.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total
