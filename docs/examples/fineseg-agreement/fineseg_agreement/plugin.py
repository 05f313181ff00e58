"""What this distribution offers; imports nothing heavy."""

from collections.abc import Iterator
from pathlib import Path

from fineseg import Dataset, Ensembler, Split, hookimpl
from fineseg_agreement.ensemble import build_agreement
from fineseg_agreement.options import AgreementOptions, IdMapsOptions


def read_id_maps(options: IdMapsOptions, root: Path, split: str) -> Split:
    """Read a split of pictures and maps."""
    from fineseg_agreement.id_maps import read

    return read(options, root, split)


@hookimpl
def fineseg_ensemblers() -> Iterator[Ensembler]:
    """Offer the ensembler."""
    yield Ensembler("agreement", "scores averaged over who agrees", AgreementOptions, build=build_agreement)


@hookimpl
def fineseg_datasets() -> Iterator[Dataset]:
    """Offer the format."""
    yield Dataset("id-maps", "pictures, and 16-bit maps of class and number", IdMapsOptions, read=read_id_maps)
