"""Looking over a data set before anything is trained on it: every image opened, every mask and box measured.

And which files a split stands for: the listing of its images, with hashes remembered by path, size and time of change.
"""

import hashlib
import io
import os
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fineseg.data import masks
from fineseg.data.rle_check import find_unsound
from fineseg.data.split import ImageInfo, Split, TrueObject
from fineseg.errors import FinesegError
from fineseg.store import read_json, write_json

TINY_MASK = 4  # pixels; a smaller mask is a slip of the annotator's rather than an object
BOX_TOLERANCE = 1.0  # pixels that a box may stick out of its image by rounding

_EXIF_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Finding:
    """Something that a look at the data brought up; `where` names the split, the image and the object."""

    severity: Literal["error", "warning"]
    where: str
    what: str


@dataclass(frozen=True)
class Picture:
    """What opening an image file showed: its size in pixels as a reader gets it, or why there is none to get."""

    sha256: str = ""
    width: int = 0
    height: int = 0
    turned: bool = False
    fault: str = ""


def check_data(splits: Mapping[str, Split], progress: Progress | None = None) -> list[Finding]:
    """Check splits that are used together: classes, ids, image files, masks, boxes, and pictures that occur twice.

    `progress` is told (images opened, images in all). Findings come split by split; those between splits last.
    """
    total = sum(len(split.images) for split in splits.values())
    pictures: dict[str, list[tuple[str, str]]] = {}
    found: list[Finding] = []
    done = 0
    for name, split in splits.items():
        found += _check_ids(name, split)
        for image, picture in zip(split.images, open_pictures([i.file for i in split.images]), strict=True):
            found += _check_picture(_place(name, image), image, picture)
            found += _check_objects(_place(name, image), image, split)
            if picture.sha256:
                pictures.setdefault(picture.sha256, []).append((name, _place(name, image)))
            done += 1
            if progress is not None:
                progress(done, total)
    return found + _check_classes(splits) + _check_twins(pictures)


def open_pictures(files: Sequence[Path]) -> Iterator[Picture]:
    """Open and decode image files on all cores, in order."""
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:  # hashing and decoding release the interpreter's lock
        for start in range(0, len(files), 16 * workers):  # some at a time: a fault or an interrupt ends it soon
            yield from pool.map(open_picture, files[start : start + 16 * workers])


def open_picture(file: Path) -> Picture:
    """Read, hash and fully decode one image file: half a JPEG has a good header."""
    from PIL import Image

    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return Picture(fault=f"{file}: no such file")
    except (OSError, ValueError) as error:
        return Picture(fault=f"{file}: cannot be read ({error})")
    digest = hashlib.sha256(content).hexdigest()
    try:
        with Image.open(io.BytesIO(content)) as image:
            turned = image.getexif().get(_EXIF_ORIENTATION) in _TURNED
            image.load()
            width, height = image.size
    except Exception as error:  # damaged files fail in Pillow in many ways
        reason = " ".join(str(error).split()) or type(error).__name__
        return Picture(digest, fault=f"{file}: is no readable image ({reason})")
    return Picture(digest, *((height, width) if turned else (width, height)), turned)


def _place(name: str, image: ImageInfo) -> str:
    return f"{name}: image {image.id} ({image.file.name})"


def _check_picture(where: str, image: ImageInfo, picture: Picture) -> list[Finding]:
    if picture.fault:
        return [Finding("error", where, picture.fault)]
    if (picture.width, picture.height) == (image.width, image.height):
        return []
    turn = " after its EXIF orientation is followed" if picture.turned else ""
    told, real = f"{image.width} x {image.height}", f"{picture.width} x {picture.height}"
    return [Finding("error", where, f"the annotations say {told} pixels, the file has {real}{turn}")]


def _check_objects(where: str, image: ImageInfo, split: Split) -> list[Finding]:
    found = []
    for true_object in split.objects_of(image.id):
        place = f"{where}: object {true_object.id}"
        if not 0 <= true_object.label < len(split.categories):
            text = f"label {true_object.label} is no class; there are {len(split.categories)}"
            found.append(Finding("error", place, text))
        found += _check_mask(place, image, true_object)
        found += _check_box(place, image, true_object)
    return found


def _check_mask(place: str, image: ImageInfo, true_object: TrueObject) -> list[Finding]:
    rle = masks.to_rle(true_object.segmentation, image.height, image.width)
    if rle["size"] != [image.height, image.width]:
        return [Finding("error", place, f"its mask is of size {rle['size']}, not [{image.height}, {image.width}]")]
    for text in find_unsound([rle["counts"]], [image.height * image.width]).values():
        return [Finding("error", place, f"its mask is no RLE: {text}")]
    area = masks.areas([rle["counts"]], image.height, image.width)[0]
    if area < 1:
        return [Finding("error", place, "its mask is empty")]
    if area < TINY_MASK:
        return [Finding("warning", place, f"its mask has only {area:.0f} pixel{'s' if area > 1 else ''}")]
    return []


def _check_box(place: str, image: ImageInfo, true_object: TrueObject) -> list[Finding]:
    x1, y1, x2, y2 = true_object.box
    shown = "[" + ", ".join(f"{value:g}" for value in true_object.box) + "]"
    size = f"{image.width} x {image.height}"
    if not np.all(np.isfinite(true_object.box)) or x2 < x1 or y2 < y1:
        return [Finding("error", place, f"its box {shown} is none (x1, y1, x2, y2)")]
    if x1 >= image.width or y1 >= image.height or x2 <= 0 or y2 <= 0:
        return [Finding("error", place, f"its box {shown} lies outside the image of {size}")]
    beyond = max(-x1, -y1, x2 - image.width, y2 - image.height)
    if beyond > BOX_TOLERANCE:
        return [Finding("warning", place, f"its box {shown} leaves the image of {size} by {beyond:g} pixels")]
    return []


def _check_ids(name: str, split: Split) -> list[Finding]:
    found = []
    known = {image.id for image in split.images}
    for repeated in _repeated([image.id for image in split.images]):
        found.append(Finding("error", name, f"image id {repeated} occurs more than once"))
    for file in _repeated([str(image.file) for image in split.images]):
        found.append(Finding("warning", name, f"{file} is listed as more than one image"))
    for repeated in _repeated([o.id for objects in split.objects.values() for o in objects]):
        found.append(Finding("error", name, f"object id {repeated} occurs more than once"))
    for image_id in sorted(split.objects.keys() - known):
        found.append(Finding("error", name, f"objects belong to image {image_id}, which is not in the split"))
    return found


def _repeated(values: Iterable[Hashable]) -> list[Hashable]:
    return [value for value, count in Counter(values).items() if count > 1]


def _check_classes(splits: Mapping[str, Split]) -> list[Finding]:
    """All splits must number the same classes alike, or labels mean something else in each."""
    names = list(splits)
    first = [(c.id, c.name) for c in splits[names[0]].categories] if names else []
    what = f"its classes differ from those of {names[0]}" if names else ""
    differing = [name for name in names[1:] if [(c.id, c.name) for c in splits[name].categories] != first]
    return [Finding("error", name, what) for name in differing]


def _check_twins(pictures: Mapping[str, list[tuple[str, str]]]) -> list[Finding]:
    """The same file in two splits lets a model be scored on what it has seen; in one split it only counts twice."""
    found = []
    for places in pictures.values():
        (name, where), *others = places
        for other_name, other in others:
            severity: Literal["error", "warning"] = "warning" if other_name == name else "error"
            found.append(Finding(severity, other, f"is the same file as {where}"))
    return found


# ------------------------------------------------- which files a split stands for


def image_listing(split: Split, cache_file: Path, progress: Progress | None = None) -> list[list[Any]]:
    """Return [id, file name, size in bytes, sha256] of every image, sorted by id: plain data for a content key."""
    hashes = hash_files((image.file for image in split.images), cache_file, progress)
    images = sorted(split.images, key=lambda image: image.id)
    return [[i.id, i.file.name, i.file.stat().st_size, hashes[str(i.file)]] for i in images]


def hash_files(paths: Iterable[Path], cache_file: Path, progress: Progress | None = None) -> dict[str, str]:
    """Return the sha256 of files by path. A file whose size and time of change are in the cache is not read again.

    `progress` is told (files done, files in all). Raises `FinesegError` for a file that cannot be read.
    """
    wanted = list(dict.fromkeys(paths))
    cache = _read_cache(cache_file)
    known = dict(cache)
    hashes = {}
    for done, path in enumerate(wanted, 1):
        hashes[str(path)] = _hash_known(path, known)
        if progress is not None:
            progress(done, len(wanted))
    if known != cache:
        write_json(cache_file, known)
    return hashes


def _hash_known(path: Path, known: dict[str, list[Any]]) -> str:
    key = str(path.absolute())
    try:
        status = path.stat()
        stamp = [status.st_size, status.st_mtime_ns]
        if key not in known or known[key][:2] != stamp:
            with open(path, "rb") as file:
                known[key] = [*stamp, hashlib.file_digest(file, "sha256").hexdigest()]
    except FileNotFoundError:
        raise FinesegError(f"{path}: no such file") from None
    except OSError as error:
        raise FinesegError(f"{path}: cannot be read ({error.strerror})") from None
    return str(known[key][2])


def _read_cache(cache_file: Path) -> dict[str, list[Any]]:
    """Read the cache; a damaged one only costs reading the files again."""
    try:
        cache = read_json(cache_file)
    except (OSError, ValueError):
        return {}
    rows = cache.items() if isinstance(cache, dict) else ()
    return {path: row for path, row in rows if isinstance(row, list) and len(row) == 3}
