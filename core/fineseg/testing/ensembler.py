"""Checks of ensemblers: their contract on random predictions."""

from collections.abc import Sequence
from typing import ClassVar
from unittest import SkipTest

import numpy as np

from fineseg.errors import FinesegError
from fineseg.parts import ModelScore
from fineseg.predictions import Instances, concatenate
from fineseg.testing.conformance import Conformance, expect
from fineseg.testing.drawn import Size, draw_instances, draw_scores
from fineseg.testing.sound import expect_instances, same_instances

IMAGE = 9


class EnsemblerConformance(Conformance):
    """Checks of an ensembler. `classes` and `rounds` are how many classes and random cases there are."""

    kind = "ensembler"
    classes: ClassVar[int] = 4
    rounds: ClassVar[int] = 12

    def merge(self, scores: Sequence[ModelScore], members: Sequence[Instances]) -> Instances:
        """Build the ensembler and merge one image."""
        merged: Instances = self.record.build(self.chosen, scores)(members)
        return merged

    def draw(self, seed: int, size: Size, counts: Sequence[int]) -> tuple[list[ModelScore], list[Instances]]:
        """Draw what models measured, and what they say of one image: `counts` instances each."""
        rng = np.random.default_rng(seed)
        members = [draw_instances(rng, size, count, self.classes, image_id=IMAGE) for count in counts]
        return draw_scores(rng, len(counts), self.classes), members

    def expect_sound(self, size: Size, members: Sequence[Instances], merged: Instances) -> None:
        """Raise `AssertionError` unless the merged are sound and of classes that some member saw."""
        expect_instances(merged, size, self.classes, image_id=IMAGE)
        foreign = set(merged.labels.tolist()) - set(concatenate(members).labels.tolist())
        expect(not foreign, f"labels {sorted(foreign)} are no member's")

    def test_random_predictions(self) -> None:
        """Random predictions of one to four models merge into sound instances."""
        for seed in range(self.rounds):
            counts = np.random.default_rng(seed).integers(0, (1, 3, 12, 40)[seed % 4] + 1, 1 + seed % 4).tolist()
            scores, members = self.draw(seed, (40, 50), counts)
            self.expect_sound((40, 50), members, self.merge(scores, members))

    def test_nothing_detected(self) -> None:
        """No instances in, none out; also where one of several models found none."""
        scores, members = self.draw(0, (40, 50), [0, 0])
        merged = self.merge(scores, members)
        self.expect_sound((40, 50), members, merged)
        expect(not len(merged), f"{len(merged)} instances were made of none")
        scores, members = self.draw(1, (40, 50), [0, 5, 0])
        self.expect_sound((40, 50), members, self.merge(scores, members))

    def test_one_pixel(self) -> None:
        """An image of one pixel is merged."""
        scores, members = self.draw(2, (1, 1), [2, 3])
        self.expect_sound((1, 1), members, self.merge(scores, members))

    def test_deterministic(self) -> None:
        """The same members merge into the same, to the digit, and are left as they were."""
        scores, members = self.draw(3, (40, 50), [12, 12, 12])
        _, copies = self.draw(3, (40, 50), [12, 12, 12])
        merge = self.record.build(self.chosen, scores)
        first, second = merge(members), merge(members)
        expect(same_instances(first, second), "a second call merged the same members into something else")
        expect(same_instances(first, self.merge(scores, members)), "a second build merges into something else")
        untouched = all(same_instances(*pair) for pair in zip(members, copies, strict=True))
        expect(untouched, "the members that were given have been changed; work on copies")

    def test_nothing_measured(self) -> None:
        """It merges results of which AP alone, or nothing, is known, as by `fineseg ensemble`, or refuses."""
        _, members = self.draw(5, (40, 50), [8, 0, 8])
        for aps in ((30.0, 20.0, 10.0), (float("nan"),) * 3):
            scores = [ModelScore(f"file {n}", ap, ()) for n, ap in enumerate(aps, start=1)]
            try:
                merged = self.merge(scores, members)
            except FinesegError as refusal:
                raise SkipTest(f"it refuses: {refusal}") from None
            self.expect_sound((40, 50), members, merged)

    def test_views_of_one_model(self) -> None:
        """It merges the views of a TTA too, of which nothing was measured, or says what it lacks."""
        _, members = self.draw(4, (40, 50), [8, 8])
        scores = [ModelScore(f"view {n}", 100.0, (100.0,) * self.classes) for n in (1, 2)]
        try:
            merged = self.merge(scores, members)
        except FinesegError as refusal:
            raise SkipTest(f"it refuses: {refusal}") from None
        self.expect_sound((40, 50), members, merged)
