"""What every head of the installed plugins keeps to."""

import pytest

from fineseg import Head
from fineseg.catalog import load_catalog
from fineseg.profile.schema import PartChoice
from fineseg.runs import part_key, trained_head_key

CATALOG = load_catalog(warn=pytest.fail)
HEADS = [entry.part for entry in CATALOG.entries if isinstance(entry.part, Head)]


@pytest.mark.parametrize("head", HEADS, ids=[head.name for head in HEADS])
def test_options_for_prediction_alone_are_options(head: Head) -> None:
    choice = PartChoice(name=head.name)
    whole, trained = part_key(CATALOG, "head", choice), trained_head_key(CATALOG, choice)
    assert (whole == trained) == (not head.prediction_only)
    assert whole["name"] == trained["name"] == head.name
