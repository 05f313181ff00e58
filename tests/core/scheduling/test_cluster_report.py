"""What is said of a cluster before it works, without one."""

import pytest

from fineseg import FinesegError
from fineseg.scheduling.cluster import NodeReport, compare
from fineseg.scheduling.session import RaySettings, ray_session


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:1", "nothing answers there; start a cluster with `ray start --head`"),
        ("127.0.0.1:99999", "nothing answers there"),
        ("127.0.0.1:x", "nothing answers there"),
        ("ray://127.0.0.1:10001", "a Ray client has no share in the store"),
    ],
)
def test_a_cluster_that_is_not_there_is_one_line(address: str, words: str) -> None:
    with pytest.raises(FinesegError) as caught, ray_session(RaySettings(address)):
        pass
    assert str(caught.value).startswith(f"--ray {address}: {words}") and "\n" not in str(caught.value)


def test_what_sets_a_machine_apart() -> None:
    here = NodeReport({"fineseg": "fineseg 0.1.0", "heads": "fineseg-heads 0.1.0"})
    assert list(compare("node a", here, here)) == []
    there = NodeReport({"fineseg": "fineseg 0.1.1", "heads": "fineseg-heads 0.1.0, broken (ImportError: no x)"}, ["/s"])
    assert list(compare("node b", there, here)) == [
        "node b: plugin fineseg is fineseg 0.1.1, and fineseg 0.1.0 where this command runs; install the same on every "
        "machine",
        "node b: plugin heads is fineseg-heads 0.1.0, broken (ImportError: no x), and fineseg-heads 0.1.0 where this "
        "command runs; install the same on every machine",
        "node b: does not see /s; the data and the store (--store) must lie in folders that every machine has under "
        "one path",
    ]
    missing = NodeReport({"fineseg": "fineseg 0.1.0", "strange": "strange 2.0"})
    assert [line.split(",")[0] for line in compare("node c", missing, here)] == [
        "node c: plugin heads is missing",
        "node c: plugin strange is strange 2.0",
    ]
