"""Masks fused by a weighted vote of their pixels, on run-length encodings: no image is ever decoded.

A run's end is where a mask's vote starts or stops to count; between two such places all pixels have the same votes.

Letters: N masks, K clusters, E ends of runs; a place is a pixel's number, column by column.
"""

from collections.abc import Sequence

import numpy as np

from fineseg.data.masks import areas, to_rle
from fineseg.data.rle_check import decode_runs

_BITS = 48  # votes are whole numbers of this size, so that no order of adding them up changes the outcome
_TIE = 30  # bits below which a majority is the rounding of a tie: 0.1 and 0.2 do not outvote 0.3, nor the reverse


def vote(counts: Sequence[bytes], weights: np.ndarray, of_mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the fused mask of each cluster, object [K] of compressed counts.

    A pixel belongs to it where members with more than half of the cluster's weight have it: a part of the members'
    union that contains their intersection. counts [N] are masks of one image of `height` and `width`, weights [N] above
    0, `of_mask` [N] the cluster (0..K-1, none empty) of each. Where no pixel has so many votes, the cluster has the
    mask of its heaviest member, at equal weights the first. A mask without a pixel does not vote.
    """
    if not len(counts):
        return np.empty(0, dtype=object)
    weights = np.where(areas(counts, height, width) > 0, weights, 0.0)
    masks = np.empty(len(counts), dtype=object)
    masks[:] = list(counts)
    order = np.lexsort((-weights, of_mask))
    _, first, sizes = np.unique(of_mask[order], return_index=True, return_counts=True)
    heaviest = order[first]
    fused: np.ndarray = masks[heaviest]
    _, exponents = np.frexp(weights[heaviest])
    shares = np.round(np.ldexp(weights, _BITS - exponents[of_mask])).astype(np.int64)
    totals = np.zeros(len(heaviest), dtype=np.int64)
    np.add.at(totals, of_mask, shares)
    # Who has more than half of the weight has its way; the others are counted.
    counted = (sizes > 1) & ~_majority(shares[heaviest], totals)
    voters = np.flatnonzero(counted[of_mask])
    if len(voters):
        given = masks[voters].tolist()
        for cluster, mask in _count(given, shares[voters], of_mask[voters], totals, height, width):
            fused[cluster] = mask
    return fused


def _majority(votes: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Return whether votes are more than half of the totals."""
    more: np.ndarray = votes - (totals - votes) > totals >> _TIE
    return more


def _count(
    counts: Sequence[bytes], shares: np.ndarray, of_mask: np.ndarray, totals: np.ndarray, height: int, width: int
) -> list[tuple[int, bytes]]:
    """Return (cluster, mask) of all clusters that have a pixel with more than half of their shares, `totals` [K]."""
    pixels = height * width
    line = pixels + 1  # clusters stand one behind the other on one line
    places, votes = _ends(counts, shares, of_mask, pixels, line)
    order = np.argsort(places)
    places, votes = places[order], np.cumsum(votes[order])
    last = np.flatnonzero(np.diff(places, append=-1))  # of those at one place
    places, votes = places[last], votes[last]
    inside = _majority(votes, totals[places // line])
    turns = places[np.flatnonzero(np.diff(inside, prepend=False))]
    if not len(turns):
        return []
    owners = turns // line
    clusters, starts = np.unique(owners, return_index=True)
    fused = []
    for cluster, turn in zip(clusters.tolist(), np.split(turns - owners * line, starts[1:]), strict=True):
        runs = np.diff(turn, prepend=0, append=pixels)
        runs = runs[:-1] if runs[-1] == 0 else runs
        fused.append((cluster, to_rle({"size": [height, width], "counts": runs.tolist()}, height, width)["counts"]))
    return fused


def _ends(
    counts: Sequence[bytes], shares: np.ndarray, of_mask: np.ndarray, pixels: int, line: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of all runs [E], as places on the line, and the share that comes in there or, negative, goes."""
    runs, stops = decode_runs(counts)
    lengths = np.diff(stops, prepend=0)
    owner = np.repeat(np.arange(len(counts)), lengths)
    number = np.arange(len(runs)) - np.repeat(stops - lengths, lengths)
    ends = np.cumsum(runs) - pixels * owner  # the runs of each mask sum up to the pixels
    counted = (ends < pixels) | (number % 2 == 1)  # what begins behind the last pixel never ends
    owner, ends, number = owner[counted], ends[counted], number[counted]
    return of_mask[owner] * line + ends, np.where(number % 2 == 0, shares[owner], -shares[owner])
