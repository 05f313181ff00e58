"""check: the look at the data that every run begins with, on its own."""

from pathlib import Path

from fineseg.catalog import Catalog
from fineseg.console import Console
from fineseg.data.findings import Finding
from fineseg.profile.load import Loaded
from fineseg.scheduling.scheduler import Scheduler
from fineseg.stages.context import Context
from fineseg.stages.examine import examine
from fineseg.stages.prepare import read_root
from fineseg.store import Store


def check_profile_data(loaded: Loaded, catalog: Catalog, store: Path) -> tuple[Finding, ...]:
    """Open what a profile's data names; return all that is wrong with it, most harmful first."""
    console = Console()
    with Scheduler(console) as scheduler:
        context = Context(loaded.profile, loaded.tables, loaded.file, catalog, Store(store), console, scheduler)
        _, splits = read_root(context)
        return examine(context, splits).findings
