"""What models of a panoptic competition say of images beside their instances: panoptic maps, scores of all classes.

Maps are PNGs, scores one of the forms of `semantic_store`. Both lie in one Parquet file, a row an image, beside the
file of the same images' instances. What a model does not tell is null there.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fineseg.data.panoptic import PanopticMap, decode_ids, encode_ids, present_ids, segment_fault
from fineseg.data.split import Segment
from fineseg.errors import FinesegError
from fineseg.predictions import Instances, damaged, open_parquet
from fineseg.semantic_store import SemanticScores, decode, encode_compact, encode_full
from fineseg.store import write_beside

SemanticForm = Literal["compact", "full", "none"]
FORMS: Mapping[SemanticForm, Callable[[SemanticScores], bytes | None]] = {
    "compact": encode_compact,
    "full": encode_full,
    "none": lambda _: None,
}
MAPS = ("image_id", "map", "ids", "labels")


@dataclass(frozen=True, eq=False)
class PanopticAnswer:
    """All that a model says of one image, without instances where it finds none; what else it does not tell is None."""

    instances: Instances
    panoptic: PanopticMap | None = None
    semantic: SemanticScores | None = None


@dataclass(frozen=True, eq=False)
class StoredPanoptic:
    """One image's map and scores as they are stored in `file`; what is damaged in them shows when they are decoded."""

    image_id: int
    file: Path
    png: bytes | None
    segments: tuple[Segment, ...]
    scores: bytes | None = None

    def panoptic(self) -> PanopticMap | None:
        """Return the map, None where there is none. Raises `FinesegError`."""
        if self.png is None:
            return None
        try:
            ids = decode_ids(self.png, f"map of image {self.image_id}")
        except FinesegError as fault:
            raise damaged(self.file, fault) from None
        contradiction = segment_fault(present_ids(ids), self.segments)
        if contradiction:
            raise damaged(self.file, f"image {self.image_id}: {contradiction}")
        return PanopticMap(self.image_id, ids, self.segments)

    def semantic(self) -> SemanticScores | None:
        """Return the scores, None where they were not kept or not asked for. Raises `FinesegError`."""
        if self.scores is None:
            return None
        try:
            return decode(self.scores, f"image {self.image_id}")
        except FinesegError as fault:
            raise damaged(self.file, fault) from None


class StoredMaps(Mapping[int, PanopticMap]):
    """Maps by image id that are decoded one at a time: thousands of them fill gigabytes."""

    def __init__(self, stored: Iterable[StoredPanoptic]) -> None:
        self._stored = {each.image_id: each for each in stored}

    def __getitem__(self, image_id: int) -> PanopticMap:
        found = self._stored[image_id].panoptic()
        if found is None:
            raise ValueError(f"image {image_id}: this model makes no maps")
        return found

    def __iter__(self) -> Iterator[int]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)


def panoptic_file(instances: Path) -> Path:
    """Return the file of maps and scores that lies beside a file of instances."""
    return instances.with_suffix(".panoptic.parquet")


def write_panoptic(path: Path, answers: Iterable[PanopticAnswer], form: SemanticForm) -> list[Instances]:
    """Write maps and scores as they come, whole or not at all; return the instances, which go into another file."""
    return write_panoptic_heads({"": path}, ({"": answer} for answer in answers), form)[""]


def write_panoptic_heads(
    paths: Mapping[str, Path], answers: Iterable[Mapping[str, PanopticAnswer]], form: SemanticForm
) -> dict[str, list[Instances]]:
    """Write what several heads say of each image into a file each, as `write_panoptic` does."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    instances: dict[str, list[Instances]] = {head: [] for head in paths}

    def fill(writers: Mapping[str, Any]) -> None:
        for answer in answers:
            for head, writer in writers.items():
                instances[head].append(answer[head].instances)
                row = pa.table(_row(answer[head], form), schema=_schema())
                writer.write_table(row)  # at once: a full form of 50 fills gigabytes

    def open_next(writers: Mapping[str, Any], left: Sequence[str]) -> None:
        if not left:
            return fill(writers)
        head, *rest = left

        def open_this(beside: Path) -> None:
            with pq.ParquetWriter(beside, _schema(), compression="none", write_page_checksum=True) as writer:
                open_next({**writers, head: writer}, rest)

        return write_beside(paths[head], open_this)

    open_next({}, list(paths))
    return instances


def read_panoptic(paths: Iterable[Path], *, semantic: bool) -> Iterator[StoredPanoptic]:
    """Read files of `write_panoptic` row by row, the scores only where they are asked for.

    Raises `FinesegError` for a file that is missing or damaged.
    """
    columns = [*MAPS, "scores"] if semantic else [*MAPS]
    for path in paths:
        if not path.is_file():
            raise damaged(path, "it is missing")
        with open_parquet(path, _schema()) as file:
            rows = (row for n in range(file.num_row_groups) for row in file.read_row_group(n, columns).to_pylist())
            for row in rows:
                segments = tuple(map(Segment, row["ids"], row["labels"]))
                yield StoredPanoptic(row["image_id"], path, row["map"], segments, row.get("scores"))


def _row(answer: PanopticAnswer, form: SemanticForm) -> dict[str, list[Any]]:
    found = answer.panoptic
    segments = () if found is None else found.segments
    return {
        "image_id": [answer.instances.image_id],
        "map": [None if found is None else encode_ids(found.ids)],
        "ids": [[each.id for each in segments]],
        "labels": [[each.label for each in segments]],
        "scores": [None if answer.semantic is None else FORMS[form](answer.semantic)],
    }


def _schema() -> Any:
    """Return the columns of a file, a row an image: PNG, ids and labels of its segments, and a form of the scores."""
    import pyarrow as pa

    numbers = pa.list_(pa.int32())
    columns = {"image_id": pa.int64(), "map": pa.binary(), "ids": numbers, "labels": numbers, "scores": pa.binary()}
    return pa.schema(columns)
