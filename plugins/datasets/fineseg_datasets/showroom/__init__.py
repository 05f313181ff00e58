"""Furnished rooms drawn in 3D with exact masks: a data set that needs no download."""

from fineseg_datasets.showroom.catalogue import CLASSES, STUFF
from fineseg_datasets.showroom.generate import write_split
from fineseg_datasets.showroom.panoptic import write_panoptic_split
from fineseg_datasets.showroom.room import Room, render_room

__all__ = ["CLASSES", "STUFF", "Room", "render_room", "write_panoptic_split", "write_split"]
