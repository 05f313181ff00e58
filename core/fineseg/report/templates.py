"""The report's HTML templates: everything put into them is escaped unless it is markup already."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

FOLDER = Path(__file__).parent


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render_page(**values: Any) -> str:
    """Fill the whole page."""
    return _environment().get_template("page.html.jinja").render(**values)


def render_section(macro: str, template: str = "sections.html.jinja", **values: Any) -> str:
    """Fill one section's macro."""
    module: Any = _environment().get_template(template).module
    return str(getattr(module, macro)(**values))
