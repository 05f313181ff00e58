"""check: the data part of prepare on its own."""

from pathlib import Path

from fineseg.catalog import Catalog
from fineseg.console import Console
from fineseg.profile.load import Loaded
from fineseg.scheduling.scheduler import Scheduler
from fineseg.stages.context import Context
from fineseg.stages.prepare import check_splits, read_data
from fineseg.store import Store


def check_profile_data(loaded: Loaded, catalog: Catalog, store: Path) -> list[str]:
    """Open what a profile's data names and check it; return the warnings, raise `FinesegError` with the errors."""
    console = Console()
    with Scheduler(console) as scheduler:
        context = Context(loaded.profile, loaded.tables, loaded.file, catalog, Store(store), console, scheduler)
        return check_splits(context, read_data(context))
