"""The argument and options of every verb that reads a profile."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fineseg.cli import warn
from fineseg.errors import FinesegError

if TYPE_CHECKING:
    from fineseg.catalog import Catalog
    from fineseg.profile import Loaded
    from fineseg.profile.budget import Budget

PATH = click.Path(path_type=Path)
store_option = click.option(
    "--store",
    "store_path",
    type=PATH,
    default=Path(".fineseg"),
    show_default=True,
    help="Where results live under content keys, shared by all runs: data that is drawn, trainings, predictions.",
)


def work_options(default: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add what every verb that trains has: --out (`default` says where without it), --store, --ray and --verbose."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for decorate in (
            click.option(
                "--verbose",
                is_flag=True,
                help="Show all that Ray's processes print; logs/ in the run's folder has it anyway.",
            ),
            click.option("--ray", "address", metavar="ADDRESS", help="Join a Ray cluster instead of starting Ray."),
            store_option,
            click.option("--out", type=PATH, help=f"Folder; default runs/<competition>/{default}."),
        ):
            function = decorate(function)
        return function

    return add


def profile_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add PROFILE, --demo, --variant, --with and --set to a command."""
    return click.argument("profile", type=PATH)(layer_options(function))


def layer_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what lies over a profile to a command: --demo, --variant, --with and --set."""
    for decorate in (
        click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="KEY=VALUE",
            help="Set one key of the profile, such as train.epochs=1; repeatable.",
        ),
        click.option("--with", "overlays", multiple=True, type=PATH, help="TOML laid over the profile; repeatable."),
        click.option("--variant", metavar="NAME", help="Lay [variants.NAME] over the profile."),
        click.option(
            "--demo", is_flag=True, help="Lay [demo] over the profile: generated data, small sizes, minutes on 2 cores."
        ),
    ):
        function = decorate(function)
    return function


def load(
    profile: Path, demo: bool, variant: str | None, overlays: tuple[Path, ...], settings: tuple[str, ...]
) -> "tuple[Loaded, Catalog]":
    """Load the plugins and the profile; broken plugins are warnings on stderr."""
    from fineseg.catalog import load_catalog
    from fineseg.profile import load_profile
    from fineseg.profile.load import disabled_plugins

    disable = disabled_plugins(profile, demo=demo, variant=variant, overlays=overlays, settings=settings)
    catalog = load_catalog(disable=disable, warn=warn)
    loaded = load_profile(profile, catalog, demo=demo, variant=variant, overlays=overlays, settings=settings)
    return loaded, catalog


def given_budget(text: str | None) -> "Budget | None":
    """Turn what --budget says into a budget; raises `FinesegError`."""
    from fineseg.profile.budget import budget_of

    try:
        return None if text is None else budget_of(text)
    except ValueError as error:
        raise FinesegError(f"--budget: {error}") from None


def as_arguments(
    profile: Path, demo: bool, variant: str | None, overlays: tuple[Path, ...], settings: tuple[str, ...]
) -> str:
    """Return the same choice as one writes it on a command line."""
    words = [str(profile)] + (["--demo"] if demo else []) + (["--variant", variant] if variant else [])
    words += [word for overlay in overlays for word in ("--with", str(overlay))]
    words += [word for setting in settings for word in ("--set", setting)]
    return shlex.join(words)
