"""Discovery of plugins through real distribution metadata, and what happens to those that are broken."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from fineseg import FinesegError
from fineseg.catalog import Catalog, load_catalog

MEAN = """
class MeanOptions(Options):
    power: float = Field(1.0, gt=0)

@hookimpl
def fineseg_ensemblers():
    yield Ensembler("mean", "averages", MeanOptions, build=lambda options, scores: None)
    yield Ensembler("median", "takes the middle", NoOptions, build=lambda options, scores: None)
"""
READER = """
@hookimpl
def fineseg_datasets():
    return [Dataset("photos", "photos", NoOptions, read=lambda options, root, split: None)]
"""


def load(**options: Any) -> tuple[Catalog, list[str]]:
    warnings: list[str] = []
    return load_catalog(warn=warnings.append, **options), warnings


def test_installed_plugins_are_found_with_their_provenance(only_site: Any) -> None:
    only_site.install("zeta-mean", MEAN, version="2.1", point="mean")
    only_site.install("alpha-reader", READER)
    catalog, warnings = load()
    assert warnings == []
    assert [e.part.name for e in catalog.entries] == ["photos", "mean", "median"]  # by distribution, then as yielded
    entry = catalog.find("ensembler", "mean")
    assert (entry.plugin, entry.distribution, entry.version) == ("mean", "zeta-mean", "2.1")
    assert catalog.names("ensembler") == ("mean", "median")
    assert catalog.names("head") == ()
    assert [e.part.name for e in catalog.of_kind("dataset")] == ["photos"]
    assert catalog.named("photos") == catalog.of_kind("dataset")


def test_plugins_come_from_the_environment(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    site.install("stranger", READER.replace("photos", "photos-of-a-stranger"))
    monkeypatch.syspath_prepend(str(site.folder))
    assert load()[0].find("dataset", "photos-of-a-stranger").distribution == "stranger"


def test_no_plugin_at_all_is_an_empty_catalog(only_site: Any) -> None:
    assert load() == (Catalog(), [])


def test_options_are_checked_against_the_part(only_site: Any) -> None:
    only_site.install("mean", MEAN)
    catalog, _ = load()
    assert catalog.read_options("ensembler", "mean", {"power": 2}).model_dump() == {"power": 2.0}
    with pytest.raises(ValidationError) as caught:
        catalog.read_options("ensembler", "mean", {"power": 0, "powr": 1})
    assert {fault["loc"] for fault in caught.value.errors()} == {("power",), ("powr",)}


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("ensembler", "maen", "unknown ensembler 'maen'; did you mean 'mean' or 'median'?; choices: mean, median"),
        (
            "ensembler",
            "xyz",
            "unknown ensembler 'xyz'; choices: mean, median; install the plugin that provides it",
        ),
        (
            "dataset",
            "median",
            "unknown dataset 'median', which is a name of kind ensembler; choices: none",
        ),
    ],
)
def test_unknown_name(only_site: Any, kind: str, name: str, message: str) -> None:
    only_site.install("mean", MEAN)
    catalog, _ = load()
    with pytest.raises(FinesegError) as caught:
        catalog.find(kind, name)
    assert str(caught.value) == message


def test_plugin_that_fails_to_import_is_a_warning(only_site: Any) -> None:
    only_site.install("mean", MEAN)
    only_site.install("bad", "import no_such_library", version="0.3", point="awful")
    catalog, warnings = load()
    reason = "plugin 'awful' (bad 0.3) is broken: ModuleNotFoundError: No module named 'no_such_library'"
    assert warnings == [reason]
    assert catalog.broken == (reason,)
    assert catalog.names("ensembler") == ("mean", "median")
    with pytest.raises(FinesegError, match="install the plugin that provides it; plugin 'awful'"):
        catalog.find("ensembler", "lost")


HALF = "    yield Ensembler('half', '', NoOptions, build=print)\n"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise SystemExit('no licence')", "SystemExit: no licence"),
        ("@hookimpl\ndef fineseg_ensembler():\n" + HALF, "unknown hook fineseg_ensembler; did you mean fineseg_ense"),
        ("@hookimpl\ndef cook():\n" + HALF, "unknown hook cook; the hooks are fineseg_backbones, fineseg_necks"),
        ("@hookimpl\ndef fineseg_ensemblers(folder):\n" + HALF, "PluginValidationError: .*folder"),
        ("@hookimpl\ndef fineseg_heads():\n" + HALF, "fineseg_heads yields Ensembler.* which is no fineseg.Head"),
        ("@hookimpl\ndef fineseg_ensemblers():\n" + HALF + "    yield 'two'", "yields 'two', which is no fineseg.Ens"),
        ("@hookimpl\ndef fineseg_ensemblers():\n" + HALF + "    1 / 0", "ZeroDivisionError"),
        ("@hookimpl\ndef fineseg_ensemblers():\n" + HALF + HALF, "yields the ensembler 'half' twice"),
        ("@hookimpl\ndef fineseg_ensemblers():\n    return 3", "TypeError: 'int' object is not iterable"),
        ("@hookimpl\ndef fineseg_ensemblers():\n" + HALF.replace("NoOptions", "{}"), "options are no pydantic model"),
    ],
)
def test_faulty_plugin_is_left_out_whole(only_site: Any, code: str, reason: str) -> None:
    only_site.install("faulty", code, version="0.9")
    only_site.install("mean", MEAN)
    catalog, warnings = load()
    assert catalog.names("ensembler") == ("mean", "median")
    assert catalog.names("head") == ()
    (warning,) = warnings
    assert re.match(rf"plugin 'faulty' \(faulty 0.9\) is broken: .*{reason}", warning)


def test_clash_names_every_provider_and_the_way_out(only_site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    only_site.install("one", MEAN, version="1.1")
    only_site.install("two", MEAN, version="2.2", point="second")
    with pytest.raises(FinesegError) as caught:
        load()
    assert str(caught.value).splitlines() == [
        f"ensembler '{name}' is provided by one (one 1.1) and second (two 2.2); disable all but one, "
        'e.g. FINESEG_DISABLE_PLUGINS=second or [plugins] disable = ["second"]'
        for name in ("mean", "median")
    ]
    monkeypatch.setenv("FINESEG_DISABLE_PLUGINS", "second")
    assert load()[0].find("ensembler", "mean").distribution == "one"


def test_same_entry_point_name_in_two_distributions_is_told_apart(only_site: Any) -> None:
    only_site.install("one", MEAN, point="mean")
    only_site.install("two", MEAN.replace("median", "mode"), point="mean")
    with pytest.raises(FinesegError, match="FINESEG_DISABLE_PLUGINS=two "):
        load()
    catalog, _ = load(disable=["two"])
    assert catalog.names("ensembler") == ("mean", "median")


def test_same_name_for_two_kinds_is_no_clash(only_site: Any) -> None:
    only_site.install("mean", MEAN)
    only_site.install("reader", READER.replace("photos", "mean"))
    assert len(load()[0].named("mean")) == 2


@pytest.mark.parametrize("handle", ["points", "My_Mean", "my-mean", "my.mean"])
def test_blocked_plugin_is_not_even_imported(only_site: Any, monkeypatch: pytest.MonkeyPatch, handle: str) -> None:
    only_site.install("my-mean", "raise RuntimeError", point="points")
    assert load(disable=[handle]) == (Catalog(disabled=("points (my-mean)",)), [])
    monkeypatch.setenv("FINESEG_DISABLE_PLUGINS", f" {handle} ,")
    catalog, warnings = load()
    assert warnings == []
    with pytest.raises(FinesegError, match=r"disabled: points \(my-mean\)"):
        catalog.find("ensembler", "mean")


def test_unknown_name_in_a_block_list_is_a_warning(only_site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    only_site.install("mean", MEAN)
    monkeypatch.setenv("FINESEG_DISABLE_PLUGINS", "maen")
    assert load(disable=["zzz"])[1] == [
        "cannot disable plugin 'zzz': no such plugin or distribution; installed: mean",
        "cannot disable plugin 'maen': no such plugin or distribution; did you mean 'mean'?",
    ]


def test_trace_prints_each_hook_call(
    only_site: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    only_site.install("mean", MEAN)
    only_site.install("reader", READER)
    load()
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("FINESEG_TRACE_PLUGINS", "1")
    load()
    assert capsys.readouterr().err.splitlines() == ["fineseg_ensemblers: mean:mean", "fineseg_datasets: reader:reader"]


def test_trace_shows_where_a_plugin_broke(
    only_site: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    only_site.install("bad", "1 / 0")
    monkeypatch.setenv("FINESEG_TRACE_PLUGINS", "1")
    load()
    assert str(Path("site", "bad_plugin.py")) in capsys.readouterr().err


def test_two_entry_points_to_one_module_are_reported(only_site: Any) -> None:
    only_site.install("mean", MEAN)
    only_site.install("echo", "", target="mean_plugin")
    catalog, warnings = load()
    assert len(catalog.entries) == 2
    assert len(warnings) == 1
    assert "'mean'" in warnings[0]
