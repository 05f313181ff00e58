"""The store of panoptic maps and scores: what is written comes back, and what is damaged is said in one line."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from panoptic_cases import draw_pair, draw_scores

from fineseg import FinesegError, PanopticMap, Segment, make_instances
from fineseg.panoptic_predictions import PanopticAnswer, StoredMaps, panoptic_file, read_panoptic, write_panoptic
from fineseg.semantic_store import SemanticScores, decode, encode_compact

CLASSES = 7


def answers(count: int = 4) -> list[PanopticAnswer]:
    rng = np.random.default_rng(5)
    made = []
    for number in range(count):
        _, found = draw_pair(rng, 100 + number, CLASSES)
        height, width = found.ids.shape
        scores = draw_scores(rng, found, CLASSES, (height, width))
        instances = make_instances(found.image_id, (height, width), [], [], [], [])
        made.append(PanopticAnswer(instances, found, SemanticScores(scores, (height, width))))
    nothing = PanopticMap(99, np.zeros((3, 5), np.int32), ())
    scores = SemanticScores(np.full((CLASSES, 1, 2), 1 / CLASSES, np.float32), (3, 5))
    return [*made, PanopticAnswer(make_instances(99, (3, 5), [], [], [], []), nothing, scores)]


@pytest.mark.parametrize("form", ["compact", "full", "none"])
def test_what_is_written_comes_back(tmp_path: Path, form: str) -> None:
    given = answers()
    files = [panoptic_file(tmp_path / f"0000{n}.parquet") for n in (0, 1)]
    assert files[0].name == "00000.panoptic.parquet"
    said = write_panoptic(files[0], given[:2], form) + write_panoptic(files[1], given[2:], form)
    assert said == [each.instances for each in given]
    maps = StoredMaps(read_panoptic(files, semantic=False))
    assert list(maps) == [each.panoptic.image_id for each in given]
    for each, stored in zip(given, read_panoptic(files, semantic=True), strict=True):
        for found in (maps[each.panoptic.image_id], stored.panoptic()):
            assert np.array_equal(found.ids, each.panoptic.ids)
            assert [(s.id, s.label) for s in found.segments] == [(s.id, s.label) for s in each.panoptic.segments]
        scores = stored.semantic()
        if form == "none":
            assert scores is None
            continue
        wanted = each.semantic if form == "full" else decode(encode_compact(each.semantic), "")
        assert scores is not None and scores.size == wanted.size
        assert np.array_equal(scores.probabilities, wanted.probabilities)
    assert all(stored.semantic() is None for stored in read_panoptic(files, semantic=False))


def test_what_a_model_does_not_tell_is_not_there(tmp_path: Path) -> None:
    whole = answers(2)
    given = [PanopticAnswer(whole[0].instances, None, whole[0].semantic), PanopticAnswer(whole[1].instances)]
    file = panoptic_file(tmp_path / "00000.parquet")
    assert write_panoptic(file, given, "full") == [each.instances for each in given]
    first, second = read_panoptic([file], semantic=True)
    assert [each.image_id for each in (first, second)] == [100, 101]
    assert first.panoptic() is None and second.panoptic() is None and second.semantic() is None
    scores = first.semantic()
    assert scores is not None and np.array_equal(scores.probabilities, whole[0].semantic.probabilities)
    with pytest.raises(ValueError, match="image 100: this model makes no maps"):
        StoredMaps(read_panoptic([file], semantic=False))[100]


def test_a_file_is_whole_or_absent(tmp_path: Path) -> None:
    def broken_off() -> Iterator[PanopticAnswer]:
        yield answers()[0]
        raise KeyError("a model failed")

    with pytest.raises(KeyError):
        write_panoptic(tmp_path / "a.panoptic.parquet", broken_off(), "compact")
    assert not list(tmp_path.iterdir())


def test_damage_is_said_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "a.panoptic.parquet"
    write_panoptic(file, answers(), "compact")
    content = file.read_bytes()
    middle = len(content) // 2
    for damage in (b"", content[:-9], content[:middle] + b"\0" * 40 + content[middle + 40 :], b"PAR1" * 9):
        file.write_bytes(damage)
        with pytest.raises(
            FinesegError, match=r"a\.panoptic\.parquet: is damaged \(.*\); delete the folder .*"
        ) as told:
            for stored in read_panoptic([file], semantic=True):
                stored.panoptic()
                stored.semantic()
        assert "\n" not in str(told.value)
    file.unlink()
    with pytest.raises(FinesegError, match=r"is damaged \(it is missing\)"):
        list(read_panoptic([file], semantic=False))


def test_a_map_that_contradicts_its_list_is_refused(tmp_path: Path) -> None:
    file, one = tmp_path / "a.panoptic.parquet", answers()[0]
    wrong = PanopticMap(100, np.ones((2, 2), np.int32), (Segment(1, 0), Segment(2, 1)))
    write_panoptic(file, [PanopticAnswer(one.instances, wrong, one.semantic)], "none")
    maps = StoredMaps(read_panoptic([file], semantic=False))
    with pytest.raises(FinesegError, match="image 100: segment 2 is listed but has no pixel"):
        maps[100]
