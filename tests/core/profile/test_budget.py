"""What budgets may be written as, and how amounts are told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fineseg import FinesegError
from fineseg.profile.budget import Budget, budget_of, work_words


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("8h", Budget("clock", 28800)),
        ("1h30m", Budget("clock", 5400)),
        ("2gpu-h", Budget("gpu", 7200)),
        ("1.5gpu-h", Budget("gpu", 5400)),
        ("30cpu-m", Budget("cpu", 1800)),
        ("90cpu-s", Budget("cpu", 90)),
        ("0.25cpu-h", Budget("cpu", 900)),
    ],
)
def test_budgets(text: str, budget: Budget) -> None:
    assert budget_of(text) == budget


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8",
        "2 gpu-h",
        "2gpu",
        "gpu-h",
        "2gpuh",
        "2tpu-h",
        "0gpu-h",
        "0.0cpu-m",
        "-2gpu-h",
        "2gpu-d",
        "1.cpu-h",
        "2GPU-h",
    ],
)
def test_no_budgets(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be a time such as 8h, .* or work such as 2gpu-h or 30cpu-m, not "):
        budget_of(text)


@given(st.integers(1, 10**6), st.sampled_from(["cpu", "gpu"]))
def test_units_agree(amount: int, kind: str) -> None:
    texts = [f"{amount}{kind}-h", f"{60 * amount}{kind}-m", f"{3600 * amount}{kind}-s"]
    assert {budget_of(text) for text in texts} == {Budget("gpu" if kind == "gpu" else "cpu", 3600.0 * amount)}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.1, "0.1 CPU-seconds"),
        (7, "7 CPU-seconds"),
        (90, "1.5 CPU-minutes"),
        (1440, "0.4 CPU-hours"),
        (396000, "110.0 CPU-hours"),
    ],
)
def test_amounts_of_work(seconds: float, words: str) -> None:
    assert work_words(seconds, gpu=False) == words
    assert work_words(seconds, gpu=True) == words.replace("CPU", "GPU")


def test_words_of_budgets() -> None:
    assert Budget("clock", 5400).words() == "1:30:00"
    assert Budget("gpu", 7200).words() == "2.0 GPU-hours" and Budget("gpu", 7200).words(30) == "30 GPU-seconds"


def test_a_budget_of_the_other_kind_is_refused() -> None:
    for budget, gpu in ((Budget("cpu", 60), False), (Budget("gpu", 60), True), (Budget("clock", 60), True)):
        budget.check(gpu=gpu)
    with pytest.raises(FinesegError, match=r"budget of 2\.0 GPU-hours: the trainings run on the CPU here; .* 30cpu-m"):
        Budget("gpu", 7200).check(gpu=False)
    with pytest.raises(FinesegError, match="the trainings run on GPUs here; give one such as 2gpu-h or 8h"):
        Budget("cpu", 7200).check(gpu=True)
