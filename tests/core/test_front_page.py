"""`import fineseg`: every public name is there, and only when it is asked for."""

import subprocess
import sys

import pytest

import fineseg


def test_every_public_name_is_there() -> None:
    assert fineseg.__all__ == sorted(fineseg.__all__, key=lambda name: (not name.isupper(), name))
    for name in fineseg.__all__:
        value = getattr(fineseg, name)
        assert getattr(fineseg, name) is value
        assert getattr(value, "__name__", name) in (name, "HookimplMarker")
    assert set(fineseg.__all__) <= set(dir(fineseg))


def test_names_are_those_of_their_modules() -> None:
    from fineseg.errors import FinesegError
    from fineseg.hookspecs import hookimpl
    from fineseg.predictions import Instances

    assert fineseg.FinesegError is FinesegError
    assert fineseg.hookimpl is hookimpl
    assert fineseg.Instances is Instances


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'fineseg' has no attribute 'Backbones'"):
        fineseg.Backbones  # noqa: B018
    with pytest.raises(ImportError):
        from fineseg import PartChoice  # noqa: F401


def test_importing_it_imports_little() -> None:
    code = "import fineseg, sys; print({'numpy', 'pydantic', 'pluggy', 'click'} & set(sys.modules) or 'nothing')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "nothing\n"
