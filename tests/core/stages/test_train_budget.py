"""What the train stage makes of a budget that is spent."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from prepared_toys import prepared_of

from fineseg.console import Console
from fineseg.cost import Meter
from fineseg.errors import BudgetSpent
from fineseg.profile.budget import Budget
from fineseg.scheduling.orders import TrainingOrder
from fineseg.stages.context import Context
from fineseg.stages.train import OUT_OF_BUDGET, Trained, _budget_line, run_orders
from fineseg.store import WEIGHTS, Store, append_row, write_text


class Spender:
    """Stands for the scheduler: the first training ends, the budget stops the others after an epoch."""

    def train(
        self, orders: Sequence[TrainingOrder], show: Callable[..., None], ended: Callable[..., None]
    ) -> list[Exception | None]:
        for order in orders:
            append_row(Path(order.folder) / "ledger.jsonl", {"steps": 6, "seconds": 45.0, "cores": 2, "gpus": 0})
            append_row(Path(order.folder) / "curve.jsonl", {"step": 6, "epoch": 1})
        write_text(Path(orders[0].folder) / WEIGHTS, "trained")
        ended(orders[0])
        return [None, *(BudgetSpent("the budget is spent") for _ in orders[1:])]


def test_it_says_what_is_done_and_what_is_left(tmp_path: Path) -> None:
    store, meter = Store(tmp_path), Meter(Budget("cpu", 120))
    entries = {name: Trained(name, name * 16, store.folder("train", name * 16)) for name in ("a", "b", "c")}
    profile = SimpleNamespace(epochs_of=lambda model: 4)
    console = Console(io.StringIO())
    context = Context(profile, {}, Path("p.toml"), None, store, console, Spender(), {}, meter)  # type: ignore[arg-type]
    tables: dict[str, Any] = {"models": {name: {} for name in entries}}
    orders = {
        entry.key: TrainingOrder(name, tables, "p.toml", "d", str(entry.folder), "w", 1, None, 1, None, 4, meter=meter)
        for name, entry in entries.items()
        if name != "c"
    }
    assert run_orders(context, prepared_of(tmp_path), orders) == {"b" * 16: OUT_OF_BUDGET}
    assert store.finished("train", "a" * 16) and not store.finished("train", "b" * 16)
    assert not list(tmp_path.rglob("lock.json"))
    assert _budget_line(context, entries, whole=False) == (
        "the budget of 2.0 CPU-minutes is spent (3.0 CPU-minutes): done a; left b (1 of 4 epochs), c (0 of 4 epochs) "
        "and all that follows; the same command goes on from there, with a bigger budget to the end"
    )
