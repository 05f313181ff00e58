"""Small files that claim to be huge: each is refused in one line, in a process that may take little more memory."""

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from faults.place import png_header

from fineseg.predictions import make_instances, write_instances

MORE = 256 * 2**20
"""Bytes of address space that reading all of these files may add."""
READ = """
import resource, sys
from pathlib import Path
import PIL.PngImagePlugin, pyarrow.parquet
from fineseg import FinesegError
from fineseg.coco_results import load_results, split_of_results
from fineseg.data.checks import open_picture
from fineseg.data.coco import read_coco
from fineseg.data.panoptic import read_ids
from fineseg.data.zipped import load_zipped_json
from fineseg.mm.weights import read_tensors
from fineseg.predictions import read_instances

folder = Path(sys.argv[1])
readers = {
    "png": read_ids,
    "results.json": lambda file: split_of_results([load_results(file)]),
    "coco.json": lambda file: read_coco(file, folder, "split"),
    "parquet": lambda file: read_instances([file]),
    "zip": load_zipped_json,
    "pth": lambda file: read_tensors(str(file), folder),
    "npz": lambda file: read_tensors(str(file), folder),
}
for file in folder.glob("sound.*"):
    readers[file.name.partition(".")[2]](file)
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for file in sorted(folder.glob("huge*")):
    try:
        readers[file.name.partition(".")[2]](file)
        print(f"{file.name}: was read")
    except FinesegError as error:
        print(str(error).removeprefix(f"{folder}/"))
print("picture:", open_picture(folder / "huge.png").fault.removeprefix(f"{folder}/huge.png: "))
"""


def many_rows(path: Path) -> None:
    """Write predictions of two million images without any, in a few kilobytes."""
    write_instances(path, [make_instances(1, (4, 4), [], [], [], [])])
    schema = pq.read_schema(path)
    count = 2_000_000
    columns = [pa.nulls(count, kind) for kind in schema.types]
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), path, compression="zstd")


def claiming_weights(path: Path) -> None:
    """Write a checkpoint whose tensor of six numbers is said to have 2^31 - 1."""
    content = io.BytesIO()
    torch.save({"weight": torch.ones(6)}, content)
    with zipfile.ZipFile(content) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("data.pkl"):
                assert data.count(b"K\x06") == 2  # of the storage, and of the tensor's shape
                data = data.replace(b"K\x06", b"J\xff\xff\xff\x7f")
            new.writestr(name, data)


def claiming_archive(path: Path) -> None:
    """Write an .npz whose array is said to have 10^12 numbers."""
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "<f4", "fortran_order": False, "shape": (10**12,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weight.npy", content.getvalue() + b"\0" * 64)


@pytest.fixture
def claims(tmp_path: Path) -> Path:
    """Return a folder of such files, and of sound ones that bring every library into memory."""
    from fineseg.data.panoptic import encode_ids

    (tmp_path / "sound.png").write_bytes(encode_ids(np.ones((4, 4), int)))
    write_instances(tmp_path / "sound.parquet", [make_instances(1, (4, 4), [], [], [], [])])
    torch.save({"weight": torch.ones(6)}, tmp_path / "sound.pth")
    np.savez(tmp_path / "sound.npz", weight=np.ones(6))
    (tmp_path / "huge.png").write_bytes(png_header(100_000, 100_000))
    (tmp_path / "huge2.png").write_bytes(png_header(12_000, 12_000))
    row = {"image_id": 1, "category_id": 1, "score": 1, "segmentation": {"size": [10**9, 10**9], "counts": "0"}}
    (tmp_path / "huge.results.json").write_text(json.dumps([row]))
    coco = {
        "images": [{"id": 1, "file_name": "a", "width": 65_535, "height": 65_535}],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": {"counts": [2**70]}}],
    }
    coco["annotations"][0]["segmentation"]["size"] = [65_535, 65_535]
    (tmp_path / "huge.coco.json").write_text(json.dumps(coco))
    many_rows(tmp_path / "huge.parquet")
    with zipfile.ZipFile(tmp_path / "huge.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("r.json", b" " * 300_000_000)
    claiming_weights(tmp_path / "huge.pth")
    claiming_archive(tmp_path / "huge.npz")
    return tmp_path


def test_claims_take_no_memory(claims: Path) -> None:
    command = [sys.executable, "-c", READ, str(claims), str(MORE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    lines = dict(line.partition(": ")[::2] for line in done.stdout.splitlines())
    assert done.returncode == 0, done.stderr[-2000:]
    assert lines["huge.png"] == "is said to have 100000 x 100000 pixels; at most 67108864 are read"
    assert lines["huge2.png"] == "is said to have 12000 x 12000 pixels; at most 67108864 are read"
    assert lines["huge.results.json[0]"].startswith("segmentation: size is a list; it must be [height, width]")
    assert "the runs of counts cover a whole number of about 22 digits pixels" in lines["huge.coco.json"]
    assert lines["huge.parquet"].startswith("is damaged (2000000 rows in a file so short)")
    assert lines["huge.zip"].startswith("r.json unpacks to 300000000 bytes from ")
    assert lines["huge.pth"].startswith("refused: not a file of plain tensors (")
    assert lines["huge.npz"].startswith("refused: not an archive of plain arrays (")
    assert lines["picture"].startswith("is no readable image (Image size (10000000000 pixels) exceeds limit")
