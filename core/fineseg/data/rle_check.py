"""Is a compressed COCO RLE sound? Asked before pycocotools sees it, which does not ask.

pycocotools 2.0 reads past the end of counts that stop inside a number, and returns memory that nobody wrote for runs
that do not cover the image. All strings of a file are decoded together here, some 30 million characters a second.

A string holds numbers of one to seven characters, each of five bits and a flag that more follow. From the fourth number
on, COCO stores the difference to the run two before. Letters: M strings, N numbers in all of them.
"""

from collections.abc import Iterator, Sequence

import numpy as np

_CHUNK = 200_000  # characters decoded at a time, small enough for the cache
_LONGEST_NUMBER = 7  # characters: 35 bits, beyond any image
_MORE = 32  # flag of a character that another one of the same number follows


def find_unsound(counts: Sequence[bytes], pixels: Sequence[int]) -> dict[int, str]:
    """Return what is wrong with compressed counts, by position; `pixels` are the images' height times width."""
    faults: dict[int, str] = {}
    for start, stop in _chunks(counts):
        strange = {start + i: text for i, text in _check_characters(counts[start:stop]).items()}
        kept = [i for i in range(start, stop) if i not in strange]
        faults.update(strange)
        if kept:
            wrong = _check_runs([counts[i] for i in kept], np.array([pixels[i] for i in kept], dtype=np.int64))
            faults.update({kept[i]: text for i, text in wrong.items()})
    return faults


def _chunks(counts: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    start, size = 0, 0
    for index, text in enumerate(counts):
        size += len(text)
        if size >= _CHUNK:
            yield start, index + 1
            start, size = index + 1, 0
    if start < len(counts):
        yield start, len(counts)


def _check_characters(counts: Sequence[bytes]) -> dict[int, str]:
    """Find strings that are empty, hold a character outside of '0'..'o', or stop inside a number."""
    digits, ends = _digits(counts)
    strange = np.searchsorted(ends, np.flatnonzero(digits > 63), side="right")
    faults = {int(i): "counts holds a character that no RLE has" for i in np.unique(strange)}
    for index, text in enumerate(counts):
        if not text:
            faults[index] = "counts is empty"
        elif index not in faults and (text[-1] - 48) & _MORE:
            faults[index] = "counts stops inside a number"
    return faults


def _digits(counts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Return all characters less 48 as uint8 (so what lies below '0' becomes large), and where each string ends [M]."""
    lengths = np.fromiter(map(len, counts), dtype=np.int64, count=len(counts))
    return np.frombuffer(b"".join(counts), dtype=np.uint8) - np.uint8(48), np.cumsum(lengths)


def decode_runs(counts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Return the runs [N] of sound compressed counts, at least one, string after string, and each string's end [M].

    A string's runs are numbers of pixels, column by column, without and with the mask by turns, without it first.
    """
    runs, stops, _ = _runs(counts)
    return runs, stops


def _runs(counts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the runs [N], each string's end [M], and the positions of runs that are stated too long."""
    digits, ends = _digits(counts)
    values, number_ends, long = _numbers(digits)
    stops = np.searchsorted(number_ends, ends - 1) + 1
    return _undo_differences(values, np.concatenate([[0], stops[:-1]]), stops), stops, long


def _check_runs(counts: Sequence[bytes], pixels: np.ndarray) -> dict[int, str]:
    """Find strings, of good characters, with runs that are negative, too long, or do not sum up to the pixels [M]."""
    runs, stops, long = _runs(counts)
    first = np.concatenate([[0], stops[:-1]])
    total = np.add.reduceat(runs, first)
    impossible = np.minimum.reduceat(runs, first) < 0
    impossible[np.searchsorted(stops, long, side="right")] = True
    faults = {int(i): "counts holds a run of impossible length" for i in np.flatnonzero(impossible)}
    for i in np.flatnonzero(~impossible & (total != pixels)):
        faults[int(i)] = f"the runs of counts cover {total[i]} pixels; the image has {pixels[i]}"
    return faults


def _numbers(digits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the signed numbers [N], where each ends, and the positions among them of those that are too long."""
    ends = np.flatnonzero(digits < _MORE)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    long = np.flatnonzero(lengths > _LONGEST_NUMBER)
    lengths = np.minimum(lengths, _LONGEST_NUMBER)
    values = (digits[starts] & 31).astype(np.int64)
    longer = np.flatnonzero(lengths > 1)
    for place in range(1, _LONGEST_NUMBER):
        values[longer] |= (digits[starts[longer] + place] & 31).astype(np.int64) << (5 * place)
        longer = longer[lengths[longer] > place + 1]
    negative = np.flatnonzero(digits[ends] & 16)
    values[negative] -= np.int64(1) << (5 * lengths[negative])
    return values, ends, long


def _undo_differences(values: np.ndarray, first: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """Return the runs [N]: within a string, every number from the fourth on is added to the run two before it.

    Every other number is summed up over all strings [N]; what stood before a string's chain began is taken off again.
    """
    sums = np.empty_like(values)
    sums[0::2] = np.cumsum(values[0::2])
    sums[1::2] = np.cumsum(values[1::2])
    before_odd = np.where(first > 0, sums[first - 1], 0)
    lengths = stops - first
    is_odd = (np.arange(len(values)) - np.repeat(first, lengths)) & 1
    base = np.repeat(sums[first], lengths) + is_odd * np.repeat(before_odd - sums[first], lengths)
    runs: np.ndarray = sums - base
    runs[first] = values[first]
    return runs
