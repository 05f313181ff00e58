"""Cost tables and meters over ledgers written by hand, against sums made by hand."""

import random
from pathlib import Path
from typing import Any

import pytest

from fineseg.cost import Meter, cost_table, rows_before, spent, work_of
from fineseg.profile.budget import Budget
from fineseg.store import append_row


def epoch(
    seconds: float, *, steps: int = 6, workers: int = 1, cores: int = 2, gpus: int = 0, **more: Any
) -> dict[str, Any]:
    device = "a card" if gpus else f"cpu, {cores // workers} threads"
    return {
        "steps": steps,
        "seconds": seconds,
        "workers": workers,
        "cores": cores,
        "gpus": gpus,
        "device": device,
        **more,
    }


def shard(images: int, seconds: float) -> dict[str, Any]:
    return {"images": images, "seconds": seconds, "workers": 1, "cores": 1, "gpus": 0, "memory_gib": 0.5}


def entry(store: Path, stage: str, key: str, *rows: dict[str, Any]) -> Path:
    folder = store / stage / key
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        append_row(folder / "ledger.jsonl", row)
    return folder


def test_work_of_a_row() -> None:
    on_cpu, on_gpu = epoch(10, workers=2, cores=4), epoch(10, workers=2, cores=16, gpus=2)
    assert (work_of(on_cpu, gpu=False), work_of(on_cpu, gpu=True)) == (40, 0)
    assert (work_of(on_gpu, gpu=False), work_of(on_gpu, gpu=True)) == (0, 20)
    # older rows: trainings told their workers, predictions nothing
    assert work_of({"steps": 1, "seconds": 3.0, "workers": 2, "device": "cpu, 4 threads"}, gpu=False) == 6
    assert work_of({"images": 1, "seconds": 3.0}, gpu=False) == 3


def test_spent_is_what_the_rows_add_up_to() -> None:
    chance = random.Random(0)
    for _ in range(50):
        cpu = [(chance.uniform(0, 5000), chance.randint(1, 64)) for _ in range(chance.randint(0, 5))]
        gpu = [(chance.uniform(0, 5000), chance.randint(1, 8)) for _ in range(chance.randint(0, 5))]
        rows = [epoch(s, cores=c) for s, c in cpu] + [epoch(s, gpus=g) for s, g in gpu]
        found = spent(chance.sample(rows, len(rows)), "train")
        assert found["steps"] == 6 * len(rows)
        assert found["seconds"] == pytest.approx(sum(s for s, _ in cpu + gpu), abs=0.06)
        assert found["cpu_hours"] == pytest.approx(sum(s * c / 3600 for s, c in cpu), abs=1e-5)
        assert found["gpu_hours"] == pytest.approx(sum(s * g / 3600 for s, g in gpu), abs=1e-5)


def test_a_resumed_training_and_a_found_one(tmp_path: Path) -> None:
    found = entry(tmp_path, "train", "a", epoch(1800), epoch(1800))
    resumed = entry(tmp_path, "train", "b", epoch(3600, memory_gib=1.25))
    before = rows_before(tmp_path)
    entry(tmp_path, "train", "b", epoch(900, cores=4, memory_gib=1.0), epoch(900, cores=4))
    new = entry(tmp_path, "train", "c", epoch(60, gpus=2, workers=2, gpu_memory_gib=3.5))
    table = cost_table([("train", "m1", found), ("train", "m2", resumed), ("train", "m3", new)], before)
    first, second, third = table["rows"]
    assert [row["models"] for row in table["rows"]] == [["m1"], ["m2"], ["m3"]]
    assert first["now"] == {"steps": 0, "seconds": 0, "cpu_hours": 0, "gpu_hours": 0}
    assert first["ever"] == {"steps": 12, "seconds": 3600, "cpu_hours": 2, "gpu_hours": 0}
    assert second["now"] == {"steps": 12, "seconds": 1800, "cpu_hours": 2, "gpu_hours": 0}
    assert second["ever"] == {"steps": 18, "seconds": 5400, "cpu_hours": 4, "gpu_hours": 0}
    assert (second["workers"], second["cores"], second["memory_gib"], second["gpu_memory_gib"]) == (1, 4, 1.25, None)
    assert third["now"] == third["ever"] and third["now"]["gpu_hours"] == pytest.approx(120 / 3600, abs=1e-5)
    assert third["devices"] == ["a card"] and third["gpus"] == 2
    assert table["now"] == {"steps": 18, "seconds": 1860, "cpu_hours": 2, "gpu_hours": third["now"]["gpu_hours"]}
    assert table["ever"]["cpu_hours"] == 6 and table["ever"]["steps"] == 12 + 18 + 6


def test_what_models_share_counts_once(tmp_path: Path) -> None:
    training = entry(tmp_path, "train", "a", epoch(3600))
    held_out, test = (
        entry(tmp_path, "predict", "v", shard(2, 5), shard(1, 5)),
        entry(tmp_path, "predict", "t", shard(4, 8)),
    )
    used = [("train", "m1", training), ("train", "m2", training)]
    used += [("predict", model, folder) for model in ("m1", "m2") for folder in (held_out, test, held_out)]
    table = cost_table(used, {})
    assert [(row["stage"], row["models"]) for row in table["rows"]] == [
        ("train", ["m1", "m2"]),
        ("predict", ["m1", "m2"]),
    ]
    assert table["ever"]["steps"] == 6 and table["ever"]["images"] == 7 and table["ever"]["seconds"] == 3618
    assert table["now"] == table["ever"]


def test_results_without_a_ledger_cost_nothing(tmp_path: Path) -> None:
    table = cost_table([("train", "given", tmp_path / "train" / "x")], rows_before(tmp_path))
    assert table["now"] == table["ever"] == {"steps": 0, "seconds": 0, "cpu_hours": 0, "gpu_hours": 0}
    assert table["rows"][0]["workers"] is None and table["rows"][0]["devices"] == []
    assert cost_table([], {}) == {"rows": [], "now": {}, "ever": {}}


def test_a_meter_counts_what_is_added_of_its_kind(tmp_path: Path) -> None:
    old = entry(tmp_path, "train", "a", epoch(500))
    meter, other = Meter(Budget("cpu", 60)), Meter(Budget("gpu", 60))
    for each in (meter, other):
        each.watch(old)
        each.watch(tmp_path / "train" / "b")
    assert meter.spent() == 0 and not meter.is_spent()
    entry(tmp_path, "train", "a", epoch(10, cores=2))
    meter.watch(old)  # a second look does not forget the first
    assert meter.spent() == 20
    entry(tmp_path, "train", "b", epoch(40, cores=1))
    entry(tmp_path, "train", "c", epoch(1000))
    assert meter.spent() == 60 and meter.is_spent() and other.spent() == 0


def test_a_meter_of_the_clock() -> None:
    assert Meter(Budget("clock", 5), started=1.0).is_spent()
    assert not Meter(Budget("clock", 3600)).is_spent() and Meter(Budget("clock", 3600)).spent() < 60
