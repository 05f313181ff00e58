"""Reading a COCO instances file into a split. Any file gives a split or one line: file, place, fault."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fineseg.data import masks
from fineseg.data.json_entries import Entry, document_of, entries_of, kind_of, load_json, shown, shown_ids
from fineseg.data.rle_check import find_unsound
from fineseg.data.split import RLE, Category, ImageInfo, Segmentation, Split, TrueObject

LARGEST_SIDE = 65_535  # of an image [pixels]; what JPEG can hold, and COCO's run lengths too

Box = tuple[float, float, float, float]


def read_coco(annotations: Path, images: Path, name: str, *, labelled: bool | None = None, group: str = "") -> Split:
    """Read a COCO instances file; file names in it are relative to `images`.

    `labelled` True demands annotations, False leaves them unread, None takes them where the file has the key.
    Categories are sorted by id. A box or an area that is absent is the mask's. `group` names the field of the images'
    rows that says what belongs together, which only those of an unlabelled file may lack. Raises `FinesegError`.
    """
    return split_of(load_json(annotations), str(annotations), images, name, labelled=labelled, group=group)


def split_of(
    document: Any, source: str, images: Path, name: str, *, labelled: bool | None = None, group: str = ""
) -> Split:
    """Turn the parsed JSON of a COCO instances file into a split; `source` names the file in messages."""
    top = document_of(document, source, "images, annotations and categories")
    categories = _read_categories(top)
    if labelled is None:
        labelled = "annotations" in top.value
    infos = read_images(top, images, group, grouped=labelled)
    objects = _read_objects(top, infos, categories) if labelled else {}
    return Split(name, categories, tuple(infos), objects, labelled)


def _read_categories(top: Entry) -> tuple[Category, ...]:
    found = []
    seen: dict[int, str] = {}
    for entry in entries_of(top, "categories"):
        super_name = entry.text("supercategory") if entry.has("supercategory") else ""
        found.append(Category(new_id(entry, seen), entry.text("name"), super_name))
    if not found:
        raise top.fault("categories is empty; at least one class is needed")
    return tuple(sorted(found, key=lambda category: category.id))


@dataclass(frozen=True)
class _Row:
    """An annotation whose compressed mask is still to be checked."""

    entry: Entry
    id: int
    image: ImageInfo
    label: int
    segmentation: Segmentation
    crowd: bool


def _read_objects(
    top: Entry, images: Iterable[ImageInfo], categories: Sequence[Category]
) -> dict[int, tuple[TrueObject, ...]]:
    by_id = {image.id: image for image in images}
    labels = {category.id: label for label, category in enumerate(categories)}
    seen: dict[int, str] = {}
    rows = [_read_row(entry, seen, by_id, labels) for entry in entries_of(top, "annotations")]
    _refuse_unsound(rows)
    found: dict[int, list[TrueObject]] = {}
    for row in rows:
        found.setdefault(row.image.id, []).append(_true_object(row))
    return {image_id: tuple(objects) for image_id, objects in found.items()}


def _read_row(entry: Entry, seen: dict[int, str], images: dict[int, ImageInfo], labels: dict[int, int]) -> _Row:
    number = new_id(entry, seen)
    image, label = known_image(entry, images), known_label(entry, labels)
    crowd = entry.get("iscrowd") if entry.has("iscrowd") else 0
    if crowd not in (0, 1):
        raise entry.fault("iscrowd must be 0 or 1")
    return _Row(entry, number, image, label, read_segmentation(entry, image), bool(crowd))


def _refuse_unsound(rows: list[_Row]) -> None:
    """Check all compressed masks in one go."""
    coded = [row for row in rows if not isinstance(row.segmentation, list)]
    counts = [row.segmentation["counts"] for row in coded if not isinstance(row.segmentation, list)]
    faults = find_unsound(counts, [row.image.height * row.image.width for row in coded])
    for index in sorted(faults):
        raise coded[index].entry.fault(f"segmentation: {faults[index]}")


def _true_object(row: _Row) -> TrueObject:
    box, area = read_box(row.entry), None
    if row.entry.has("area"):
        area = row.entry.number("area", low=0)
    if box is None or area is None:
        height, width = row.image.height, row.image.width
        counts = [masks.to_rle(row.segmentation, height, width)["counts"]]
        if box is None:
            x1, y1, x2, y2 = masks.boxes(counts, height, width)[0].tolist()
            box = (x1, y1, x2, y2)
        area = float(masks.areas(counts, height, width)[0]) if area is None else area
    return TrueObject(row.id, row.label, box, row.segmentation, area, row.crowd)


# ------------------------------------------- what other files in COCO's form use too


def read_images(top: Entry, folder: Path, group: str = "", *, grouped: bool = True) -> list[ImageInfo]:
    """Return the images that a file lists; their file names are relative to `folder`.

    Field `group` says what they belong to; only where they are not to be `grouped` may a row lack it.
    """
    found = []
    seen: dict[int, str] = {}
    for entry in entries_of(top, "images"):
        number = new_id(entry, seen)
        name = entry.text("file_name")
        if not name.strip():
            raise entry.fault(f"file_name is {name!r}, which can be no file")
        width, height = (entry.integer(side, 1, LARGEST_SIDE) for side in ("width", "height"))
        own = _group(entry, group) if group and (grouped or entry.has(group)) else ""
        found.append(ImageInfo(number, folder / name, width, height, own))
    return found


def _group(entry: Entry, field: str) -> str:
    """Return what the entry says it belongs to, a text or a whole number."""
    value = entry.get(field)
    found = str(entry.integer(field)) if type(value) is int else entry.text(field).strip()
    if not found:
        raise entry.fault(f"{field} is empty; it must name the group that the image belongs to")
    return found


def new_id(entry: Entry, seen: dict[int, str]) -> int:
    """Return the entry's id, which no entry before it has; `seen` remembers id -> place."""
    number = entry.integer("id")
    place = entry.where.rsplit(": ", 1)[-1]
    if seen.setdefault(number, place) is not place:
        raise entry.fault(f"id {number} is taken by {seen[number]}; ids must differ")
    return number


def known_image(entry: Entry, images: Mapping[int, ImageInfo]) -> ImageInfo:
    """Return the image that the entry's image_id names."""
    number = entry.integer("image_id")
    if number not in images:
        raise entry.fault(f"image_id {number} is in no image; known ids {shown_ids(sorted(images))}")
    return images[number]


def known_label(entry: Entry, labels: Mapping[int, int]) -> int:
    """Return the label of the class that the entry's category_id names."""
    number = entry.integer("category_id")
    if number not in labels:
        raise entry.fault(f"category_id {number} is in no category; known ids {shown_ids(sorted(labels))}")
    return labels[number]


def read_box(entry: Entry) -> Box | None:
    """Return the entry's bbox [x, y, width, height] as (x1, y1, x2, y2), or None where it has none."""
    if not entry.has("bbox"):
        return None
    values = entry.get("bbox")
    if not isinstance(values, list) or len(values) != 4:
        raise entry.fault("bbox must be a list of 4 numbers: x, y, width, height")
    x, y = (entry.as_number(values[i], f"bbox[{i}]") for i in (0, 1))
    width, height = (entry.as_number(values[i], f"bbox[{i}]", low=0) for i in (2, 3))
    return x, y, x + width, y + height


def read_segmentation(entry: Entry, image: ImageInfo) -> Segmentation:
    """Return the entry's polygons, or its mask as compressed RLE (whose counts are still to be checked)."""
    value = entry.get("segmentation")
    if isinstance(value, list):
        return _read_polygons(entry, value, image)
    if not isinstance(value, dict):
        raise entry.fault(f"segmentation must be polygons or an RLE, not {kind_of(value)}")
    return read_rle(entry, Entry(value, f"{entry.where}: segmentation"), image)


def read_rle(entry: Entry, value: Entry, image: ImageInfo) -> RLE:
    """Return an RLE {size, counts} of the image's size; counts may be a text or a list of run lengths."""
    size, counts = value.get("size"), value.get("counts")
    wanted = [image.height, image.width]
    if size != wanted:
        given = "[" + ", ".join(map(shown, size)) + "]" if isinstance(size, list) and len(size) == 2 else shown(size)
        raise entry.fault(f"segmentation: size is {given}; image {image.id} is {wanted} (height, width)")
    if isinstance(counts, str):
        if not counts.isascii():
            raise entry.fault("segmentation: counts holds a character that no RLE has")
        return RLE(size=wanted, counts=counts.encode("ascii"))
    if not isinstance(counts, list):
        raise entry.fault(f"segmentation: counts must be a text or a list of run lengths, not {kind_of(counts)}")
    if not set(map(type, counts)) <= {int} or min(counts, default=0) < 0:
        raise entry.fault("segmentation: counts holds a run of impossible length")
    if sum(counts) != image.height * image.width:
        covered, pixels = shown(sum(counts)), image.height * image.width
        raise entry.fault(f"segmentation: the runs of counts cover {covered} pixels; the image has {pixels}")
    uncompressed: Any = {"size": wanted, "counts": counts}
    return masks.to_rle(uncompressed, image.height, image.width)


def _read_polygons(entry: Entry, polygons: list[Any], image: ImageInfo) -> list[list[float]]:
    if not polygons:
        raise entry.fault("segmentation is an empty list; it needs a polygon")
    for index, polygon in enumerate(polygons):
        name = f"segmentation[{index}]"
        if not isinstance(polygon, list):
            raise entry.fault(f"{name} must be a list of numbers x1, y1, x2, y2, ..., not {kind_of(polygon)}")
        if len(polygon) < 6 or len(polygon) % 2:
            raise entry.fault(f"{name} has {len(polygon)} numbers; a polygon needs an even number, at least 6")
        if not set(map(type, polygon)) <= {int, float}:
            raise entry.fault(f"{name} holds something that is no number")
        _refuse_far(entry, name, polygon[0::2], image.width, "x")
        _refuse_far(entry, name, polygon[1::2], image.height, "y")
    return polygons


def _refuse_far(entry: Entry, name: str, values: list[float], side: int, axis: str) -> None:
    """Polygons may leave the image, yet not by more than its side: drawing one takes time and memory by its length."""
    if not all(-side <= value <= 2 * side for value in values):
        worst = next(value for value in values if not -side <= value <= 2 * side)
        raise entry.fault(f"{name} reaches {axis} = {shown(worst)}; the image ends at {side}")
