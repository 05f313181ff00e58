"""A run on a cluster: a head and two worker nodes on this machine; their plugins; and one of them lost."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from integration.chaos import words_of
from ray.cluster_utils import Cluster

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
PROFILE = Path(__file__).parent / "micro.toml"
ENVIRONMENT = {
    "RAY_health_check_period_ms": "1000",  # a lost node is noticed in seconds
    "RAY_health_check_failure_threshold": "3",
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_USAGE_STATS_ENABLED": "0",
}
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tempfile.mkdtemp(prefix="c", dir="/tmp")  # short: a socket's path has 107 characters at most
        for name, value in {**ENVIRONMENT, "RAY_TMPDIR": folder}.items():
            patch.setenv(name, value)
        made = Cluster(
            initialize_head=True,
            head_node_args={**NODE, "num_cpus": 0, "include_dashboard": False},
            shutdown_at_exit=True,
        )
        for _ in range(2):
            made.add_node(**NODE)
        yield made
        made.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def start(cluster: Cluster, folder: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fineseg", "run", str(PROFILE), "--store", "store", "--out", "out"]
    command += ["--ray", cluster.address, "--set", "predict.shard=1", *more]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def node_processes(cluster: Cluster) -> list[psutil.Process]:
    """Return the node process of each worker node."""
    found = []
    for node in cluster.worker_nodes:
        (raylet,) = node.all_processes["raylet"]
        found.append(psutil.Process(raylet.process.pid))
    return found


def at_work(cluster: Cluster, name: str) -> list[int]:
    """Return how many processes of Ray of that name each worker node has."""
    return [sum(name in words_of(child) for child in raylet.children()) for raylet in node_processes(cluster)]


def wait_for(process: subprocess.Popen[str], ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not ready():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def result(folder: Path) -> Any:
    return json.loads((folder / "out" / "metrics.json").read_text())


@pytest.fixture(scope="module")
def whole(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of an undisturbed run, which is looked at while it goes on."""
    folder = tmp_path_factory.mktemp("whole")
    process = start(cluster, folder)
    for name in ("RayTrainWorker", "ShardWorker"):
        wait_for(process, lambda name=name: at_work(cluster, name) == [1, 1])  # type: ignore[misc]
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text
    assert "comparing the machines" in (folder / "out" / "log.txt").read_text()
    return folder


def test_a_node_with_another_plugin_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    info = packages / "fineseg_stranger-1.5.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fineseg-stranger\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text("[fineseg]\nstranger = stranger\n")
    (packages / "stranger.py").write_text(
        "from fineseg import hookimpl, Ensembler\nfrom pydantic import BaseModel\n"
        "@hookimpl\ndef fineseg_ensemblers():\n"
        "    yield Ensembler(name='x', summary='x', options=BaseModel, build=lambda *a: None)\n"
    )
    node = cluster.add_node(**NODE, env_vars={"PYTHONPATH": f"{packages}:{os.environ.get('PYTHONPATH', '')}"})
    process = start(cluster, tmp_path)
    text, _ = process.communicate(timeout=200)
    cluster.remove_node(node)
    errors = [line for line in text.splitlines() if line.startswith("error:")]
    assert process.returncode == 1 and len(errors) == 1, text
    assert "plugin stranger is fineseg-stranger 1.5, and missing where this command runs" in errors[0]
    assert errors[0].startswith("error: node ")
    assert not list(tmp_path.glob("store/train/*/ray"))


def test_a_run_uses_every_node(whole: Path) -> None:
    metrics = result(whole)
    assert set(metrics["models"]) == {"rendered", "plain"}
    left = [path.name for name in ("*.part", "lock.json", "ray") for path in (whole / "store").rglob(name)]
    assert not left
    assert len(list((whole / "store").glob("predict/*/*.parquet"))) == 2 * (8 + 4)


@pytest.mark.parametrize("stage", ["train", "predict"])
def test_a_node_lost_does_not_lose_the_run(cluster: Cluster, whole: Path, tmp_path: Path, stage: str) -> None:
    store = tmp_path / "store"
    pattern = "train/*/ray/checkpoint_*/state.pth" if stage == "train" else "predict/*/*.parquet"
    if stage == "predict":
        for kind in ("data", "train"):
            shutil.copytree(whole / "store" / kind, store / kind)
    process = start(cluster, tmp_path)
    wait_for(process, lambda: bool(list(store.glob(pattern))))
    cluster.remove_node(
        cluster.worker_nodes and max(cluster.worker_nodes, key=lambda n: n.node_id), allow_graceful=False
    )
    text, _ = process.communicate(timeout=300)
    cluster.add_node(**NODE)
    assert process.returncode == 0, text
    assert result(tmp_path) == result(whole)
