"""Whether the parts that a profile chooses go with its competition's task: checked before anything runs."""

from collections.abc import Mapping
from typing import Any

from fineseg.catalog import Catalog
from fineseg.parts import Dataset, Head, Part, Submission

PANOPTIC = "panoptic"
WHY = f'competition.task is "{PANOPTIC}"'


def task_faults(tables: Mapping[str, Any], catalog: Catalog) -> list[str]:
    """Return a line for each part that makes or takes other predictions than the task's.

    A task that there is not, and parts that are not known, the other checks tell.
    """
    task = _value(tables, "competition").get("task", "instance")
    faults = [
        f'submission.format: \'{part.name}\' is of the task "{part.task}"; competition.task is "{task}"'
        for part in _chosen(catalog, "submission", _value(tables, "submission").get("format"))
        if isinstance(part, Submission) and part.task != task and task in ("instance", PANOPTIC)
    ]
    return faults + _panoptic_faults(tables, catalog) if task == PANOPTIC else faults


def _panoptic_faults(tables: Mapping[str, Any], catalog: Catalog) -> list[str]:
    data, models = _value(tables, "data"), _value(tables, "models")
    chosen = _value(tables, "competition").get("models")
    faults = [
        f"data.dataset: '{part.name}' has no stuff, and {WHY}; {_fitting(catalog, 'dataset')}"
        for part in _chosen(catalog, "dataset", data.get("dataset"))
        if isinstance(part, Dataset) and not part.panoptic
    ]
    for name, model in models.items():
        head = model.get("head") if isinstance(model, Mapping) else None
        faults += [
            f"models.{name}.head: '{part.name}' makes no panoptic maps, and {WHY}; {_fitting(catalog, 'head')}"
            for part in _chosen(catalog, "head", head)
            if isinstance(part, Head)
            and "panoptic" not in part.gives
            and (not isinstance(chosen, list) or name in chosen)
        ]
    if "combine" in tables:
        faults.append(f"combine: ensemblers merge instances, and {WHY}; leave it out: the model of the best PQ stands")
    if "merge" in _value(data, "validation"):
        faults.append(f"data.validation.merge: ensemblers merge instances, and {WHY}; leave it out")
    looks = {"predict": tables, **{f"models.{name}.predict": model for name, model in models.items()}}
    faults += [
        f"{path}.tta: one view of an image is all that makes a panoptic map; leave it out, as {WHY}"
        for path, table in looks.items()
        if _value(table, "predict").get("tta")
    ]
    return faults


def _fitting(catalog: Catalog, kind: str) -> str:
    names = [entry.part.name for entry in catalog.of_kind(kind) if _makes_maps(entry.part)]
    return f"choose {' or '.join(names)}" if names else f"install a plugin with a {kind} that does"


def _makes_maps(part: Part) -> bool:
    return part.panoptic if isinstance(part, Dataset) else isinstance(part, Head) and "panoptic" in part.gives


def _chosen(catalog: Catalog, kind: str, choice: Any) -> list[Part]:
    name = choice.get("name") if isinstance(choice, Mapping) else choice
    return [entry.part for entry in catalog.of_kind(kind) if entry.part.name == name]


def _value(tables: Any, key: str) -> Mapping[str, Any]:
    """Return the table under a key, an empty one for whatever is none."""
    found = tables.get(key) if isinstance(tables, Mapping) else None
    return found if isinstance(found, Mapping) else {}
