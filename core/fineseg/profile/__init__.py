"""TOML -> checked profile: schema, layers with their origin, and all faults at once."""

from fineseg.profile.load import Loaded, load_profile
from fineseg.profile.schema import ModelTable, PartChoice, Profile, TrainTable

__all__ = ["Loaded", "ModelTable", "PartChoice", "Profile", "TrainTable", "load_profile"]
