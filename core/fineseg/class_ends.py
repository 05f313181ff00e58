"""Which of several models speaks for each class: the one with the better mask AP on held-out images.

The task level of AntVisionPS's two-level fusion (COCO panoptic challenge 2019): of each thing class the instances of
one model count, and of the others none. Letters: M models, C classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fineseg.data.split import Category
from fineseg.errors import FinesegError
from fineseg.parts import ModelScore


@dataclass(frozen=True)
class ClassTable:
    """The choice and what it was made by.

    `ap` [C][M] in percent, nan where it was not measured; `chosen` [C] and `default` are positions in `models`.
    """

    models: tuple[str, ...]
    overall: tuple[float, ...]
    ap: tuple[tuple[float, ...], ...]
    support: tuple[int, ...]
    chosen: tuple[int, ...]
    default: int

    def classes_of(self, model: int) -> int:
        """Return the number of classes that a model speaks for."""
        return self.chosen.count(model)

    def plain(self, categories: Sequence[Category]) -> dict[str, Any]:
        """Return JSON-ready data; `categories` [C] are the classes. AP that was not measured is null."""
        rows = []
        for label, (category, chosen) in enumerate(zip(categories, self.chosen, strict=True)):
            row = {"id": category.id, "name": category.name, "from": self.models[chosen]}
            objects = {"objects": self.support[label]} if self.support else {}
            rows.append({**row, **objects, "ap": self._by_model(self.ap[label])})
        return {"default": self.models[self.default], "ap": self._by_model(self.overall), "classes": rows}

    def _by_model(self, values: Sequence[float]) -> dict[str, float | None]:
        known = [None if math.isnan(value) else value for value in values]
        return dict(zip(self.models, known, strict=True))


def class_table(scores: Sequence[ModelScore], *, default: str = "", margin: float = 0.0) -> ClassTable:
    """Choose for each class the model of the highest AP.

    The `default` model keeps a class in which none is better by more than `margin` [percent], so also at equal AP and
    where the class is absent from the held-out images; "" is the one of the highest AP over all classes. Of others
    that are equal the first is taken. A model whose AP in a class was not measured, where it was of others, is behind
    them. Raises `FinesegError` for models that were measured on other classes, and for a default that is none of them.
    """
    models = tuple(score.model for score in scores)
    sizes = {score.model: len(score.per_class) for score in scores}
    if not scores or len(set(sizes.values())) != 1 or 0 in sizes.values():
        given = ", ".join(f"{model}: {size}" for model, size in sizes.items()) or "no model"
        raise FinesegError(f"class table: wants one AP a class from every model, got {given}; measure all on one split")
    if default and default not in models:
        raise FinesegError(f"class table: default '{default}' is no model that has instances: {', '.join(models)}")
    overall = [_known(score.ap) for score in scores]
    kept = models.index(default) if default else overall.index(max(overall))
    ap = tuple(zip(*(score.per_class for score in scores), strict=True))
    chosen = tuple(_chosen([_known(value) for value in row], kept, margin) for row in ap)
    return ClassTable(models, tuple(score.ap for score in scores), ap, scores[0].support, chosen, kept)


def _chosen(row: Sequence[float], default: int, margin: float) -> int:
    best = max(row)
    better = best > row[default] and (math.isinf(row[default]) or best - row[default] > margin)
    return row.index(best) if better else default


def _known(ap: float) -> float:
    return -math.inf if math.isnan(ap) else ap
