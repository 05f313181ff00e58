"""Weights of models from what they measured. Letters: M models, C classes. AP in any unit; nan means not measured."""

import numpy as np


def linear_interpolation(ap: np.ndarray, theta_min: float, theta_max: float) -> np.ndarray:
    """Map AP [M] linearly to weights [M] in theta_min..theta_max.

    Eq. 1 of "Towards Fine-grained Large Object Segmentation": theta_min + (theta_max - theta_min) * (s_i - min S) /
    (max S - min S). A single model, equal AP, or none measured at all: theta_max. A model without a measured AP beside
    models with one: theta_min.
    """
    ap = np.asarray(ap, dtype=np.float64)
    measured = ~np.isnan(ap)
    weights = np.full(len(ap), theta_min if measured.any() else theta_max)
    known = ap[measured]
    if not known.size:
        return weights
    spread = known.max() - known.min()
    share = (known - known.min()) / spread if spread > 0 else np.ones_like(known)
    weights[measured] = theta_min + (theta_max - theta_min) * share
    return weights


def linear_reweight(ap: np.ndarray, theta: float) -> np.ndarray:
    """Turn AP [M] or [M, C] into weights of that shape by rank: 1 - i * (1 - theta) / (M - 1), i = 0 for the best.

    The Linear-Reweight of arXiv 2008.01365, ranked within each column. Equal AP share the mean of their ranks, so the
    order of the models never matters; models without a measured AP are equal and last. A single model: 1.
    """
    ap = np.asarray(ap, dtype=np.float64)
    models = len(ap)
    if models < 2:
        return np.ones_like(ap)
    comparable = np.where(np.isnan(ap), -np.inf, ap)
    mine, others = comparable[:, None], comparable[None, :]  # [M, 1, ...] against [1, M, ...]
    ahead = (others > mine).sum(axis=1)
    tied = (others == mine).sum(axis=1) - 1  # without the model itself
    weights: np.ndarray = 1.0 - (ahead + tied / 2) * (1.0 - theta) / (models - 1)
    return weights
