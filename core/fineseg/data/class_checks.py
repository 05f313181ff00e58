"""Classes of splits that are used together: the same under the same ids, with objects to learn from and score on."""

from collections import Counter
from collections.abc import Mapping, Sequence

from fineseg.data.findings import EXAMPLES, Finding
from fineseg.data.split import Category, Split


def differences(first: Sequence[Category], other: Sequence[Category]) -> list[str]:
    """Return how a split's classes differ from those of a first one, in ids and names: a few words each."""
    here, there = {c.id: c.name for c in other}, {c.id: c.name for c in first}
    named = [
        f"id {number} is '{here[number]}', there '{there[number]}'"
        for number in sorted(here.keys() & there.keys())
        if here[number] != there[number]
    ]
    named += [f"it lacks '{there[number]}' (id {number})" for number in sorted(there.keys() - here.keys())]
    named += [f"it adds '{here[number]}' (id {number})" for number in sorted(here.keys() - there.keys())]
    return named


def shown_differences(first: Sequence[Category], other: Sequence[Category]) -> str:
    """Return the first few differences in a line, empty for classes that agree."""
    all_of_them = differences(first, other)
    more = [f"and {len(all_of_them) - EXAMPLES} more"] if len(all_of_them) > EXAMPLES else []
    return "; ".join([*all_of_them[:EXAMPLES], *more])


def check_classes(splits: Mapping[str, Split]) -> list[Finding]:
    """All splits must number the same classes alike, or labels mean something else in each."""
    names = list(splits)
    found = []
    for name in names:
        known = [(c.id, c.name) for c in splits[name].categories]
        for label, count in Counter(class_name for _, class_name in known).items():
            if count > 1:
                found.append(Finding("class-name-twice", name, f"{count} classes are called '{label}'"))
        if known != [(c.id, c.name) for c in splits[names[0]].categories]:
            how = shown_differences(splits[names[0]].categories, splits[name].categories) or "their order"
            found.append(Finding("classes-differ", name, f"its classes differ from those of {names[0]}: {how}"))
    return found


def check_support(splits: Mapping[str, Split], trained: str | None) -> list[Finding]:
    """Find classes without an object to train on, and those that are trained and have none to be scored on.

    `trained` names the split that models are trained on. Crowds are no objects here: neither is learnt from them, nor
    do they score.
    """
    if trained is None or not splits[trained].labelled:
        return []
    names = [category.name for category in splits[trained].categories]
    learnt = _support(splits[trained])
    others = {name: split for name, split in splits.items() if split.labelled and name != trained}
    scored = {name: _support(split) for name, split in others.items()}
    found = []
    for label, class_name in enumerate(names):
        elsewhere = [f"{counts[label]} in {name}" for name, counts in scored.items() if counts[label]]
        if not learnt[label]:
            what = f"class '{class_name}' has no object here, and {' and '.join(elsewhere) or 'none in any split'}"
            found.append(Finding("class-untrained", trained, what))
            continue
        for name in [name for name, counts in scored.items() if not counts[label]]:
            what = f"class '{class_name}' has no object here and gets no score ({learnt[label]} in {trained})"
            found.append(Finding("class-unscored", name, what))
    return found


def _support(split: Split) -> Counter[int]:
    return Counter(each.label for objects in split.objects.values() for each in objects if not each.crowd)
