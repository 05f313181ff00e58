"""Who may import whom, read from the syntax trees of core and plugins: nothing is executed but the light plugin pages.

Floors of core from the ground up: a module imports its own unit and lower floors only. Imports for type checkers alone
(`if TYPE_CHECKING`) bind nobody at run time and are left out, except where a framework has one importer.
"""

import ast
import importlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import fineseg
from fineseg.hookspecs import HOOK_OF_KIND
from fineseg.parts import Part

ROOT = Path(__file__).parents[2]
CORE = ROOT / "core" / "fineseg"
PLUGINS = ROOT / "plugins"

FLOORS = (
    ("errors", "console"),
    ("store",),
    ("data", "predictors"),
    ("parts",),
    ("hookspecs", "predictions", "semantic_store", "class_ends"),
    ("coco_results", "panoptic_predictions"),
    ("",),  # the front page, `fineseg` itself: what it shows lies below
    ("report", "metrics", "catalog", "provenance"),
    ("profile", "doctor"),
    ("runs", "mm", "cost", "tuning", "board"),
    ("scheduling",),
    ("stages",),
    ("run",),
    ("sweep", "ablate", "proposal"),
    ("testing",),
    ("scaffold",),
    ("cli",),
    ("__main__",),
)
FLOOR_OF = {unit: number for number, floor in enumerate(FLOORS) for unit in floor}
ONE_IMPORTER = {"ray": "scheduling", "mmengine": "mm", "mmcv": "mm", "mmdet": "mm"}
HEAVY = {"torch", "torchvision", "mmdet", "mmcv", "mmengine", "ray", "cv2", "pycocotools", "matplotlib"}
OPEN_TO_PLUGINS = re.compile(r"fineseg(\.data(\.\w+)*|\.store|\.coco_results|\.testing(\.\w+)*)?")


# ------------------------------------------------------------ reading imports


def sources(folder: Path) -> dict[str, Path]:
    """Return module name -> file of every module below a package folder."""
    found = {}
    for file in sorted(folder.rglob("*.py")):
        parts = [folder.name, *file.relative_to(folder).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(module: str, file: Path, *, typing: bool = False, nested: bool = True) -> Iterator[tuple[int, str, str]]:
    """Yield (line, module, name or "") of a file's imports; `nested`: also those inside functions."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in _statements(tree, typing=typing, nested=nested):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
                base = ".".join([*package[: len(package) - node.level + 1], *([base] if base else [])])
            yield from ((node.lineno, base, alias.name) for alias in node.names)


def _statements(node: ast.AST, *, typing: bool, nested: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not nested:
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test) and not typing:
            continue
        yield child
        yield from _statements(child, typing=typing, nested=nested)


def resolve(base: str, name: str, known: dict[str, Path]) -> str:
    """Return the module that `from base import name` reaches: the submodule where there is one, else `base`."""
    return f"{base}.{name}" if name and f"{base}.{name}" in known else base


def unit_of(module: str) -> str:
    """Return the unit of core that a module belongs to: the first name after `fineseg`."""
    return [*module.split("."), ""][1]


# ----------------------------------------------------------------- core floors


def floor_faults(core: Path) -> list[str]:
    """Return every import in core that reaches sideways or up."""
    known = sources(core)
    faults = []
    for module, file in known.items():
        unit = unit_of(module)
        if not unit:
            continue
        if unit not in FLOOR_OF:
            faults.append(f"{file.name}: '{unit}' stands on no floor yet; add it to FLOORS")
            continue
        for line, base, name in imports(module, file):
            if base.split(".")[0] != core.name:
                continue
            target = unit_of(resolve(base, name, known))
            if target != unit and FLOOR_OF.get(target, len(FLOORS)) >= FLOOR_OF[unit]:
                faults.append(f"{module}:{line} imports {resolve(base, name, known)}, which does not stand below it")
    return faults


def importer_faults(core: Path) -> list[str]:
    """Return every import of a framework outside the one unit that may have it."""
    return [
        f"{module}:{line} imports {base}; only {core.name}.{ONE_IMPORTER[base.split('.')[0]]} may"
        for module, file in sources(core).items()
        for line, base, _ in imports(module, file, typing=True)
        if ONE_IMPORTER.get(base.split(".")[0], unit_of(module)) != unit_of(module)
    ]


def test_core_is_read() -> None:
    units = {unit_of(module) for module in sources(CORE)}
    assert units >= {"errors", "store", "data", "parts", "hookspecs", "predictions", "catalog", "profile", "cli"}


def test_imports_point_down() -> None:
    assert floor_faults(CORE) == []


def test_frameworks_have_one_importer() -> None:
    assert importer_faults(CORE) == []
    users = {unit_of(m) for m, f in sources(CORE).items() for _, base, _ in imports(m, f) if base == "ray"}
    assert users == {"scheduling"}  # also: the rule has something to look at


@pytest.mark.parametrize(
    ("file", "code", "faulty"),
    [
        ("store.py", "from fineseg.data import masks", True),
        ("store.py", "from fineseg import parts", True),
        ("store.py", "def f():\n    import fineseg.cli.main", True),
        ("store.py", "from fineseg import FinesegError", True),
        ("store.py", "from fineseg.errors import FinesegError", False),
        ("store.py", "if TYPE_CHECKING:\n    from fineseg.parts import Part", False),
        ("catalog.py", "from .metrics import mask_ap", True),
        ("catalog.py", "from . import metrics", True),
        ("catalog.py", "from . import parts", False),
        ("mm/model.py", "from .other import thing", False),
        ("mm/model.py", "from ..stages import train", True),
        ("newcomer.py", "", True),
    ],
)
def test_floor_rule_sees_faults(tmp_path: Path, file: str, code: str, faulty: bool) -> None:
    assert bool(floor_faults(_toy_core(tmp_path, file, code))) is faulty


@pytest.mark.parametrize(
    ("file", "code", "faulty"),
    [
        ("stages/train.py", "import ray.train", True),
        ("parts.py", "if TYPE_CHECKING:\n    from mmdet.models import X", True),
        ("scheduling/train.py", "def f():\n    from ray import train", False),
        ("scheduling/train.py", "import mmengine", True),
        ("mm/model.py", "import mmcv.ops", False),
    ],
)
def test_importer_rule_sees_faults(tmp_path: Path, file: str, code: str, faulty: bool) -> None:
    assert bool(importer_faults(_toy_core(tmp_path, file, code))) is faulty


def _toy_core(folder: Path, file: str, code: str) -> Path:
    core = folder / "fineseg"
    for name in ("__init__", "errors", "parts", "store", "metrics/__init__", "data/masks", "cli/main", "stages/x"):
        (core / name).parent.mkdir(parents=True, exist_ok=True)
        (core / f"{name}.py").touch()
    (core / file).parent.mkdir(parents=True, exist_ok=True)
    (core / file).write_text(code)
    return core


# ---------------------------------------------------- core knows no plugin


def plugin_packages() -> list[Path]:
    """Return the package folder of every first-party plugin that has code."""
    return sorted({file.parent for file in PLUGINS.glob("*/fineseg_*/*.py")})


def part_names() -> set[str]:
    """Return the names of all parts that the first-party plugins' pages yield."""
    names: set[str] = set()
    for package in plugin_packages():
        if (package / "plugin.py").exists():
            page = importlib.import_module(f"{package.name}.plugin")
            records = [record for hook in HOOK_OF_KIND.values() for record in getattr(page, hook, tuple)()]
            assert all(isinstance(record, Part) for record in records)
            names |= {record.name for record in records}
    return names


def literals(file: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of a file's string literals; docstrings, which may give examples, are left out."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.lineno, node.value


def mentions(text: str, name: str) -> bool:
    """Say whether a literal means a part: a name that is one plain word must be all of it, as in a comparison."""
    if name.isalpha():
        return text == name
    return re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text) is not None


@pytest.fixture
def plugins_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the tree's own plugins importable, installed or not."""
    for package in plugin_packages():
        monkeypatch.syspath_prepend(str(package.parent))


def test_no_part_name_occurs_in_core(plugins_on_path: None) -> None:
    names = part_names()
    assert len(names) > 5
    found = [
        f"{module}:{line} {text!r} names the part '{name}'"
        for module, file in sources(CORE).items()
        for line, text in literals(file)
        for name in sorted(names)
        if mentions(text, name)
    ]
    assert found == []


def test_no_plugin_module_occurs_in_core() -> None:
    modules = {package.name for package in plugin_packages()}
    assert modules
    spoken = set(HOOK_OF_KIND.values())  # a hook may be called like the plugin that implements it
    for module, file in sources(CORE).items():
        assert not [line for line, base, _ in imports(module, file, typing=True) if base.split(".")[0] in modules]
        words = {word for _, text in literals(file) for word in re.findall(r"\w+", text)}
        assert not words & (modules - spoken), module


def test_mentions() -> None:
    assert mentions("fpn", "fpn")
    assert not mentions("the pool of actors", "pool")
    assert mentions("use mask-rcnn here", "mask-rcnn")
    assert not mentions("my-mask-rcnn", "mask-rcnn")


# ------------------------------------------------------------------- plugins


def first_party() -> dict[str, Path]:
    """Return module name -> file of core and all plugins."""
    known = sources(CORE)
    for package in plugin_packages():
        known |= sources(package)
    return known


def heavy_chains(start: str, known: dict[str, Path]) -> list[str]:
    """Return how importing a first-party module reaches something heavy, as chains of module names."""
    chains, seen, waiting = [], set(), [(start,)]
    while waiting:
        chain = waiting.pop()
        if chain[-1] in seen:
            continue
        seen.add(chain[-1])
        for _, base, name in imports(chain[-1], known[chain[-1]], nested=False):
            if base.split(".")[0] in HEAVY:
                chains.append(" -> ".join([*chain, base]))
            target = resolve(base, name, known)
            parents = [".".join(target.split(".")[:depth]) for depth in range(1, target.count(".") + 2)]
            waiting += [(*chain, module) for module in parents if module in known]
    return chains


def test_plugins_are_read() -> None:
    packages = plugin_packages()
    assert packages
    assert [p.name for p in packages if not (p / "plugin.py").exists()] == []


@pytest.mark.parametrize("package", plugin_packages(), ids=lambda package: package.name)
def test_plugin_pages_are_light(package: Path) -> None:
    known = first_party()
    pages = [f"{package.name}.{page}" for page in ("plugin", "options") if f"{package.name}.{page}" in known]
    assert pages
    assert [chain for page in [package.name, *pages] if page in known for chain in heavy_chains(page, known)] == []


@pytest.mark.parametrize("package", plugin_packages(), ids=lambda package: package.name)
def test_plugins_import_public_names_only(package: Path) -> None:
    known = first_party()
    for module, file in sources(package).items():
        for line, base, name in imports(module, file, typing=True):
            target = resolve(base, name, known)
            if base.split(".")[0] != "fineseg":
                continue
            assert OPEN_TO_PLUGINS.fullmatch(target), f"{module}:{line} imports {target}, which is not public"
            assert target != "fineseg" or name in ("", *fineseg.__all__), f"{module}:{line} imports {name}"
            assert not name.startswith("_") or name == "__version__", f"{module}:{line} imports the private {name}"


@pytest.mark.parametrize("package", plugin_packages(), ids=lambda package: package.name)
def test_plugins_declare_the_plugins_they_import(package: Path) -> None:
    others = {
        base.split(".")[0]
        for module, file in sources(package).items()
        for _, base, _ in imports(module, file)
        if base.startswith("fineseg_") and base.split(".")[0] != package.name
    }
    project = tomllib.loads((package.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[^\w-]", dependency)[0] for dependency in project["dependencies"]}
    assert declared >= {"fineseg", *(other.replace("_", "-") for other in others)}
    assert project["entry-points"]["fineseg"] == {package.parent.name: f"{package.name}.plugin"}


def test_heavy_chain_is_found_through_other_modules(tmp_path: Path) -> None:
    package = tmp_path / "fineseg_toy"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "plugin.py").write_text("from fineseg_toy.options import A\ndef build():\n    import ray\n")
    (package / "options.py").write_text("from . import network\n")
    (package / "network.py").write_text("import torch.nn\n")
    found = heavy_chains("fineseg_toy.plugin", sources(package))
    assert found == ["fineseg_toy.plugin -> fineseg_toy.options -> fineseg_toy.network -> torch.nn"]
