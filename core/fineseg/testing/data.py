"""Checks of data sets and submission formats: what is read is sound, what is written is read back."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar
from unittest import SkipTest

import numpy as np

from fineseg.data.checks import check_data
from fineseg.data.findings import KINDS
from fineseg.data.panoptic import PanopticMap
from fineseg.data.split import Split
from fineseg.errors import FinesegError
from fineseg.predictions import Instances
from fineseg.testing.conformance import Conformance, expect
from fineseg.testing.drawn import draw_instances, draw_map, draw_split
from fineseg.testing.sound import expect_instances


class DatasetConformance(Conformance):
    """Checks of a data set on a small one, which `write_sample` puts into a folder."""

    kind = "dataset"
    split: ClassVar[str] = "train"

    def write_sample(self, folder: Path) -> Path:
        """Put a few labelled images of `split` below a folder and return the data's root; here: draw them."""
        if self.record.generate is None:
            raise SkipTest("it draws no data; a test of the plugin says in write_sample what to read")
        self.record.generate(self.chosen, folder, self.split, lambda done, total: None)
        return folder

    @contextmanager
    def sample(self) -> Iterator[Path]:
        """Have the sample in a folder meanwhile."""
        with tempfile.TemporaryDirectory() as folder:
            yield self.write_sample(Path(folder))

    def read(self, root: Path, split: str) -> Split:
        """Read a split."""
        found: Split = self.record.read(self.chosen, root, split)
        return found

    def test_split_is_sound(self) -> None:
        """A split is read with its classes, images and objects, and the checks of data find no error."""
        with self.sample() as root:
            split = self.read(root, self.split)
            findings = [each for each in check_data({split.name: split}) if KINDS[each.kind].severity == "error"]
        expect(split.name == self.split, f"the split is named '{split.name}', was asked for as '{self.split}'")
        expect(split.labelled and bool(split.images), "the sample must have labelled images")
        expect(any(split.objects.values()), "the sample must have objects")
        expect(bool(split.stuff) == self.record.panoptic, "panoptic is said of data that have stuff, and of no other")
        lines = [f"{each.where}: {KINDS[each.kind].many}" for each in findings]
        expect(not lines, "; ".join(lines[:3]))

    def test_read_twice(self) -> None:
        """A split is read the same twice, ids in the same order."""
        with self.sample() as root:
            first, second = self.read(root, self.split), self.read(root, self.split)
        expect(first == second, "the same files gave another split the second time")

    def test_missing_files(self) -> None:
        """Files that are not there are one line for the user, not a traceback."""
        with self.sample() as root, tempfile.TemporaryDirectory() as empty:
            for folder, split in ((Path(empty), self.split), (root, "no-such-split")):
                try:
                    self.read(folder, split)
                except FinesegError as error:
                    expect("\n" not in str(error), "the error has several lines")
                except Exception as error:
                    raise AssertionError(f"{type(error).__name__} was raised, must be FinesegError: {error}") from error
                else:
                    raise AssertionError(f"split '{split}' was read from a folder that lacks it")


class SubmissionConformance(Conformance):
    """Checks of a submission format on `things` classes, `stuff` where its task is panoptic, and a few images.

    `image_ids` and so on of the split can be replaced in `drawn`; `per_image` are the predictions of an image.
    """

    kind = "submission"
    things: ClassVar[int] = 3
    stuff: ClassVar[int] = 2
    per_image: ClassVar[int] = 6

    def drawn(self, folder: Path) -> Split:
        """Draw the split that is handed in."""
        return draw_split(folder, things=self.things, stuff=self.stuff if self.record.task == "panoptic" else 0)

    def predictions(self, split: Split) -> dict[int, Any]:
        """Draw predictions of the split's images, the last of which has none."""
        rng = np.random.default_rng(0)
        found: dict[int, Any] = {}
        for image in split.images:
            size = (image.height, image.width)
            if self.record.task == "panoptic":
                labels = rng.permutation(len(split.panoptic_categories)).tolist()
                found[image.id] = draw_map(rng, size, labels, image_id=image.id)
            else:
                count = 0 if image is split.images[-1] else self.per_image
                found[image.id] = draw_instances(rng, size, count, len(split.categories), image_id=image.id)
        return found

    @contextmanager
    def written(self) -> Iterator[tuple[Split, Mapping[int, Any], Path]]:
        """Have a split, its predictions and the file of them meanwhile."""
        with tempfile.TemporaryDirectory() as folder:
            split = self.drawn(Path(folder))
            predictions = self.predictions(split)
            path = self.record.write(self.chosen, split, predictions, Path(folder) / f"file{self.record.suffix}")
            yield split, predictions, path

    def test_checker_passes_what_is_written(self) -> None:
        """What is written passes the format's own checker."""
        with self.written() as (split, _, path):
            expect(path.is_file(), f"write returned {path}, which is no file")
            faults = self.record.check(self.chosen, split, path)
        expect(faults == [], f"the checker refuses what was written: {'; '.join(faults[:3])}")

    def test_same_twice(self) -> None:
        """Equal predictions give equal bytes."""
        with self.written() as (split, predictions, path):
            other = self.record.write(self.chosen, split, predictions, path.with_name(f"again{self.record.suffix}"))
            expect(path.read_bytes() == other.read_bytes(), "the same predictions gave another file")

    def test_read_back(self) -> None:
        """What is read back is what was written."""
        if self.record.read is None:
            raise SkipTest("it reads nothing back")
        with self.written() as (split, predictions, path):
            found = self.record.read(self.chosen, split, path)
        for image in split.images:
            given, got = predictions[image.id], found.get(image.id)
            if isinstance(given, PanopticMap):
                panoptic = got if isinstance(got, PanopticMap) else None
                expect(panoptic is not None, f"image {image.id} is not read back")
                expect(_areas(given) == _areas(panoptic), f"image {image.id} is read back with other segments")
                continue
            if got is None and not len(given):
                continue
            expect_instances(got, (image.height, image.width), len(split.categories), image_id=image.id)
            expect(_rows(given) == _rows(got), f"image {image.id} is read back with other labels, masks or scores")

    def test_damaged_file(self) -> None:
        """Of a file that is cut off, empty or absent the checker says what is wrong."""
        with self.written() as (split, _, path):
            whole = path.read_bytes()
            for content in (whole[: len(whole) // 2], b"", None):
                path.unlink(missing_ok=True)
                if content is not None:
                    path.write_bytes(content)
                faults = self.record.check(self.chosen, split, path)
                expect(bool(faults), f"the checker finds nothing wrong with {_named(content)} file")

    def test_image_without_prediction(self) -> None:
        """An image that was not predicted is an error, and leaves no file."""
        with tempfile.TemporaryDirectory() as folder:
            split = self.drawn(Path(folder))
            some = {key: value for key, value in self.predictions(split).items() if key != split.images[0].id}
            path = Path(folder) / f"file{self.record.suffix}"
            try:
                self.record.write(self.chosen, split, some, path)
            except FinesegError:
                expect(not path.exists(), "a file was left behind")
            else:
                raise AssertionError("a file without one of the images was written; raise FinesegError")


def _named(content: bytes | None) -> str:
    return "an absent" if content is None else "a damaged" if content else "an empty"


def _areas(panoptic: PanopticMap | None) -> tuple[tuple[int, ...], list[tuple[int, bytes]]]:
    """Return the map's shape, and label and pixels of every segment in an order of their own: ids are free."""
    if panoptic is None:
        return (), []
    return panoptic.ids.shape, sorted((each.label, (panoptic.ids == each.id).tobytes()) for each in panoptic.segments)


def _rows(instances: Instances | None) -> list[tuple[int, bytes, float]]:
    """Return labels, masks and scores, rounded to two decimals, in an order of their own."""
    if instances is None:
        return []
    scores = instances.scores.astype(float).round(2).tolist()
    return sorted(zip(instances.labels.tolist(), map(bytes, instances.masks), scores, strict=True))
