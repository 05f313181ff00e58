"""Reading a profile: layers in order of precedence, then one check that finds every fault.

Precedence, lowest first: extended file, file, `[demo]`, `[variants.V]`, `--with` overlays, `--set`.
"""

import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fineseg.catalog import Catalog
from fineseg.errors import FinesegError, one_line
from fineseg.profile.check import check_tables, complete
from fineseg.profile.faults import shortened, suggest, written
from fineseg.profile.layers import MISSING, Layer, at, leaves, merge_layers, names_in, setters
from fineseg.profile.schema import Profile
from fineseg.profile.space import as_tables
from fineseg.profile.sweep import check_sweep

DEEPEST = 32
"""Tables and arrays in one another: no profile has a third of them."""


@dataclass(frozen=True)
class Loaded:
    """A checked profile, with the layers it came from; `complete` also holds every default, the parts' own included."""

    profile: Profile
    file: Path
    layers: tuple[Layer, ...]
    tables: Mapping[str, Any]
    complete: Mapping[str, Any]

    def explain(self, key: str) -> list[tuple[str, Any]]:
        """Return who set a dotted key, lowest layer first, ending with the value in force.

        What `[models.X.train]` leaves alone is as `[train]` says. Raises `FinesegError` for an unknown key.
        """
        value = at(self.complete, key)
        if value is MISSING:
            raise FinesegError(f"--explain {key}: no such key; {suggest(key, sorted(leaves(self.complete)))}")
        layers = list(self.layers)
        model = key.split(".")
        inherited = setters(layers, ".".join(model[2:])) if model[0] == "models" and model[2:3] == ["train"] else []
        found = inherited + setters(layers, key)
        if isinstance(value, Mapping):
            return [*found, ("all layers and defaults together", value)]
        return found or [("default", value)]


def load_profile(
    file: Path,
    catalog: Catalog,
    *,
    demo: bool = False,
    variant: str | None = None,
    overlays: Sequence[Path] = (),
    settings: Sequence[str] = (),
) -> Loaded:
    """Read, merge and check a profile.

    Raises `ProfileError` with one line for each fault, or `FinesegError` for a file that cannot be read.
    """
    layers = _all_layers(file, demo=demo, variant=variant, overlays=overlays, settings=settings)
    tables = merge_layers(layers)
    profile = check_tables(tables, catalog, file)
    check_sweep(tables, profile, catalog, file)
    return Loaded(profile, file, tuple(layers), tables, complete(profile, catalog))


def disabled_plugins(
    file: Path, *, demo: bool, variant: str | None, overlays: Sequence[Path], settings: Sequence[str]
) -> list[str]:
    """Return `[plugins] disable` of a profile: it must be known before the catalog is, which the check needs."""
    layers = _all_layers(file, demo=demo, variant=variant, overlays=overlays, settings=settings)
    table = merge_layers(layers).get("plugins")
    names = table.get("disable") if isinstance(table, Mapping) else None
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _all_layers(
    file: Path, *, demo: bool, variant: str | None, overlays: Sequence[Path], settings: Sequence[str]
) -> list[Layer]:
    layers = _file_layers(file, demo=demo, variant=variant)
    layers += [Layer(f"--with {overlay}", _anchored(_read(overlay), overlay.parent)) for overlay in overlays]
    return layers + [Layer(f"--set {setting}", _anchored(_parse_setting(setting), Path.cwd())) for setting in settings]


def _file_layers(file: Path, *, demo: bool, variant: str | None) -> list[Layer]:
    raw = _read(file)
    layers: list[Layer] = []
    overlays: dict[str, list[Layer]] = {}
    extended = raw.pop("extends", None)
    if extended is not None:
        if not isinstance(extended, str):
            raise FinesegError(f"{file}: extends: must be the path of one TOML file, not {written(extended)}")
        below_file = file.parent / extended
        below = _read(below_file)
        if "extends" in below:
            raise FinesegError(f"{below_file}: extends: only one level is allowed; {file} already extends this file")
        _take_overlays(below, below_file, overlays)
        layers.append(Layer(str(below_file), _anchored(below, below_file.parent)))
    _take_overlays(raw, file, overlays)
    layers.append(Layer(str(file), _anchored(raw, file.parent)))
    if demo:
        layers += _demo(overlays, file)
    if variant is not None:
        layers += _variant(overlays, variant, file)
        layers += overlays.get(_demo_of(variant), []) if demo else []
    return layers


def _take_overlays(raw: dict[str, Any], file: Path, overlays: dict[str, list[Layer]]) -> None:
    """Pop `[demo]` and `[variants.*]` off a file; those of an extended file lie below the file's own.

    A variant may have a demo of its own, which lies over both.
    """
    demo, variants = raw.pop("demo", {}), raw.pop("variants", {})
    if not isinstance(demo, Mapping):
        raise FinesegError(f"{file}: demo: must be a table, [demo], not {written(demo)}")
    if not isinstance(variants, Mapping) or not all(isinstance(v, Mapping) for v in variants.values()):
        raise FinesegError(f"{file}: variants: must be tables, [variants.NAME], not {written(variants)}")
    named = {"demo": demo} if demo else {}
    for name, tables in variants.items():
        own = tables.get("demo", {})
        if not isinstance(own, Mapping):
            where = f"variants.{name}.demo"
            raise FinesegError(f"{file}: {where}: must be a table, [{where}], not {written(own)}")
        named[f"variants.{name}"] = {key: table for key, table in tables.items() if key != "demo"}
        named |= {_demo_of(name): own} if own else {}
    for name, tables in named.items():
        layer = Layer(f"{file} [{name}]", _anchored(dict(tables), file.parent))
        overlays.setdefault(name, []).append(layer)


def _demo_of(variant: str) -> str:
    return f"variants.{variant}.demo"


def _demo(overlays: Mapping[str, list[Layer]], file: Path) -> list[Layer]:
    if "demo" not in overlays:
        raise FinesegError(f"{file}: --demo: the profile has no [demo] table; add one, or run without --demo")
    return overlays["demo"]


def _variant(overlays: Mapping[str, list[Layer]], name: str, file: Path) -> list[Layer]:
    found = overlays.get(f"variants.{name}")
    if found is None:
        known = [key.removeprefix("variants.") for key in overlays if key.startswith("variants.")]
        known = [key for key in known if not key.endswith(".demo")]
        hint = suggest(name, known) if known else "the profile has no variants"
        raise FinesegError(f"{file}: --variant {name}: no [variants.{name}] table; {hint}")
    return found


def _read(file: Path) -> dict[str, Any]:
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise FinesegError(f"{file}: no such file; give the path of a profile (TOML)") from None
    except OSError as error:
        raise FinesegError(f"{file}: cannot be read: {error.strerror}; give the path of a profile (TOML)") from None
    except ValueError as error:  # not UTF-8, or no path at all
        raise FinesegError(f"{file}: cannot be read: {error}; a profile is a TOML file in UTF-8") from None
    try:
        return _parse(text)
    except ValueError as error:
        raise FinesegError(f"{file}: not valid TOML: {error}") from None


def _parse(text: str) -> dict[str, Any]:
    """Parse TOML; raises `ValueError` also for what Python reads and nothing after it could: depths, huge numbers."""
    try:
        tables = tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:  # a number of thousands of digits
        raise ValueError("a whole number beyond 64 bits") from None
    level: list[Any] = [tables]
    for _ in range(DEEPEST):
        if any(type(value) is int and not -(2**63) <= value < 2**63 for value in level):
            raise ValueError("a whole number beyond 64 bits")
        level = [inner for value in level for inner in _inner(value)]
    if level:
        raise ValueError(f"nested too deeply, more than {DEEPEST} tables or arrays in one another")
    return tables


def _inner(value: Any) -> Collection[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def toml_or_word(text: str) -> Any:
    """Return a value that stands as in TOML, or else is a bare word; raises `ValueError` for a huge or deep one."""
    try:
        return _parse(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()


def _parse_setting(setting: str) -> dict[str, Any]:
    """Turn `a.b=value` into nested tables; the value is TOML, and a bare word is a string."""
    key, equals, text = setting.partition("=")
    names = names_in(key.strip())
    given = shortened(one_line(setting))
    if not equals or not all(names) or len(names) > DEEPEST:
        raise FinesegError(f"--set {given}: must be KEY=VALUE with a dotted key, such as train.lr=0.01")
    try:
        value = toml_or_word(text)
    except ValueError as error:
        raise FinesegError(f"--set {given}: {error}") from None
    for name in reversed(names):
        value = {name: value}
    return dict(value)


def _anchored(tables: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Make the paths of one layer absolute: they are relative to the file that states them."""
    tables = dict(tables)
    data = tables.get("data")
    if isinstance(data, Mapping) and isinstance(data.get("root"), str) and data["root"]:
        tables["data"] = data = {**data, "root": _absolute(data["root"], folder)}
    folds = at(tables, "data.validation.folds")
    if isinstance(data, Mapping) and isinstance(folds, str):
        tables["data"] = {**data, "validation": {**data["validation"], "folds": _absolute(folds, folder)}}
    models = tables.get("models")
    if isinstance(models, Mapping):
        tables["models"] = {name: _anchored_model(model, folder) for name, model in models.items()}
    space = at(tables, "sweep.space")
    if isinstance(space, Mapping):
        anchored = {key: _anchored_choices(key, entry, folder) for key, entry in space.items()}
        tables["sweep"] = {**tables["sweep"], "space": anchored}
    ablations = tables.get("tables")
    if isinstance(ablations, Mapping):
        tables["tables"] = {name: _anchored_ablation(ablation, folder) for name, ablation in ablations.items()}
    return tables


def _anchored_ablation(table: Any, folder: Path) -> Any:
    """Make the paths among what the rows of an ablation table set absolute."""
    if not isinstance(table, Mapping):
        return table
    table = dict(table)
    if isinstance(table.get("set"), Mapping):
        table["set"] = {key: _anchored_value(key, value, folder) for key, value in table["set"].items()}
    if isinstance(table.get("rows"), Mapping):
        table["rows"] = {name: _anchored_ablation(row, folder) for name, row in table["rows"].items()}
    return table


def _anchored_value(key: str, value: Any, folder: Path) -> Any:
    return at(_anchored(as_tables({key: value}), folder), key) if key.startswith(("models.", "data.")) else value


def _anchored_choices(key: str, entry: Any, folder: Path) -> Any:
    """Make the paths among the choices of a swept key absolute."""
    choices = entry.get("choice") if isinstance(entry, Mapping) else None
    if not isinstance(choices, list) or not key.startswith("models."):
        return entry
    return {**entry, "choice": [_anchored_value(key, choice, folder) for choice in choices]}


def _anchored_model(model: Any, folder: Path) -> Any:
    if not isinstance(model, Mapping):
        return model
    model = _anchored_weights(model, folder)
    backbone = model.get("backbone")
    return {**model, "backbone": _anchored_weights(backbone, folder)} if isinstance(backbone, Mapping) else model


def _anchored_weights(table: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    weights = table.get("weights")
    if not isinstance(weights, str) or "://" in weights or weights == "none":
        return table
    return {**table, "weights": _absolute(weights, folder)}


def _absolute(path: str, folder: Path) -> str:
    try:
        return str((folder / Path(path).expanduser()).resolve())
    except (OSError, RuntimeError, ValueError) as error:
        raise FinesegError(f"{written(path)}: cannot be used as a path: {error}") from None
