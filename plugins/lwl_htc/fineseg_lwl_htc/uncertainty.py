"""Tasks weighed by learned uncertainty (Kendall, Gal and Cipolla, arXiv 1705.07115).

Each task has s, the logarithm of its noise's variance. Its losses L are multiplied by exp(-s), or half of it, and s in
proportion is added, so that no task can be switched off for nothing. The total may be negative.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fineseg import FinesegError
from fineseg_lwl_htc.options import UncertaintyOptions

FACTORS = {"classification": (1.0, 0.5), "regression": (0.5, 0.5), "common": (1.0, 1.0)}
"""Form -> what exp(-s) L and s are multiplied by. At rest exp(-s) is the second by the first, by L."""


class UncertaintyWeights(nn.Module):
    """One s for each task, in single precision whatever the losses have.

    A step that takes an s past its limit is cut short there.
    """

    learned: Tensor

    def __init__(self, options: UncertaintyOptions, tasks: tuple[str, ...]) -> None:
        super().__init__()
        self.tasks, self.limit = tasks, options.limit
        self.of_losses, self.of_s = FACTORS[options.form]
        self.s = nn.Parameter(torch.tensor([options.start.get(task, 0.0) for task in tasks]))
        self.register_buffer("learned", torch.tensor([task not in options.fixed for task in tasks]), persistent=False)

    def forward(self, losses: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the total of scalar losses by task, and what each task's are multiplied by."""
        with torch.no_grad():
            self.s.clamp_(-self.limit, self.limit)
        free = torch.where(self.learned, self.s, self.s.detach())
        s = free[[self.tasks.index(task) for task in losses]]
        weights = self.of_losses * torch.exp(-s)
        each = torch.stack([loss.to(s.dtype) for loss in losses.values()])
        total = (weights * each + self.of_s * s).sum()
        return total, dict(zip(losses, weights.detach(), strict=True))


def uncertainty(options: UncertaintyOptions, tasks: tuple[str, ...]) -> UncertaintyWeights:
    """Return the module; raises `FinesegError` for options that speak of a task that the head does not have."""
    for key, named in (("start", options.start), ("fixed", options.fixed)):
        for task in named:
            if task not in tasks:
                raise FinesegError(
                    f"task balancer uncertainty: {key} names the task '{task}'; those of the model's head are "
                    f"{', '.join(tasks)}"
                )
    return UncertaintyWeights(options, tasks)
