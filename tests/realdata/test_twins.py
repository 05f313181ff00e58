"""Near-same pictures among real photographs and drawn rooms: how many planted ones are found, how many false ones.

Measured with these seeds: the least likeness of a planted copy is 0.997, the greatest of two photographs of different
things 0.826 (two flower pots), of two drawn rooms 0.52; the limit is 0.9.
"""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from fineseg.data.twins import find_twins, look_at
from fineseg_datasets.showroom.generate import room_seed
from fineseg_datasets.showroom.room import render_room

PHOTOGRAPHS = 611
ROOMS = 200


def copied(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return a picture encoded again at a quality of 30 to 90, at 0.4 to 1.5 times its size, half of them mirrored."""
    quality, scale, mirrored = int(rng.integers(30, 91)), rng.uniform(0.4, 1.5), bool(rng.integers(2))
    turned = ImageOps.mirror(image) if mirrored else image
    resized = turned.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    coded = io.BytesIO()
    resized.save(coded, "JPEG", quality=quality)
    return Image.open(coded)


def looks_and_copies(images: list[Image.Image], seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return np.stack([look_at(image) for image in images]), np.stack([look_at(copied(image, rng)) for image in images])


def false_pairs(looks: np.ndarray) -> int:
    return len(find_twins(looks, np.zeros(len(looks), int), np.arange(len(looks))))


def found_copies(looks: np.ndarray, copies: np.ndarray) -> float:
    """Return the share of pictures, in one split, whose copy in another split is found, as a copy of just them."""
    count = len(looks)
    twins = find_twins(np.concatenate([looks, copies]), np.repeat([0, 1], count), np.arange(2 * count))
    right = {twin.second - count for twin in twins if twin.second - twin.first == count}
    return len(right) / count


@pytest.mark.realdata
@pytest.mark.timeout(300)
def test_photographs(shared_data: Path) -> None:
    files = sorted((shared_data / "furniture" / "images").rglob("*.jpg"))
    assert len(files) == PHOTOGRAPHS
    looks, copies = looks_and_copies([Image.open(file).convert("RGB") for file in files], seed=0)
    assert found_copies(looks, copies) == 1.0
    assert false_pairs(looks) == 0


def test_drawn_rooms_are_all_different() -> None:
    """Rooms of one distribution have like layouts, yet are no twins; their copies are."""
    rooms = [Image.fromarray(render_room(room_seed(0, "train", n), (96, 96)).image) for n in range(1, ROOMS + 1)]
    looks, copies = looks_and_copies(rooms, seed=1)
    assert false_pairs(looks) == 0
    assert found_copies(looks, copies) == 1.0
