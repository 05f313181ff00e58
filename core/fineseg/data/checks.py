"""Looking over a data set before anything is trained on it: every image opened, every mask and box measured.

And which files a split stands for: the listing of its images, with hashes remembered by path, size and time of change.
"""

import hashlib
import io
import os
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fineseg.data import masks
from fineseg.data.class_checks import check_classes, check_support
from fineseg.data.findings import Finding
from fineseg.data.panoptic_checks import check_maps, check_stuff
from fineseg.data.pictures import picture_fault
from fineseg.data.rle_check import find_unsound
from fineseg.data.split import RLE, ImageInfo, Split, TrueObject
from fineseg.data.twins import FREQUENCIES, FloatArray, find_twins, look_at
from fineseg.errors import FinesegError
from fineseg.store import file_hash, read_json, write_json

TINY_MASK = 4  # pixels; a smaller mask is a slip of the annotator's rather than an object
BOX_TOLERANCE = 1.0  # pixels that a box may stick out of its image by rounding
BOX_SLACK = (3.0, 0.1)  # pixels, and share of the side, that a box may be off its mask: polygons and old +1 conventions
AREA_FACTOR = 1.5  # between a stated area and the mask's pixels: outlines count differently along thin objects
AREA_SLACK = 16.0  # pixels that the two may differ by anyhow

_EXIF_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_NO_LOOK = np.zeros(FREQUENCIES**2, dtype=np.float32)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Picture:
    """What opening an image file showed: its size in pixels as a reader gets it, or why there is none to get.

    `look` is what it is compared with others by, see `twins`.
    """

    sha256: str = ""
    width: int = 0
    height: int = 0
    turned: bool = False
    fault: str = ""
    missing: bool = False
    look: FloatArray = field(default_factory=lambda: _NO_LOOK, repr=False, compare=False)


Pictures = Mapping[str, Sequence[Picture]]
"""The pictures of each split, in the order of its images."""


def check_data(
    splits: Mapping[str, Split], progress: Progress | None = None, *, trained: str | None = None
) -> list[Finding]:
    """Check splits that are used together: classes, ids, groups, image files, masks, boxes, pictures that occur twice.

    `trained` names the split that models are trained on, the others are what they are scored on or predict; without it
    nothing is said of classes without objects. `progress` is told (images opened, images in all). Findings come split
    by split; those between splits last.
    """
    found, pictures = open_data(splits, progress)
    return found + check_between(splits, trained) + check_twins(splits, pictures)


def open_data(splits: Mapping[str, Split], progress: Progress | None = None) -> tuple[list[Finding], Pictures]:
    """Check each split for itself; every image is opened once. Returns also what the images looked like."""
    total = sum(len(split.images) for split in splits.values())
    pictures: dict[str, list[Picture]] = {}
    found: list[Finding] = []
    done = 0
    for name, split in splits.items():
        found += _check_ids(name, split)
        pictures[name] = []
        for image, picture in zip(split.images, open_pictures([i.file for i in split.images]), strict=True):
            found += _check_picture(_place(name, image), image, picture)
            found += _check_objects(_place(name, image), image, split)
            pictures[name].append(picture)
            done += 1
            if progress is not None:
                progress(done, total)
        found += check_maps(name, split)
    return found, pictures


def check_between(splits: Mapping[str, Split], trained: str | None) -> list[Finding]:
    """Check what splits have in common, but for their pictures: classes, and groups that no two of them may share."""
    classes = check_classes(splits) + check_stuff(splits)
    alike = all(finding.kind != "classes-differ" for finding in classes)
    return classes + (check_support(splits, trained) if alike else []) + _check_groups(splits)


def check_twins(splits: Mapping[str, Split], pictures: Pictures, progress: Progress | None = None) -> list[Finding]:
    """Find pictures that occur twice. In two splits, a model is scored on what it has seen; in one, they count double.

    `progress` is told (pictures compared, pictures in all).
    """
    places = [(n, _place(n, i), p) for n, s in splits.items() for i, p in zip(s.images, pictures[n], strict=True)]
    places = [place for place in places if place[2].sha256]
    first: dict[str, int] = {}
    found = []
    for number, (name, where, picture) in enumerate(places):
        earlier = first.setdefault(picture.sha256, number)
        if earlier != number:
            kind = "file-twice" if places[earlier][0] == name else "file-in-two-splits"
            found.append(Finding(kind, where, f"is the same file as {places[earlier][1]}"))
    numbers = {name: number for number, name in enumerate(splits)}
    looks = np.stack([picture.look for *_, picture in places]) if places else np.zeros((0, FREQUENCIES**2), np.float32)
    of_split = np.array([numbers[name] for name, *_ in places])
    contents = np.array([first[picture.sha256] for *_, picture in places])
    for twin in find_twins(looks, of_split, contents, progress):
        (name, where, _), (other_name, other, _) = places[twin.second], places[twin.first]
        kind = "alike-in-split" if other_name == name else "alike-in-two-splits"
        words = "looks like the mirror image of" if twin.mirrored else "looks the same as"
        found.append(Finding(kind, where, f"{words} {other} (likeness {twin.likeness:.2f})"))
    return found


def open_pictures(files: Sequence[Path]) -> Iterator[Picture]:
    """Open and decode image files on all cores, in order."""
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:  # hashing and decoding release the interpreter's lock
        for start in range(0, len(files), 16 * workers):  # some at a time: a fault or an interrupt ends it soon
            yield from pool.map(open_picture, files[start : start + 16 * workers])


def open_picture(file: Path) -> Picture:
    """Read, hash and fully decode one image file: half a JPEG has a good header."""
    from PIL import Image, ImageOps

    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return Picture(fault=f"{file}: no such file", missing=True)
    except (OSError, ValueError) as error:
        return Picture(fault=f"{file}: cannot be read ({getattr(error, 'strerror', None) or error})")
    digest = hashlib.sha256(content).hexdigest()
    try:
        with Image.open(io.BytesIO(content)) as image:
            turned = image.getexif().get(_EXIF_ORIENTATION) in _TURNED
            image.load()
            width, height = image.size
            look = look_at(ImageOps.exif_transpose(image))
    except Exception as error:  # damaged files fail in Pillow in many ways
        return Picture(digest, fault=f"{file}: is no readable image ({picture_fault(error)})")
    return Picture(digest, *((height, width) if turned else (width, height)), turned, look=look)


def _place(name: str, image: ImageInfo) -> str:
    return f"{name}: image {image.id} ({image.file.name})"


def _check_picture(where: str, image: ImageInfo, picture: Picture) -> list[Finding]:
    if picture.fault:
        return [Finding("image-missing" if picture.missing else "image-unreadable", where, picture.fault)]
    if (picture.width, picture.height) == (image.width, image.height):
        return []
    turn = " after its EXIF orientation is followed" if picture.turned else ""
    told, real = f"{image.width} x {image.height}", f"{picture.width} x {picture.height}"
    return [Finding("image-size", where, f"the annotations say {told} pixels, the file has {real}{turn}")]


def _check_objects(where: str, image: ImageInfo, split: Split) -> list[Finding]:
    found = []
    for true_object in split.objects_of(image.id):
        place = f"{where}: object {true_object.id}"
        if not 0 <= true_object.label < len(split.categories):
            text = f"label {true_object.label} is no class; there are {len(split.categories)}"
            found.append(Finding("no-such-class", place, text))
        rle = masks.to_rle(true_object.segmentation, image.height, image.width)
        masked = _check_mask(place, image, rle)
        boxed = _check_box(place, image, true_object)
        found += masked + boxed
        if not masked:
            found += _check_area(place, image, true_object, rle["counts"])
            found += [] if boxed else _check_fit(place, image, true_object, rle["counts"])
    return found


def _check_mask(place: str, image: ImageInfo, rle: RLE) -> list[Finding]:
    if rle["size"] != [image.height, image.width]:
        text = f"its mask is of size {rle['size']}, not [{image.height}, {image.width}]"
        return [Finding("mask-broken", place, text)]
    for text in find_unsound([rle["counts"]], [image.height * image.width]).values():
        return [Finding("mask-broken", place, f"its mask is no RLE: {text}")]
    area = masks.areas([rle["counts"]], image.height, image.width)[0]
    if area < 1:
        return [Finding("mask-empty", place, "its mask is empty")]
    if area < TINY_MASK:
        return [Finding("mask-tiny", place, f"its mask has only {area:.0f} pixel{'s' if area > 1 else ''}")]
    return []


def _check_box(place: str, image: ImageInfo, true_object: TrueObject) -> list[Finding]:
    x1, y1, x2, y2 = true_object.box
    shown = _shown_box(true_object.box)
    size = f"{image.width} x {image.height}"
    if not np.all(np.isfinite(true_object.box)) or x2 < x1 or y2 < y1:
        return [Finding("box-broken", place, f"its box {shown} is none (x1, y1, x2, y2)")]
    if x1 >= image.width or y1 >= image.height or x2 <= 0 or y2 <= 0:
        return [Finding("box-broken", place, f"its box {shown} lies outside the image of {size}")]
    beyond = max(-x1, -y1, x2 - image.width, y2 - image.height)
    if beyond > BOX_TOLERANCE:
        larger = "is larger than" if x2 - x1 > image.width or y2 - y1 > image.height else "leaves"
        return [Finding("box-beyond", place, f"its box {shown} {larger} the image of {size} by {beyond:g} pixels")]
    return []


def _check_area(place: str, image: ImageInfo, true_object: TrueObject, counts: bytes) -> list[Finding]:
    """The stated area decides which objects count as small, medium and large."""
    stated, pixels = true_object.area, image.width * image.height
    if stated > pixels:
        return [Finding("area-off", place, f"its area is given as {stated:g}; the image has {pixels} pixels")]
    area = float(masks.areas([counts], image.height, image.width)[0])
    if abs(stated - area) <= AREA_SLACK or area / AREA_FACTOR <= stated <= area * AREA_FACTOR:
        return []
    return [Finding("area-off", place, f"its area is given as {stated:g}; its mask has {area:.0f} pixels")]


def _check_fit(place: str, image: ImageInfo, true_object: TrueObject, counts: bytes) -> list[Finding]:
    tight = masks.boxes([counts], image.height, image.width)[0]
    pixels, share = BOX_SLACK
    slack = np.tile(np.maximum(pixels, share * (tight[2:] - tight[:2])), 2)
    if np.all(np.abs(np.array(true_object.box) - tight) <= slack):
        return []
    text = f"its box {_shown_box(true_object.box)} does not fit its mask, which fills {_shown_box(tight)}"
    return [Finding("box-off", place, text)]


def _shown_box(box: Iterable[float]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in box) + "]"


def _check_ids(name: str, split: Split) -> list[Finding]:
    found = []
    known = {image.id for image in split.images}
    for repeated in _repeated([image.id for image in split.images]):
        found.append(Finding("id-twice", name, f"image id {repeated} occurs more than once"))
    for file in _repeated([str(image.file) for image in split.images]):
        found.append(Finding("file-twice", name, f"{file} is listed as more than one image"))
    for repeated in _repeated([o.id for objects in split.objects.values() for o in objects]):
        found.append(Finding("id-twice", name, f"object id {repeated} occurs more than once"))
    for image_id in sorted(split.objects.keys() - known):
        found.append(Finding("stray-objects", name, f"objects belong to image {image_id}, which is not in the split"))
    return found


def _repeated(values: Iterable[Hashable]) -> list[Hashable]:
    return [value for value, count in Counter(values).items() if count > 1]


def _check_groups(splits: Mapping[str, Split]) -> list[Finding]:
    """A scene, room or patient in two splits lets a model be scored on what it has seen."""
    first: dict[str, tuple[str, ImageInfo]] = {}
    found = []
    for name, split in splits.items():
        told = set()
        for image in split.images:
            earlier, other = first.setdefault(image.group, (name, image))
            if not image.group or earlier == name or image.group in told:
                continue
            told.add(image.group)
            labelled = split.labelled and splits[earlier].labelled
            kind = "group-in-two-splits" if labelled else "group-in-unlabelled-split"
            text = f"group '{image.group}' also lies in {_place(earlier, other)}"
            found.append(Finding(kind, _place(name, image), text))
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


def known_hashes(paths: Iterable[Path], cache_file: Path) -> dict[str, str]:
    """Return the hashes that the cache has of files which have not changed since, by path."""
    known = _read_cache(cache_file)
    hashes = {}
    for path in paths:
        row = known.get(str(path.absolute()))
        if row is not None and row[:2] == _stamp(path):
            hashes[str(path)] = str(row[2])
    return hashes


def remember(hashes: Mapping[Path, str], cache_file: Path) -> None:
    """Put hashes of files just read into the cache; an empty one is none."""
    rows = {str(path.absolute()): [*_stamp(path), digest] for path, digest in hashes.items() if digest}
    write_json(cache_file, {**_read_cache(cache_file), **{path: row for path, row in rows.items() if len(row) == 3}})


def _stamp(path: Path) -> list[int]:
    """Return what changes when a file changes, its size and time; nothing for a file that cannot be looked at."""
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def _hash_known(path: Path, known: dict[str, list[Any]]) -> str:
    key = str(path.absolute())
    try:
        status = path.stat()
        stamp = [status.st_size, status.st_mtime_ns]
        if key not in known or known[key][:2] != stamp:
            known[key] = [*stamp, file_hash(path)]
    except FileNotFoundError:
        raise FinesegError(f"{path}: no such file") from None
    except OSError as error:
        raise FinesegError(f"{path}: cannot be read ({error.strerror})") from None
    return str(known[key][2])


def _read_cache(cache_file: Path) -> dict[str, list[Any]]:
    """Read the cache; a damaged one only costs reading the files again."""
    try:
        cache = read_json(cache_file)
    except (OSError, FinesegError):
        return {}
    rows = cache.items() if isinstance(cache, dict) else ()
    return {path: row for path, row in rows if isinstance(row, list) and len(row) == 3}
