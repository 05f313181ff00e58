"""Whether the parts that a profile chooses go with its competition's task: checked before anything runs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from fineseg.catalog import Catalog
from fineseg.errors import FinesegError
from fineseg.parts import Dataset, FuserInput, Head, ModelScore, Output, PanopticFuser, Part, Submission
from fineseg.profile.combine_schema import DENSE, CombineTable

PANOPTIC: Output = "panoptic"
WHY = f'competition.task is "{PANOPTIC}"'
WORDS: dict[Output, str] = {
    "instances": "finds instances",
    "semantic": "scores the class of every pixel",
    "panoptic": "makes panoptic maps",
}


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
    heads = dict(_heads(tables, catalog))
    if task == PANOPTIC:
        return (
            faults + _data_faults(tables, catalog) + _model_faults(tables, catalog, heads) + _look_faults(tables, heads)
        )
    if task == "instance":
        faults += [
            f"{_place(name)}: '{head.name}' finds no instances, and competition.task is \"instance\""
            for name, head in heads.items()
            if "instances" not in head.gives
        ]
        faults += [
            f'combine.{way}: makes panoptic maps, and competition.task is "instance"; choose an ensembler'
            for way in ("fuser", "dense")
            if way in _value(tables, "combine")
        ]
    return faults


def _data_faults(tables: Mapping[str, Any], catalog: Catalog) -> list[str]:
    data = _value(tables, "data")
    faults = [
        f"data.dataset: '{part.name}' has no stuff, and {WHY}; {_fitting(catalog, 'dataset')}"
        for part in _chosen(catalog, "dataset", data.get("dataset"))
        if isinstance(part, Dataset) and not part.panoptic
    ]
    if "merge" in _value(data, "validation"):
        faults.append(f"data.validation.merge: ensemblers merge instances, and {WHY}; leave it out")
    return faults


def _model_faults(tables: Mapping[str, Any], catalog: Catalog, heads: Mapping[str, Head]) -> list[str]:
    """Return a line for each thing that a map needs and no chosen model gives, and for what cannot combine them."""
    combine = _value(tables, "combine")
    if "ensembler" in combine:
        return [f"combine.ensembler: ensemblers merge instances, and {WHY}; choose a fuser, or dense = {{ ... }}"]
    faults = _fuser_faults(tables, catalog, heads) if "fuser" in combine else []
    if "fuser" not in combine and heads and not any(PANOPTIC in head.gives for head in heads.values()):
        fusers = catalog.names("panoptic-fuser")
        fuse = f", or [combine] fuser = FUSER ({', '.join(fusers)})" if fusers and "dense" not in combine else ""
        faults.append(f"models: none {WORDS[PANOPTIC]}, and {WHY}; {_fitting(catalog, 'head')}{fuse}")
    together = (_value(_value(combine, "dense"), "weights") or heads) if "dense" in combine else ()
    return faults + [
        f"{_place(name)}: '{heads[name].name}' does not go step by step with others, as combine.dense needs"
        for name in together
        if name in heads and not heads[name].dense
    ]


def _fuser_faults(tables: Mapping[str, Any], catalog: Catalog, heads: Mapping[str, Head]) -> list[str]:
    """Return a line for each thing that a fuser needs and none of the models that it is given gives."""
    try:
        table = CombineTable.model_validate(_value(tables, "combine"))
    except ValidationError:
        return []  # the schema's own check has said so
    given = table.fused_of(tuple(heads))
    named: dict[str, Sequence[Output]] = {name: heads[name].gives for name in given if name in heads}
    named |= {DENSE: tuple(WORDS)} if DENSE in given else {}
    where = "models" if table.models is None else "combine.models"
    outputs: tuple[Output, ...] = ("instances", "semantic")
    faults = [
        f"{where}: none {WORDS[output]}, and {WHY}; {_fitting(catalog, 'head', output)}"
        for output in outputs
        if named and not any(output in gives for gives in named.values())
    ]
    lost = {name: {"semantic"} if _setting(tables, "predict", name, "semantic") == "none" else set() for name in named}
    kept = {name: [o for o in outputs if o in gives and o not in lost[name]] for name, gives in named.items()}
    scored = any("semantic" in gives for gives in named.values())
    if scored and not any("semantic" in gives for gives in kept.values()):
        faults.append('predict.semantic: a fuser reads the scores of all classes, which "none" does not keep')
    return faults or _build_faults(catalog, table, kept)


def _build_faults(catalog: Catalog, table: CombineTable, gives: Mapping[str, Sequence[Output]]) -> list[str]:
    """Return what a fuser says of its options and its models, before anything is measured of these."""
    scores = [ModelScore(name, float("nan"), ()) for name in gives]
    for part in _chosen(catalog, "panoptic-fuser", table.fuser and table.fuser.name):
        if isinstance(part, PanopticFuser) and table.fuser is not None:
            try:
                part.build(part.options.model_validate(table.fuser.options), FuserInput(0, 0, scores, gives))
            except ValidationError:
                continue  # the check of all parts has said so
            except FinesegError as error:
                return [f"combine.fuser: {error}"]
    return []


def _look_faults(tables: Mapping[str, Any], heads: Mapping[str, Head]) -> list[str]:
    """Refuse views of heads whose maps cannot be made of several."""
    faults = []
    for name, head in heads.items():
        views, merge = (_setting(tables, "predict", name, key) for key in ("tta", "merge_views"))
        if views and PANOPTIC in head.gives and not head.dense:
            faults.append(
                f"{_place(name)}: '{head.name}' makes its maps of one view; leave out predict.tta, or say "
                f"models.{name}.predict.tta = []"
            )
        elif views and PANOPTIC in head.gives and merge not in (None, "shared-proposals"):
            faults.append(
                f"{_place(name)}: the views of '{head.name}' become one map by shared proposals; leave out "
                "predict.merge_views"
            )
    return faults


def _heads(tables: Mapping[str, Any], catalog: Catalog) -> Iterator[tuple[str, Head]]:
    """Yield the known heads of the chosen models by the names of their predictions: MODEL, or MODEL/END."""
    chosen, models = _value(tables, "competition").get("models"), _value(tables, "models")
    for name in models:
        if not isinstance(chosen, list | tuple) or name in chosen:
            model = _value(models, name)
            ends = {f"{name}/{end}": choice for end, choice in _value(model, "ends").items()}
            for place, choice in (ends or {name: model.get("head")}).items():
                for part in _chosen(catalog, "head", choice):
                    if isinstance(part, Head):
                        yield place, part


def _place(prediction: str) -> str:
    """Return the key of the head that makes a prediction."""
    model, slash, end = prediction.rpartition("/")
    return f"models.{model}.ends.{end}" if slash else f"models.{end}.head"


def _setting(tables: Mapping[str, Any], table: str, prediction: str, key: str) -> Any:
    """Return a key of `[predict]` or `[train]` as a prediction's model has it, None where nobody says it.

    No model is called `dense`: that is an ensemble, which goes by the common table.
    """
    own = _value(_value(_value(tables, "models"), prediction.partition("/")[0]), table)
    return own.get(key, _value(tables, table).get(key))


def _fitting(catalog: Catalog, kind: str, output: Output = PANOPTIC) -> str:
    names = [entry.part.name for entry in catalog.of_kind(kind) if _fits(entry.part, output)]
    return f"choose {' or '.join(names)}" if names else f"install a plugin with a {kind} that does"


def _fits(part: Part, output: Output) -> bool:
    return part.panoptic if isinstance(part, Dataset) else isinstance(part, Head) and output in part.gives


def _chosen(catalog: Catalog, kind: str, choice: Any) -> Sequence[Part]:
    name = choice.get("name") if isinstance(choice, Mapping) else choice
    return [entry.part for entry in catalog.of_kind(kind) if entry.part.name == name]


def _value(tables: Any, key: str) -> Mapping[str, Any]:
    """Return the table under a key, an empty one for whatever is none."""
    found = tables.get(key) if isinstance(tables, Mapping) else None
    return found if isinstance(found, Mapping) else {}
