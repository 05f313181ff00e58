"""A submission's record as a short page of aligned lines.

Records come out of files that anybody may have written: what is not as fineseg writes it is passed over, and nothing is
printed that a terminal would act upon.
"""

from collections.abc import Iterator, Mapping
from typing import Any

SHOWN = 16  # characters of a hash
WIDTH = 400  # characters of one value

Row = tuple[str, str]


def page(record: Mapping[str, Any], file: str, found: str) -> list[str]:
    """Return the lines; `file` and `found` say what file it is and where the record was found."""
    sections = (_origin, _profile, _data, _weights, _scores, _cost, _machine)
    rows = [("file", file), ("record", found)]
    rows += [row for section in sections for row in section(record) if row[1].strip(" ,;")]
    if isinstance(names := record.get("left out"), list):
        rows.append(("left out", f"{', '.join(map(str, names))}: too long for a zip's comment; the run's store has it"))
    shown = [(_plain(name), _plain(value)) for name, value in rows]
    width = max(len(name) for name, _ in shown)
    return [f"{name.ljust(width)}  {value}" for name, value in shown]


def _plain(text: str) -> str:
    cut = text if len(text) <= WIDTH else f"{text[: WIDTH - 4]} ..."
    return "".join(letter if letter.isprintable() else "?" for letter in cut)


def _table(record: Any, *keys: str) -> Mapping[str, Any]:
    """Return a table inside a record, an empty one where there is none."""
    for key in keys:
        record = record.get(key) if isinstance(record, Mapping) else None
    return record if isinstance(record, Mapping) else {}


def _text(value: Any) -> str:
    """Return a plain value as text, nothing for any other."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return f"{value:g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value


def _cut(value: Any) -> str:
    return value[:SHOWN] if isinstance(value, str) else ""


def _pairs(table: Mapping[str, Any], join: str = " ") -> str:
    return ", ".join(f"{name}{join}{_text(value)}" for name, value in table.items() if _text(value))


def _origin(record: Mapping[str, Any]) -> Iterator[Row]:
    yield "command", _text(record.get("command"))
    yield "written", _text(record.get("written"))
    yield "run started", _text(record.get("started"))
    git = _table(record, "git")
    state = ", with uncommitted changes" if git.get("dirty") is True else ", nothing uncommitted"
    yield "git commit", f"{_text(git.get('commit'))}{state}" if git else "none: the profile lies in no repository"


def _profile(record: Mapping[str, Any]) -> Iterator[Row]:
    settings = _table(record, "settings")
    yield "competition", _text(settings.get("competition"))
    digest = _cut(settings.get("digest"))
    yield "profile", f"{_text(settings.get('file'))}{f', digest {digest} when resolved' if digest else ''}"
    for model, table in _table(settings, "models").items():
        parts = [_text(_table(table).get(kind)) for kind in ("backbone", "neck", "head")]
        yield f"model {model}", f"{' + '.join(filter(None, parts))}; {_pairs(_table(table, 'train'))}"
    yield "prediction", _pairs(_table(settings, "predict"))
    yield "combined by", _text(settings.get("ensembler"))
    yield "format", _text(settings.get("format"))
    yield "seeds", _pairs(_table(record, "seeds"))


def _data(record: Mapping[str, Any]) -> Iterator[Row]:
    yield "data", _text(_table(record, "data").get("root"))
    for name, split in _table(record, "data", "splits").items():
        table = _table(split)
        counts = ", ".join(f"{_text(table.get(what))} {what}" for what in ("images", "objects") if what in table)
        yield f"split {name}", f"{counts}, digest {_cut(table.get('digest'))}"


def _weights(record: Mapping[str, Any]) -> Iterator[Row]:
    for model, training in _table(record, "trainings").items():
        table = _table(training)
        devices = table.get("devices")
        on = f" on {', '.join(map(_text, devices))}" if isinstance(devices, list) and devices else ""
        work = f"{_text(table.get('steps'))} steps in {_text(table.get('seconds'))} s{on}"
        hashed = _cut(table.get("weights_sha256"))
        yield f"weights {model}", f"sha256 {hashed}, training {_text(table.get('key'))}, {work}"


def _scores(record: Mapping[str, Any]) -> Iterator[Row]:
    scores = _table(record, "scores")
    yield "held-out PQ", _pairs(_table(scores, "combined", "panoptic", "All"))
    yield "held-out AP", _pairs(_table(scores, "combined", "segm"))
    for model, kinds in _table(scores, "models").items():
        yield f"AP of {model}", _pairs(_table(kinds, "segm"))


def _cost(record: Mapping[str, Any]) -> Iterator[Row]:
    for share, words in (("ever", "cost in all"), ("now", "of that this run")):
        table = _table(record, "cost", share)
        units = {"cpu_hours": "CPU-hours", "gpu_hours": "GPU-hours"}
        yield words, ", ".join(f"{_text(table.get(key))} {unit}" for key, unit in units.items() if key in table)


def _machine(record: Mapping[str, Any]) -> Iterator[Row]:
    machine, software = _table(record, "hardware"), _table(record, "environment")
    memory, cores = _text(machine.get("memory_gib")), _text(machine.get("cpus"))
    yield "hardware", f"{f'{cores} cores, {memory} GiB, ' if machine else ''}{_text(software.get('processor'))}"
    yield "system", _text(software.get("platform"))
    versions = {"python": software.get("python"), **_table(software, "versions")}
    yield "versions", _pairs(versions)
    yield "plugins", _pairs(_table(software, "plugins"))
