"""What the train stage says while trainings go on elsewhere."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from prepared_toys import prepared_of

from fineseg.console import Console
from fineseg.scheduling.orders import TrainingOrder
from fineseg.stages.context import Context
from fineseg.stages.train import SHOWN, run_orders
from fineseg.store import NOT_MATCHED, WEIGHTS, Store, write_text


class Pretender:
    """Stands for the scheduler: every training notes its start as a worker does, then makes two steps."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = lines

    def train(
        self, orders: Sequence[TrainingOrder], show: Callable[..., None], ended: Callable[..., None]
    ) -> list[None]:
        for order in orders:
            show(order.model, (0, 0, "loading"))
            write_text(Path(order.folder) / NOT_MATCHED, "".join(f"{line}\n" for line in self.lines))
            for step in (1, 2):
                show(order.model, (step, 2, ""))
            write_text(Path(order.folder) / WEIGHTS, "trained")
            ended(order)
        return [None for _ in orders]


@pytest.mark.parametrize(("weights", "said"), [("w.pth", True), ("none", False), (None, False)])
def test_what_a_training_starts_from_is_said_once_as_it_begins(tmp_path: Path, weights: str | None, said: bool) -> None:
    store, stream = Store(tmp_path), io.StringIO()
    lines = ["w.pth: 7 of the model's 9 tensors taken", "left at its start: " + ", ".join(["layer"] * 99)]
    folder = store.folder("train", "k" * 16)
    table = {} if weights is None else {"weights": weights}
    order = TrainingOrder("a", {"models": {"a": table}}, "p.toml", "data", str(folder), "w", 1, None, 1, None, 1)
    context = Context(None, {}, Path("p.toml"), None, store, Console(stream), Pretender(lines))  # type: ignore[arg-type]
    assert run_orders(context, prepared_of(tmp_path), {"k" * 16: order}) == {}
    printed = [line for line in stream.getvalue().splitlines() if line.startswith("a: ")]
    shown = [f"a: {lines[0]}", f"a: {lines[1][:SHOWN]} ... (whole in {folder / NOT_MATCHED})"]
    assert printed == (shown if said else [])
