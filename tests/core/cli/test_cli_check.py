"""`fineseg check`: the shipped profiles, where values come from, and what it does not import."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fineseg.cli.main import main

ROOT = Path(__file__).parents[3]
PROFILE = "competitions/3dfuture.toml"
Answer = tuple[int, str, str]


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """Return a function that runs the command in the project's folder: exit code, stdout, stderr."""
    monkeypatch.chdir(ROOT)

    def run(*arguments: str) -> Answer:
        with pytest.raises(SystemExit) as caught:
            main(["check", *arguments])
        printed = capsys.readouterr()
        return int(caught.value.code or 0), printed.out, printed.err

    return run


def test_the_shipped_profile_is_ok(check: Callable[..., Answer]) -> None:
    assert check(PROFILE) == (0, f"{PROFILE}: ok; models m1, m2, m3, m4, m5; next: fineseg run {PROFILE}\n", "")


def test_the_next_command_is_the_same_choice(check: Callable[..., Answer], tmp_path: Path) -> None:
    overlay = tmp_path / "an overlay.toml"
    overlay.write_text("[train]\nepochs = 1\n")
    code, out, _ = check(PROFILE, "--demo", "--with", str(overlay), "--set", "train.lr=1e-3", "--set", "train.seed=1")
    assert code == 0
    assert out == (
        f"{PROFILE}: ok; models m1, m2, m4; "
        f"next: fineseg run {PROFILE} --demo --with '{overlay}' --set train.lr=1e-3 --set train.seed=1\n"
    )


def test_explain_names_the_layers(check: Callable[..., Answer]) -> None:
    assert check(PROFILE, "--explain", "train.lr") == (0, f"train.lr = 0.02  (in force, set by {PROFILE})\n", "")
    code, out, _ = check(PROFILE, "--demo", "--set", "train.lr=0.5", "--explain", "train.lr")
    assert (code, out.splitlines()) == (
        0,
        [
            f"train.lr = 0.02  (overridden, set by {PROFILE})",
            f"train.lr = 0.0017  (overridden, set by {PROFILE} [demo])",
            "train.lr = 0.5  (in force, set by --set train.lr=0.5)",
        ],
    )
    assert check(PROFILE, "--explain", "predict.shard")[1] == "predict.shard = 50  (in force, set by default)\n"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((PROFILE, "--explain", "train.lrr"), r"error: --explain train\.lrr: no such key; did you mean .*train\.lr"),
        (("gone.toml",), r"error: gone\.toml: no such file; give the path of a profile \(TOML\)"),
        ((PROFILE, "--set", "train.lr"), r"error: --set train\.lr: must be KEY=VALUE"),
        ((PROFILE, "--variant", "x"), rf"error: {PROFILE}: --variant x: no \[variants\.x\] table"),
        ((PROFILE, "--set", "train.epoch=1"), rf"error: {PROFILE}: train\.epoch: unknown key; did you mean epochs\?"),
        ((), r"error: missing argument 'PROFILE'; see 'fineseg check --help'"),
        ((PROFILE, "--dem"), r"error: no such option '?--dem'?"),
    ],
)
def test_faults_are_one_line_and_exit_code_1(
    check: Callable[..., Answer], arguments: tuple[str, ...], error: str
) -> None:
    code, out, err = check(*arguments)
    assert (code, out) == (1, "")
    assert re.match(error, err)
    assert err.count("\n") == 1


def test_every_fault_is_a_line(check: Callable[..., Answer]) -> None:
    code, _, err = check(PROFILE, "--set", "train.epochs=0", "--set", "models.m1.head=x", "--set", "a=1")
    assert code == 1
    assert [line.split(": ")[2] for line in err.splitlines()] == ["train.epochs", "a", "models.m1.head"]


def modules_after(arguments: list[str]) -> set[str]:
    """Run a command in a process of its own; return the top-level packages it has imported."""
    code = (
        "import json, sys\n"
        "from fineseg.cli.main import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


HEAVY = {"torch", "mmdet", "mmcv", "mmengine", "ray", "cv2", "pycocotools", "matplotlib", "pyarrow"}


@pytest.mark.parametrize("arguments", [["check", PROFILE], ["check", PROFILE, "--demo", "--explain", "train.lr"]])
def test_a_check_is_light(arguments: list[str]) -> None:
    modules = modules_after(arguments)
    assert "fineseg_pointrend" in modules
    assert not modules & HEAVY


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_waits_for_nothing(arguments: list[str]) -> None:
    assert not modules_after(arguments) & (HEAVY | {"numpy", "pydantic", "pluggy"})
