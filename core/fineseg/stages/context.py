"""What every stage is handed: the checked profile, the parts, the store, and where to speak."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fineseg.catalog import Catalog
from fineseg.console import Console
from fineseg.cost import Meter
from fineseg.profile.schema import Profile
from fineseg.scheduling.scheduler import Scheduler
from fineseg.store import Store


@dataclass(frozen=True)
class Context:
    """One run's surroundings.

    `tables` are the merged profile as plain data, for other processes; `weights` are files that stand for trainings,
    by model. `meter` tells when the trainings have spent their budget.
    """

    profile: Profile
    tables: Mapping[str, Any]
    file: Path
    catalog: Catalog
    store: Store
    console: Console
    scheduler: Scheduler
    weights: Mapping[str, Path] = field(default_factory=dict)
    meter: Meter | None = None
