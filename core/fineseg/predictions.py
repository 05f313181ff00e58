"""What crosses plug boundaries after a model has spoken: the instances of one image, as plain arrays, and their store.

Letters: N instances of one image.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fineseg.store import write_beside


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
    table = pa.table(
        {
            "image_id": pa.array([i.image_id for i in images], pa.int64()),
            "height": pa.array([i.height for i in images], pa.int32()),
            "width": pa.array([i.width for i in images], pa.int32()),
            "labels": pa.array([i.labels.tolist() for i in images], pa.list_(pa.int64())),
            "scores": pa.array([i.scores.tolist() for i in images], pa.list_(pa.float32())),
            "boxes": pa.array([i.boxes.reshape(-1).tolist() for i in images], pa.list_(pa.float32())),
            "masks": pa.array([list(i.masks) for i in images], pa.list_(pa.binary())),
        }
    )
    write_beside(path, lambda beside: pq.write_table(table, beside, compression="zstd"))


def read_instances(paths: Iterable[Path]) -> dict[int, Instances]:
    """Read predictions from Parquet files into a table by image id."""
    import pyarrow.parquet as pq

    found: dict[int, Instances] = {}
    for path in paths:
        with pq.ParquetFile(path) as file:  # not read_table, which takes folders named `a=b` above a file for columns
            rows = file.read().to_pylist()
        for row in rows:
            boxes = np.asarray(row["boxes"], dtype=np.float32).reshape(-1, 4)
            size = (row["height"], row["width"])
            found[row["image_id"]] = make_instances(
                row["image_id"], size, row["labels"], row["scores"], boxes, row["masks"]
            )
    return found
