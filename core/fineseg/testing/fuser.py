"""Checks of panoptic fusers: their contract on random instances and scores."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from fineseg.data.panoptic import PanopticMap
from fineseg.errors import FinesegError
from fineseg.parts import FuserInput, PanopticEnd
from fineseg.testing.conformance import Conformance, expect
from fineseg.testing.drawn import Size, draw_instances, draw_scores, draw_semantic
from fineseg.testing.sound import expect_map

IMAGE = 9


class PanopticFuserConformance(Conformance):
    """Checks of a panoptic fuser on `things` and `stuff` classes; one that refuses several models is checked on one."""

    kind = "panoptic-fuser"
    things: ClassVar[int] = 3
    stuff: ClassVar[int] = 2
    rounds: ClassVar[int] = 6

    def fuse(self, ends: Sequence[PanopticEnd], seed: int = 0) -> PanopticMap:
        """Build the fuser and fuse one image."""
        scores = draw_scores(np.random.default_rng(seed), len(ends), self.things)
        built = self.record.build(self.chosen, FuserInput(self.things, self.stuff, tuple(scores)))
        fused: PanopticMap = built(ends)
        return fused

    def draw(self, seed: int, size: Size, counts: Sequence[int]) -> list[PanopticEnd]:
        """Draw what models say of one image: so many instances each, and scores of all classes."""
        rng = np.random.default_rng(seed)
        return [
            PanopticEnd(
                f"model {n}",
                draw_instances(rng, size, count, self.things, image_id=IMAGE),
                draw_semantic(rng, size, self.things + self.stuff),
            )
            for n, count in enumerate(counts)
        ]

    def most_models(self) -> int:
        """Return 3, or 1 where it takes no more and says so."""
        try:
            self.fuse(self.draw(0, (40, 52), [1, 1]))
        except FinesegError:
            return 1
        return 3

    def test_random_predictions(self) -> None:
        """Random instances and scores of one to three models make a sound map."""
        for seed in range(self.rounds):
            counts = np.random.default_rng(seed).integers(0, 12, 1 + seed % self.most_models()).tolist()
            fused = self.fuse(self.draw(seed, (40, 52), counts), seed)
            expect_map(fused, (40, 52), self.things, self.stuff, image_id=IMAGE)

    def test_no_instances(self) -> None:
        """An image in which no model found an instance gets a map."""
        expect_map(self.fuse(self.draw(1, (40, 52), [0])), (40, 52), self.things, self.stuff, image_id=IMAGE)

    def test_one_pixel(self) -> None:
        """An image of one pixel gets a map."""
        expect_map(self.fuse(self.draw(2, (1, 1), [2])), (1, 1), self.things, self.stuff, image_id=IMAGE)

    def test_deterministic(self) -> None:
        """The same ends make the same map."""
        ends = self.draw(3, (40, 52), [6] * self.most_models())
        first, second = self.fuse(ends), self.fuse(ends)
        same = np.array_equal(first.ids, second.ids) and first.segments == second.segments
        expect(same, "a second call made another map")
