"""Write docs/reference/hook-examples.md: of each hook what its record is, and a plugin that implements it.

    python docs/make_hook_examples.py

The code is what `fineseg plugins new` writes, which is installed and tested for every kind. Imports no torch.
"""

import inspect
from collections.abc import Iterator
from pathlib import Path

from fineseg.hookspecs import HOOK_OF_KIND
from fineseg.parts import KINDS
from fineseg.scaffold import project_files
from fineseg.testing.conformance import Conformance
from fineseg.testing.kit import CONFORMANCE, checks_of

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference" / "hook-examples.md"
NAME = "mine"

OPENING = """\
# Reference: an example for each hook

Written by `python docs/make_hook_examples.py` from the code; change it there.

Each is what `fineseg plugins new mine --kind KIND` writes: it works as it stands, in a project with metadata,
a test and a README. [Hooks](hooks.md) lists the fields of all records; the tutorial
[write a plugin in ten minutes](../tutorial/write-a-plugin.md) goes through one.
"""


def page() -> str:
    """Return the whole page."""
    return "\n".join([OPENING, *(section for kind in KINDS for section in _sections(kind.kind))]).rstrip() + "\n"


def _sections(kind: str) -> Iterator[str]:
    record = next(each for each in KINDS if each.kind == kind)
    yield f"## {kind}\n"
    yield f"Hook `{HOOK_OF_KIND[kind]}`, record `fineseg.{record.__name__}`:\n"
    yield f"{_prose(inspect.getdoc(record) or '')}\n"
    promises = "; ".join(_promises(kind))
    yield f"`fineseg.testing.{CONFORMANCE[kind].__name__}` checks: {promises}.\n"
    for place, text in sorted(project_files(NAME, kind).items(), key=lambda item: "network" in item[0]):
        if place.endswith(".py") and not place.endswith("__init__.py") and "tests" not in place:
            yield f"`{place}`:\n\n```python\n{text}```\n"


def _promises(kind: str) -> Iterator[str]:
    """Yield what the checks of this kind hold beside those of every part, in words."""
    kit = CONFORMANCE[kind]
    for name in checks_of(kit):
        if not hasattr(Conformance, name):
            said = (inspect.getdoc(getattr(kit, name)) or "").splitlines()[0].removesuffix(".")
            yield said[:1].lower() + said[1:]


def _prose(text: str) -> str:
    """Return paragraphs, each in one line."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
