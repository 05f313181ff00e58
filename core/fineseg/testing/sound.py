"""What instances and maps must be, whoever makes them."""

import numpy as np

from fineseg.data.masks import areas
from fineseg.data.panoptic import PanopticMap, present_ids, segment_faults
from fineseg.data.rle_check import find_unsound
from fineseg.predictions import Instances
from fineseg.testing.conformance import expect

Size = tuple[int, int]


def expect_instances(found: object, size: Size, classes: int, *, image_id: int) -> None:
    """Raise `AssertionError` unless these are sound instances of an image of `size` (height, width)."""
    if not isinstance(found, Instances):
        raise AssertionError(f"returned {type(found).__name__}, must be Instances")
    told = (found.image_id, found.height, found.width)
    expect(told == (image_id, *size), f"image id, height and width are {told}, must be {(image_id, *size)}")
    kinds = (found.labels.dtype.kind, found.scores.dtype.kind, found.boxes.dtype.kind, found.masks.dtype.kind)
    expect(
        kinds == ("i", "f", "f", "O"), f"dtypes of labels, scores, boxes, masks are of kinds {kinds}, not i, f, f, O"
    )
    shapes = [each.shape for each in (found.labels, found.scores, found.boxes, found.masks)]
    count = len(found.scores)
    expect(shapes == [(count,), (count,), (count, 4), (count,)], f"shapes of labels, scores, boxes, masks: {shapes}")
    expect(bool(((found.labels >= 0) & (found.labels < classes)).all()), f"labels must lie in 0..{classes - 1}")
    expect(bool(((found.scores >= 0) & (found.scores <= 1)).all()), "scores must lie in 0..1")
    expect(bool(np.isfinite(found.boxes).all()), "boxes must be finite")
    unsound = find_unsound(found.masks.tolist(), [size[0] * size[1]] * count)
    expect(not unsound, f"a mask does not decode at the image's size: {next(iter(unsound.values()), '')}")
    areas(found.masks.tolist(), *size)


def same_instances(first: Instances, second: Instances) -> bool:
    """Say whether two answers are the same to the digit."""
    return (
        np.array_equal(first.labels, second.labels)
        and np.array_equal(first.scores, second.scores)
        and np.array_equal(first.boxes, second.boxes)
        and first.masks.tolist() == second.masks.tolist()
    )


def expect_map(found: object, size: Size, things: int, stuff: int, *, image_id: int) -> None:
    """Raise `AssertionError` unless this is a sound map of an image of `size` (height, width)."""
    if not isinstance(found, PanopticMap):
        raise AssertionError(f"returned {type(found).__name__}, must be PanopticMap")
    expect(found.image_id == image_id, f"image id is {found.image_id}, must be {image_id}")
    expect(found.ids.shape == size, f"the map's shape is {found.ids.shape}, must be the image's {size}")
    expect(found.ids.dtype == np.int32, f"the map's ids are {found.ids.dtype}, must be int32")
    faults = segment_faults(present_ids(found.ids), found.segments)
    expect(not faults, "; ".join(faults))
    labels = [each.label for each in found.segments]
    expect(all(0 <= label < things + stuff for label in labels), f"labels must lie in 0..{things + stuff - 1}")
    repeated = {label for label in labels if label >= things and labels.count(label) > 1}
    expect(not repeated, f"stuff has one segment a class; these have several: {sorted(repeated)}")
