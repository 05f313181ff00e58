"""What crosses plug boundaries after a model has spoken: the instances of one image, as plain arrays, and their store.

Letters: N instances of one image.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fineseg.data.rle_check import find_unsound
from fineseg.errors import FinesegError, one_line
from fineseg.store import write_beside

LONGEST_REASON = 160
"""Characters of what Arrow says of a damaged file."""
DENSEST = 16
"""Rows that a byte of a file may stand for."""


@dataclass(frozen=True, eq=False)
class Instances:
    """Instances predicted in one image, sorted or not.

    labels int64 [N] are positions in the class table, scores float32 [N], boxes float32 [N, 4] are x1, y1, x2, y2 in
    pixels of the original image, masks object [N] hold compressed COCO counts (bytes) at the original size.
    """

    image_id: int
    height: int
    width: int
    labels: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    masks: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, index: np.ndarray) -> "Instances":
        """Return the instances that an index or boolean array [*] picks, in its order."""
        return self.with_rows(self.labels[index], self.scores[index], self.boxes[index], self.masks[index])

    def with_scores(self, scores: np.ndarray) -> "Instances":
        """Return the same instances with other scores [N]."""
        return self.with_rows(self.labels, scores.astype(np.float32), self.boxes, self.masks)

    def with_rows(self, labels: np.ndarray, scores: np.ndarray, boxes: np.ndarray, masks: np.ndarray) -> "Instances":
        """Return an `Instances` of the same image with other rows."""
        return Instances(self.image_id, self.height, self.width, labels, scores, boxes, masks)


def make_instances(
    image_id: int,
    size: tuple[int, int],
    labels: Sequence[int] | np.ndarray,
    scores: Sequence[float] | np.ndarray,
    boxes: Sequence[Sequence[float]] | np.ndarray,
    masks: Sequence[bytes] | np.ndarray,
) -> Instances:
    """Build `Instances` of an image of `size` (height, width) from sequences; empty sequences give N = 0.

    Raises `ValueError` when the sequences differ in length.
    """
    table = np.empty(len(masks), dtype=object)
    table[:] = list(masks)
    made = Instances(
        image_id=int(image_id),
        height=int(size[0]),
        width=int(size[1]),
        labels=np.asarray(labels, dtype=np.int64).reshape(-1),
        scores=np.asarray(scores, dtype=np.float32).reshape(-1),
        boxes=np.asarray(boxes, dtype=np.float32).reshape(-1, 4),
        masks=table,
    )
    lengths = [len(made.labels), len(made.scores), len(made.boxes), len(made.masks)]
    if len(set(lengths)) > 1:
        raise ValueError(f"image {image_id}: labels, scores, boxes and masks must be as many, not {lengths}")
    return made


def concatenate(members: Sequence[Instances]) -> Instances:
    """Pool the instances of one image from several members (at least one)."""
    first = members[0]
    return first.with_rows(
        np.concatenate([m.labels for m in members]),
        np.concatenate([m.scores for m in members]),
        np.concatenate([m.boxes for m in members]),
        np.concatenate([m.masks for m in members]),
    )


def write_instances(path: Path, rows: Iterable[Instances]) -> None:
    """Write predictions of many images as one Parquet file, whole or not at all.

    One row an image: lists of labels, scores, boxes and RLE counts; an image without detections keeps its row, so a
    file also says which images were predicted.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = list(rows)
    columns = {
        "image_id": [i.image_id for i in images],
        "height": [i.height for i in images],
        "width": [i.width for i in images],
        "labels": [i.labels.tolist() for i in images],
        "scores": [i.scores.tolist() for i in images],
        "boxes": [i.boxes.reshape(-1).tolist() for i in images],
        "masks": [list(i.masks) for i in images],
    }
    table = pa.table(columns, schema=_schema())
    write_beside(path, lambda beside: pq.write_table(table, beside, compression="zstd", write_page_checksum=True))


def read_instances(paths: Iterable[Path]) -> dict[int, Instances]:
    """Read predictions from Parquet files into a table by image id. Raises `FinesegError` for a damaged file."""
    return {instances.image_id: instances for path in paths for instances in _read_file(path)}


def _read_file(path: Path) -> list[Instances]:
    """Read one file of `write_instances`, which a failing disk may have changed since."""
    with open_parquet(path, _schema()) as file:
        return [_instances(row) for row in file.read().to_pylist()]


@contextmanager
def open_parquet(path: Path, schema: Any) -> Iterator[Any]:
    """Open a Parquet file of these columns; whatever fails while it is open is taken for its damage."""
    import pyarrow.parquet as pq

    with open(path, "rb") as content:  # not read_table, which takes folders named `a=b` above a file for columns
        try:
            with pq.ParquetFile(content, page_checksum_verification=True) as file:
                if not file.schema_arrow.equals(schema):
                    raise ValueError("its columns are others")
                if file.metadata.num_rows > DENSEST * os.fstat(content.fileno()).st_size:
                    raise ValueError(f"{file.metadata.num_rows} rows in a file so short")
                yield file
        except Exception as error:  # a damaged file fails in Arrow in many ways
            raise damaged(path, error) from None


def damaged(path: Path, reason: object) -> FinesegError:
    """Return the error that says why a file of predictions cannot be read, and what to do."""
    text = one_line(" ".join(str(reason).split()))[:LONGEST_REASON] or type(reason).__name__
    return FinesegError(
        f"{path}: is damaged ({text}); delete the folder {path.parent}, and the same command makes it anew"
    )


def _schema() -> Any:
    """Return the columns of a file, a row an image: lists of labels, scores, boxes and RLE counts."""
    import pyarrow as pa

    lists = {"labels": pa.int64(), "scores": pa.float32(), "boxes": pa.float32(), "masks": pa.binary()}
    columns = {"image_id": pa.int64(), "height": pa.int32(), "width": pa.int32()}
    return pa.schema(columns | {name: pa.list_(kind) for name, kind in lists.items()})


def _instances(row: Mapping[str, Any]) -> Instances:
    """Return the instances of a row; raises an error of any kind for a damaged one."""
    height, width, coded = row["height"], row["width"], row["masks"]
    boxes = np.asarray(row["boxes"], dtype=np.float32).reshape(-1, 4)
    made = make_instances(row["image_id"], (height, width), row["labels"], row["scores"], boxes, coded)
    for fault in find_unsound(coded, [height * width] * len(coded)).values():
        raise ValueError(fault)
    return made
