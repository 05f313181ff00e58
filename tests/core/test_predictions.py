"""The arrays that cross plug boundaries, and their Parquet files."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fineseg import FinesegError, Instances, concatenate, make_instances
from fineseg.data import masks
from fineseg.predictions import read_instances, write_instances


def drawn(image_id: int, count: int, seed: int = 0) -> Instances:
    """Return an image with some instances, their numbers and masks drawn at random."""
    rng = np.random.default_rng([seed, image_id])
    coded = [masks.encode(rng.random((480, 640)) < share) for share in rng.choice([0, 1e-4, 1e-3, 1], count)]
    boxes = rng.normal(size=(count, 4)) * 1000
    return make_instances(image_id, (480, 640), rng.integers(0, 34, count), rng.random(count), boxes, coded)


def assert_same(one: Instances, other: Instances) -> None:
    assert (one.image_id, one.height, one.width) == (other.image_id, other.height, other.width)
    for name, kind in (("labels", np.int64), ("scores", np.float32), ("boxes", np.float32), ("masks", object)):
        left, right = getattr(one, name), getattr(other, name)
        assert left.dtype == right.dtype == kind
        assert left.shape == right.shape
        assert left.tolist() == right.tolist()  # exact: nothing is rounded on the way


@pytest.mark.parametrize("counts", [[], [0], [3], [0, 100, 0, 1], [5] * 200])
def test_files_give_back_what_was_written(tmp_path: Path, counts: list[int]) -> None:
    images = [drawn(10 * i + 7, count) for i, count in enumerate(counts)]
    write_instances(tmp_path / "shard.parquet", iter(images))
    found = read_instances([tmp_path / "shard.parquet"])
    assert list(found) == [image.image_id for image in images]
    for image in images:
        assert_same(found[image.image_id], image)
    assert [file.name for file in tmp_path.iterdir()] == ["shard.parquet"]


def test_several_files_are_one_table(tmp_path: Path) -> None:
    folder = tmp_path / "image_id=3"  # a folder is no column
    for shard in range(3):
        write_instances(folder / f"{shard}.parquet", [drawn(shard, 2), drawn(shard + 10, 0)])
    assert sorted(read_instances(sorted(folder.iterdir()))) == [0, 1, 2, 10, 11, 12]
    assert read_instances([]) == {}


def test_columns_of_the_file(tmp_path: Path) -> None:
    write_instances(tmp_path / "a.parquet", [drawn(1, 2)])
    with pq.ParquetFile(tmp_path / "a.parquet") as file:
        columns = {field.name: str(field.type) for field in file.schema_arrow}
    assert columns == {
        "image_id": "int64",
        "height": "int32",
        "width": "int32",
        "labels": "list<element: int64>",
        "scores": "list<element: float>",
        "boxes": "list<element: float>",
        "masks": "list<element: binary>",
    }


def test_large_ids_and_masks_survive(tmp_path: Path) -> None:
    noise = masks.encode(np.random.default_rng(0).random((300, 300)) < 0.5)
    image = make_instances(2**40, (300, 300), [0], [1.0], [[0, 0, 1, 1]], [noise])
    write_instances(tmp_path / "a.parquet", [image])
    assert_same(read_instances([tmp_path / "a.parquet"])[2**40], image)


@pytest.mark.parametrize("counts", [b"", b"\xff", b"4P", b"PP1"])
def test_masks_that_no_decoder_should_see_are_refused(tmp_path: Path, counts: bytes) -> None:
    write_instances(tmp_path / "a.parquet", [make_instances(1, (4, 6), [0], [1.0], [[0, 0, 1, 1]], [counts])])
    with pytest.raises(FinesegError, match=r"a\.parquet: is damaged \(.*counts.*\); delete the folder "):
        read_instances([tmp_path / "a.parquet"])


def test_a_changed_byte_of_a_page_is_noticed(tmp_path: Path) -> None:
    """Scores have no form that would give a change away: the pages' checksums do."""
    write_instances(tmp_path / "a.parquet", [drawn(1, 5)])
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    with pq.ParquetFile(tmp_path / "a.parquet") as file:
        column = file.metadata.row_group(0).column(4)
    assert column.path_in_schema.startswith("scores")
    start = column.dictionary_page_offset or column.data_page_offset
    content[start + column.total_compressed_size - 2] ^= 1  # in the last page
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(FinesegError, match="is damaged"):
        read_instances([tmp_path / "a.parquet"])


def test_make_instances_from_sequences_and_arrays() -> None:
    sequences = make_instances(1, (4, 6), [1, 2], [0.5, 0.25], [[0, 1, 2, 3], [1, 1, 2, 2]], [b"a", b"b"])
    arrays = make_instances(
        np.int64(1),
        np.array([4, 6]),
        np.array([1, 2], np.int32),
        np.array([0.5, 0.25], np.float64),
        np.array([[0, 1, 2, 3], [1, 1, 2, 2]]),
        np.array([b"a", b"b"], dtype=object),
    )
    assert_same(sequences, arrays)
    assert (type(arrays.image_id), type(arrays.height), len(arrays)) == (int, int, 2)
    empty = make_instances(1, (4, 6), [], [], [], [])
    assert (len(empty), empty.boxes.shape, empty.masks.shape) == (0, (0, 4), (0,))


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"image 3: .* must be as many, not \[2, 1, 1, 1\]"):
        make_instances(3, (4, 6), [1, 2], [0.5], [[0, 0, 1, 1]], [b"a"])


def test_select() -> None:
    image = drawn(1, 5)
    order = np.array([4, 0, 4])
    assert_same(image.select(np.arange(5)), image)
    assert image.select(order).scores.tolist() == [image.scores[i] for i in (4, 0, 4)]
    assert image.select(order).masks.tolist() == [image.masks[i] for i in (4, 0, 4)]
    assert_same(image.select(image.scores > 0.5), image.select(np.flatnonzero(image.scores > 0.5)))
    assert_same(image.select(np.zeros(5, bool)), drawn(1, 0))


def test_with_scores_keeps_the_type() -> None:
    image = drawn(1, 3)
    other = image.with_scores(np.array([1, 2, 3]))
    assert other.scores.dtype == np.float32
    assert_same(other.with_scores(image.scores), image)


def test_concatenate() -> None:
    members = [drawn(1, 2), drawn(1, 0), drawn(1, 3, seed=1)]
    pooled = concatenate(members)
    assert len(pooled) == 5
    assert_same(pooled.select(np.arange(2)), members[0])
    assert_same(pooled.select(np.arange(2, 5)), members[2])
    assert_same(concatenate(members[1:2]), members[1])
