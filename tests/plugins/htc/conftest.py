"""One thread, a small detector of each kind, and a few drawn rooms."""

from collections.abc import Iterator

import pytest
import torch
from htc_cases import built_htc

from fineseg.data.coco import read_coco
from fineseg.data.split import Split
from fineseg.mm.model import BuiltModel
from fineseg_datasets.showroom import write_split


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="package")
def built() -> BuiltModel:
    return built_htc()


@pytest.fixture(scope="package")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Split:
    folder = tmp_path_factory.mktemp("rooms")
    write_split(folder, "train", 4, (80, 96), seed=1)
    return read_coco(folder / "annotations" / "train.json", folder / "images", "train")
