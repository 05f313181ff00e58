"""Checks of task balancers: a total that teaches every task, and what each weighs."""

from typing import TYPE_CHECKING, Any, ClassVar

from fineseg.testing.conformance import Conformance, expect
from fineseg.testing.model import faults_in

if TYPE_CHECKING:
    from torch import Tensor


class TaskBalancerConformance(Conformance):
    """Checks of a task balancer on the losses of `tasks`."""

    kind = "task-balancer"
    tasks: ClassVar[tuple[str, ...]] = ("box", "mask", "rpn")

    def built(self, tasks: tuple[str, ...]) -> Any:
        """Build the module for these tasks from the same random numbers every time."""
        import torch

        torch.manual_seed(0)
        module = self.record.build(self.chosen, tasks)
        expect(isinstance(module, torch.nn.Module), f"build returned {type(module).__name__}, must be a torch module")
        return module.train()

    def losses(self, tasks: tuple[str, ...]) -> dict[str, "Tensor"]:
        """Return a loss of each task, 1, 2, ..., that gradients reach."""
        import torch

        return {task: torch.tensor(float(n), requires_grad=True) for n, task in enumerate(tasks, start=1)}

    def test_total_and_weights(self) -> None:
        """It returns a finite total and what each task weighs, also for one task."""
        import torch

        for tasks in (self.tasks, self.tasks[:1]):
            total, weights = self.built(tasks)(self.losses(tasks))
            expect(total.shape == () and bool(torch.isfinite(total)), "the total must be a finite scalar")
            expect(set(weights) == set(tasks), f"weights are told of {sorted(weights)}, must be of {sorted(tasks)}")
            scalars = [torch.as_tensor(weight) for weight in weights.values()]
            sound = all(each.shape == () and bool(torch.isfinite(each)) for each in scalars)
            expect(sound, "weights must be finite scalars")

    def test_gradients(self) -> None:
        """Every task's loss and every parameter of its own gets a gradient."""
        from fineseg.testing.tiny import gradient_faults

        module, losses = self.built(self.tasks), self.losses(self.tasks)
        module(losses)[0].backward()
        deaf = [task for task, loss in losses.items() if loss.grad is None or not float(loss.grad) > 0]
        expect(not deaf, f"more of these losses must raise the total: {', '.join(deaf)}")
        faults = gradient_faults(module, ())
        expect(not faults, faults_in(faults))

    def test_deterministic(self) -> None:
        """The same losses give the same total."""
        totals = [float(self.built(self.tasks)(self.losses(self.tasks))[0].detach()) for _ in range(2)]
        expect(totals[0] == totals[1], f"the same losses gave {totals[0]} and {totals[1]}")

    def test_zero_losses(self) -> None:
        """Losses of 0 give a finite total."""
        import torch

        total, _ = self.built(self.tasks)({task: torch.zeros(()) for task in self.tasks})
        expect(bool(torch.isfinite(total)), "losses of 0 give a total that is not finite")
