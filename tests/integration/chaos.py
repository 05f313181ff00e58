"""Disturb a micro run at a seeded moment, give the same command again, and compare with the undisturbed run.

    python tests/integration/chaos.py --seeds 20

prints a table of what was disturbed when and how it ended. A seed fixes the stage, the process and the moment; two runs
of one seed still differ by what the other processes were doing then.
"""

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

PROFILE = Path(__file__).parent / "micro.toml"
MODEL = "rendered"
STEPS = 24
SHARDS = 12
LIMIT = 600.0
"""Longest that one command may take [s], on a machine that does other things."""
ORPHANS_GONE = 20.0
"""Longest that a process may outlive the command it belongs to [s]."""
SMALL = 16 * 1024
"""The largest file that a process may write once its disk is full [bytes]: logs fit, checkpoints do not."""
MARK = "FINESEG_CHAOS"
"""An environment variable that everything inherits which a command starts."""

PROCESSES = {
    "training worker": "RayTrainWorker",
    "prediction actor": "ShardWorker",
    "node process": "raylet",
    "head's directory": "gcs_server",
}
"""How a process is called in a table, and by Ray."""

KINDS = (
    ("train", "training worker"),
    ("predict", "prediction actor"),
    ("predict", "driver"),
    ("predict", "node process"),
    ("train", "full disk"),
    ("train", "driver"),
    ("train", "node process"),
    ("predict", "every prediction actor"),
    ("train", "every training worker"),
    ("predict", "head's directory"),
    ("write", "driver"),
    ("train", "head's directory"),
)
"""(stage, what happens to whom), by seed modulo their number; `every` is killed whenever it comes again."""


@dataclass
class Outcome:
    """What was done and what came of it; `faults` are what should not be."""

    seed: int
    stage: str
    victim: str
    moment: str
    ended: str = ""
    line: str = ""
    again: str = ""
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)

    def row(self) -> str:
        """Return the table's line."""
        what = "; ".join(self.faults) or "same metrics, nothing left"
        cells = [str(self.seed), self.stage, self.victim, self.moment, self.ended, self.again, f"{self.seconds:.0f} s"]
        return "| " + " | ".join([*cells, what, self.line]) + " |"


HEAD = (
    "| seed | stage | disturbed | when | first command | again | took | outcome | message |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


@dataclass
class Command:
    """A command that was given."""

    process: subprocess.Popen[bytes]
    output: Path

    def finish(self) -> tuple[list[str], int]:
        """Wait for its end; return its lines and its exit code, 99 when it has to be ended."""
        try:
            code = self.process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            code = 99
        return self.output.read_text(encoding="utf-8", errors="replace").splitlines(), code


class Bench:
    """An undisturbed run, and room for disturbed ones beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.whole = folder / "whole"
        self.mark = uuid.uuid4().hex
        self.ray = Path(tempfile.mkdtemp(prefix="c", dir="/tmp"))  # short: a socket's path has 107 characters at most

    def prepare(self) -> None:
        """Make the undisturbed run, where the folder does not hold it yet."""
        if (self.whole / "out" / "metrics.json").exists():
            return
        text, code = self.start(self.whole).finish()
        assert code == 0, text
        assert not self.orphans(ORPHANS_GONE)

    def start(self, folder: Path, *more: str) -> Command:
        """Give the command in a folder; its output goes to a file there."""
        folder.mkdir(parents=True, exist_ok=True)
        settings = [f'competition.models=["{MODEL}"]', "predict.shard=1"]
        command = [sys.executable, "-m", "fineseg", "run", str(PROFILE), "--store", "store", "--out", "out"]
        command += [word for setting in settings for word in ("--set", setting)]
        file = folder / f"output-{len(list(folder.glob('output-*')))}.txt"
        with open(file, "wb") as output:
            process = subprocess.Popen(
                [*command, *more],
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, MARK: self.mark, "RAY_TMPDIR": str(self.ray)},
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
        return Command(process, file)

    def processes(self) -> list[psutil.Process]:
        """Return every living process that any of the commands has started."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == self.mark:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def orphans(self, patience: float) -> list[str]:
        """Return what still lives after a wait."""
        deadline = time.monotonic() + patience
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.5)
        return [words for process in left if (words := words_of(process))]

    def disturb(self, seed: int) -> Outcome:
        """Make one disturbed run."""
        chance = random.Random(seed)
        stage, victim = KINDS[seed % len(KINDS)]
        folder = self.folder / f"seed-{seed}"
        shutil.rmtree(folder, ignore_errors=True)
        ready, moment = self._moment(stage, folder / "store", chance)
        if stage != "train":
            for kind in ("data", "train"):
                shutil.copytree(self.whole / "store" / kind, folder / "store" / kind)
        outcome = Outcome(seed, stage, victim, moment)
        started = time.monotonic()
        command = self.start(folder)
        if not self._strike(command.process, ready, victim):
            outcome.faults.append("it ended before the moment came")
        text, code = command.finish()
        outcome.ended = "went on" if code == 0 else "killed" if code < 0 else f"exit {code}"
        outcome.line = next((line for line in reversed(text) if line.startswith("error:")), "").replace(
            str(folder), "DIR"
        )
        self._judge_end(outcome, text, code)
        if code:
            outcome.again = self._again(folder, outcome)
        outcome.seconds = time.monotonic() - started
        self._judge(folder, outcome)
        return outcome

    def _moment(self, stage: str, store: Path, chance: random.Random) -> tuple[Callable[[], bool], str]:
        if stage == "train":
            rows = chance.randrange(0, STEPS)
            return lambda: count_lines(store.glob("train/*/curve.jsonl")) >= rows, f"step {rows}"
        if stage == "predict":
            shards = chance.randrange(0, SHARDS - 1)
            return lambda: len(list(store.glob("predict/*/*.parquet"))) >= shards, f"shard {shards}"
        return lambda: bool(list(store.glob("combine/*"))), "combined"

    def _strike(self, process: subprocess.Popen[bytes], ready: Callable[[], bool], victim: str) -> bool:
        """Wait for the moment and do it; return whether it came."""
        while not ready():
            if process.poll() is not None:
                return False
            time.sleep(0.02)
        if victim == "driver":
            process.kill()
            return True
        name = PROCESSES.get(victim.removeprefix("every "), PROCESSES["training worker"])
        struck = False
        while process.poll() is None:
            for target in self.processes():
                struck |= hit(target, name, victim)
            if struck and not victim.startswith("every") and victim != "full disk":
                return True
            time.sleep(0.05)
        return struck

    def _judge_end(self, outcome: Outcome, text: list[str], code: int) -> None:
        """Say what is wrong with how the disturbed command ended."""
        errors = [line for line in text if line.startswith("error:")]
        if code not in (0, 1, -signal.SIGKILL) or (code == -signal.SIGKILL) != (outcome.victim == "driver"):
            outcome.faults.append(f"ended with {code}")
        if code == 1 and (len(errors) != 1 or "the same command" not in errors[0]):
            outcome.faults.append(f"{len(errors)} lines of error")
        if any("Traceback" in line for line in text):
            outcome.faults.append("a traceback")
        healing = ("training worker", "prediction actor")
        if outcome.victim in healing and code != 0:
            outcome.faults.append("did not go on by itself")

    def _again(self, folder: Path, outcome: Outcome) -> str:
        """Give the same command again."""
        text, code = self.start(folder).finish()
        if code:
            outcome.faults.append("again: " + (text or ["nothing said"])[-1])
        return f"exit {code}"

    def _judge(self, folder: Path, outcome: Outcome) -> None:
        """Say what is wrong after the good end."""
        metrics = folder / "out" / "metrics.json"
        if not metrics.exists() or read(metrics) != read(self.whole / "out" / "metrics.json"):
            outcome.faults.append("other metrics" if metrics.exists() else "no metrics")
        store = folder / "store"
        names = ("*.part", "lock.json", "ray")
        left = [str(path.relative_to(store)) for name in names for path in store.rglob(name)]
        outcome.faults += [f"left {path}" for path in left]
        outcome.faults += [f"still runs: {command}" for command in self.orphans(ORPHANS_GONE)]

    def close(self) -> None:
        """Remove what Ray left of sessions that were killed."""
        shutil.rmtree(self.ray, ignore_errors=True)


def hit(target: psutil.Process, name: str, victim: str) -> bool:
    """Kill a process of that name, or fill its disk; return whether it was one."""
    try:
        if name not in " ".join(target.cmdline()[:1]):
            return False
        if victim == "full disk":
            target.rlimit(resource.RLIMIT_FSIZE, (SMALL, SMALL))
        else:
            target.kill()
    except psutil.Error:  # it has ended meanwhile
        return False
    return True


def words_of(process: psutil.Process) -> str:
    """Return a process's command line as far as a message needs it."""
    try:
        return " ".join(process.cmdline())[:80]
    except psutil.Error:
        return ""


def count_lines(files: Iterator[Path]) -> int:
    """Count the lines of files."""
    return sum(file.read_bytes().count(b"\n") for file in files)


def read(file: Path) -> Any:
    """Read a JSON file."""
    return json.loads(file.read_text(encoding="utf-8"))


@contextmanager
def bench(folder: Path) -> Iterator[Bench]:
    """Give a bench with its undisturbed run made, and clear up after it."""
    made = Bench(folder)
    try:
        made.prepare()
        yield made
    finally:
        for process in made.processes():
            process.kill()
        made.close()


def main() -> None:
    """Run seeds and print the table; exit 1 when one of them has a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first one")
    parser.add_argument("--folder", type=Path, help="where to; a temporary one, which is removed, if absent")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder.absolute() if given.folder else Path(scratch)
        with bench(folder) as made:
            print(HEAD, flush=True)
            outcomes = []
            for seed in range(given.first, given.first + given.seeds):
                outcomes.append(made.disturb(seed))
                print(outcomes[-1].row(), flush=True)
    failed = sum(bool(outcome.faults) for outcome in outcomes)
    print(f"\n{len(outcomes) - failed} of {len(outcomes)} seeds ended as undisturbed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
