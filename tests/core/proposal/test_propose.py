"""Proposals: numbers of data and machine in, numbers of a profile and their reasons out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fineseg import Category, FinesegError, ImageInfo, Split, TrueObject
from fineseg.metrics.mask_ap import COCO_AREA_RANGES
from fineseg.proposal.measure import GIB, Machine, Measured, machine_of, measure
from fineseg.proposal.propose import (
    CPU_BUDGET,
    SEEN,
    STRIDE,
    area_ranges,
    detections,
    duration_words,
    fit,
    image_scale,
    model,
)

LAPTOP = Machine(cores=2, memory=20.0)
ONE_GPU = Machine(cores=16, memory=100.0, gpus=(24.0,))


def measured(
    pixels: np.ndarray, long: int = 640, short: int = 480, images: int = 500, most: int = 5, of_a_class: int = 3
) -> Measured:
    """Return data of images of one size, whose objects have these sizes [pixels]."""
    return Measured(
        long_sides=np.full(images, long),
        short_sides=np.full(images, short),
        pixels=pixels,
        relative=pixels / long,
        most=most,
        most_of_a_class=of_a_class,
        classes=(("bed", len(pixels)),),
    )


LARGE = measured(np.linspace(150, 400, 1000))
SMALL = measured(np.linspace(6, 30, 1000))


# --------------------------------------------------------------------- measuring


def test_measure_counts_what_is_there() -> None:
    images = tuple(ImageInfo(n, Path(f"{n}.png"), 40 * n, 100) for n in (1, 2, 3))
    box = (0.0, 0.0, 1.0, 1.0)

    def true(number: int, label: int, area: float, crowd: bool = False) -> TrueObject:
        return TrueObject(number, label, box, [[0.0] * 6], area, crowd)

    objects = {
        1: (true(1, 0, 100), true(2, 0, 400), true(3, 1, 900), true(4, 1, 1e4, crowd=True)),
        3: (true(5, 1, 144), true(6, 1, 0)),
    }
    found = measure(Split("train", (Category(4, "bed"), Category(9, "sofa"), Category(11, "lamp")), images, objects))
    assert found.images == 3
    np.testing.assert_array_equal(found.long_sides, [100, 100, 120])
    np.testing.assert_array_equal(found.short_sides, [40, 80, 100])
    np.testing.assert_allclose(found.pixels, [10, 20, 30, 12])
    np.testing.assert_allclose(found.relative, [0.1, 0.2, 0.3, 0.1])
    assert (found.most, found.most_of_a_class) == (3, 2)
    assert found.classes == (("bed", 2), ("sofa", 2), ("lamp", 0))


def test_measure_refuses_a_split_without_objects() -> None:
    with pytest.raises(FinesegError, match="split 'train': 0 images with no object"):
        measure(Split("train", (Category(1, "bed"),), ()))


def test_machine_is_what_the_doctor_found() -> None:
    steps = {"gpu": {"devices": [{"name": "A", "memory": 24576}]}, "memory": {"total": 9, "available": 3 * GIB}}
    assert machine_of(4, steps) == Machine(4, 3.0, (24.0,))
    assert machine_of(4, {"gpu": {}, "memory": {}}) == Machine(4, 0.0)  # what a step that failed leaves
    assert LAPTOP.words() == "2 cores, 20 GiB free, no GPU"
    assert ONE_GPU.words() == "16 cores, 100 GiB free, 1 GPU of 24 GiB"


# ------------------------------------------------------------------------- scale


@pytest.mark.parametrize("machine", [LAPTOP, ONE_GPU], ids=["cpu", "gpu"])
@pytest.mark.parametrize("tenth", [0.001, 0.01, 0.05, 0.1, 0.3, 0.9])
@pytest.mark.parametrize("sides", [(200, 150), (640, 640), (6000, 4000), (4000, 100)])
def test_scale_is_always_one_that_a_profile_may_have(machine: Machine, tenth: float, sides: tuple[int, int]) -> None:
    scale = image_scale(measured(np.full(50, tenth * sides[0]), *sides), machine)
    low, high = (512, 1344) if machine.gpus else (256, 384)
    assert low <= scale.long <= high
    assert STRIDE <= scale.shorter <= scale.short <= scale.long
    assert not any(side % STRIDE for side in (scale.long, scale.short, scale.shorter))
    assert scale.small_object == pytest.approx(tenth * scale.long)
    drawn = np.random.default_rng(0).uniform(scale.shorter, scale.short, 100_000)
    area = np.mean(drawn * drawn * scale.long / scale.short) / 1e6
    assert scale.megapixels == pytest.approx(area, rel=0.01)


def test_large_objects_are_looked_at_in_small_on_a_cpu_and_in_full_on_a_gpu() -> None:
    assert (image_scale(LARGE, LAPTOP).long, image_scale(LARGE, LAPTOP).short) == (256, 192)
    assert (image_scale(LARGE, ONE_GPU).long, image_scale(LARGE, ONE_GPU).short) == (640, 480)
    assert "images are 640 x 480; a tenth of the objects are smaller than" in image_scale(LARGE, LAPTOP).why


def test_small_objects_are_enlarged_as_far_as_the_machine_allows() -> None:
    on_cpu, on_gpu = image_scale(SMALL, LAPTOP), image_scale(SMALL, ONE_GPU)
    assert (on_cpu.long, on_gpu.long) == (384, 1344)
    assert on_cpu.small_object < on_gpu.small_object < SEEN
    assert "small objects will be missed" in on_cpu.why
    half = measured(np.full(1000, 20.0))  # 32 / (20 / 640) = 1024
    assert image_scale(half, ONE_GPU).long == 1024 and "missed" not in image_scale(half, ONE_GPU).why


# ----------------------------------------------------------- ranges and detections


def test_ranges_of_coco_stay_where_they_hold_enough() -> None:
    even = measured(np.repeat([20.0, 60.0, 200.0], 10))
    assert area_ranges(even).ranges is None
    assert area_ranges(even).why == "COCO's ranges (edges 32 and 96 pixels) hold 33% / 33% / 33% of the 30 objects"
    found = area_ranges(LARGE)
    assert found.ranges is not None and list(found.ranges) == list(COCO_AREA_RANGES)
    squares = LARGE.pixels**2
    parts = [np.mean((low <= squares) & (squares < high)) for low, high in found.ranges.values()]
    np.testing.assert_allclose(parts, 1 / 3, atol=0.01)
    assert "0% / 0% / 100%" in found.why and "233 and 317 pixels" in found.why


def test_objects_of_one_size_leave_ranges_alone() -> None:
    found = area_ranges(measured(np.full(30, 200.0)))
    assert found.ranges is None and "too alike" in found.why


@pytest.mark.parametrize(
    ("of_a_class", "most", "metric", "image"),
    [(1, 1, 100, 100), (100, 100, 100, 200), (101, 130, 200, 200), (450, 700, 500, 1000), (2500, 2500, 3000, 4000)],
)
def test_detections_cover_the_fullest_image(of_a_class: int, most: int, metric: int, image: int) -> None:
    found = detections(measured(np.ones(5000), most=most, of_a_class=of_a_class))
    assert found.metric == (1, 10, metric) and found.an_image == image
    assert found.why == f"the fullest image has {most} objects, {of_a_class} of one class"


# ------------------------------------------------------------------ model and fit


def test_model_follows_machine_and_sizes() -> None:
    def chosen(data: Measured, machine: Machine) -> tuple[bool, bool, int]:
        found = model(data, image_scale(data, machine), machine)
        return found.small, found.rendered, found.anchor

    assert chosen(LARGE, LAPTOP) == (True, True, 8)
    assert chosen(SMALL, LAPTOP) == (True, False, 4)
    assert chosen(LARGE, ONE_GPU) == (False, True, 8)
    assert chosen(SMALL, ONE_GPU) == (False, False, 4)


def test_training_fits_memory_and_time_of_a_cpu() -> None:
    scale = image_scale(LARGE, LAPTOP)
    found = fit(scale, LAPTOP, 1000)
    assert (found.batch, found.workers) == (2, 1)
    assert found.seconds <= CPU_BUDGET and found.epochs > 1
    more = fit(scale, replace(LAPTOP, cores=4), 1000)
    assert more.epochs >= 1.9 * found.epochs and more.seconds <= CPU_BUDGET
    few = fit(scale, LAPTOP, 20)
    assert few.epochs == 24 and "more seldom help" in few.why_epochs
    many = fit(scale, LAPTOP, 100_000)  # one pass is the least, however long
    assert many.epochs == 1 and many.seconds > 3600
    tight = fit(scale, replace(LAPTOP, memory=1.0), 500)
    assert tight.batch == 1 and "more than the 1.0 that are free can well hold" in tight.why_batch


def test_batch_grows_with_the_gpus_and_the_rate_with_the_batch() -> None:
    scale = image_scale(measured(np.linspace(40, 400, 100), 1333, 800), ONE_GPU)
    found = {gib: fit(scale, replace(ONE_GPU, gpus=(gib,)), 100_000) for gib in (4.0, 8.0, 12.0, 24.0, 80.0)}
    assert [each.batch for each in found.values()] == [1, 2, 4, 8, 16]
    for gib, each in found.items():
        assert each.gib <= 0.8 * gib and each.lr == pytest.approx(0.02 * each.batch / 16) and each.epochs == 12
    four = fit(scale, replace(ONE_GPU, gpus=(24.0,) * 4), 100_000)
    assert (four.workers, four.batch) == (4, 32) and four.seconds == pytest.approx(found[24.0].seconds / 4)


def test_few_images_are_seen_more_often_in_smaller_batches() -> None:
    scale = image_scale(LARGE, ONE_GPU)
    few = fit(scale, ONE_GPU, 40)
    assert (few.batch, few.epochs) == (2, 72)
    assert fit(scale, ONE_GPU, 2000).epochs == 30
    assert few.warmup <= few.epochs * 40 // few.batch // 10


@pytest.mark.parametrize(("seconds", "words"), [(0.1, "1 s"), (64, "64 s"), (600, "10 minutes"), (9000, "2.5 hours")])
def test_durations(seconds: float, words: str) -> None:
    assert duration_words(seconds) == words
