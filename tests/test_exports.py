"""What is promised to whoever installs the distribution: names, types, commands."""

import importlib
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import rmb_peer

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_public_names() -> None:
    """The list of public names changes only on purpose: add a name here when it is promised."""
    assert rmb_peer.__all__ == ["__version__"]
    assert all(hasattr(rmb_peer, name) for name in rmb_peer.__all__)


def test_version_is_that_of_the_distribution() -> None:
    """`rmb.version`, `--version` and the package index say the same."""
    assert rmb_peer.__version__ == PROJECT["project"]["version"]


@pytest.mark.parametrize("package", ["rmb_peer", "relay"])
def test_type_information_is_shipped(package: str) -> None:
    """`py.typed` is in the package and in what is packed (PEP 561)."""
    assert (ROOT / package / "py.typed").is_file()
    assert "py.typed" in PROJECT["tool"]["setuptools"]["package-data"][package]


@pytest.mark.parametrize(("command", "target"), PROJECT["project"]["scripts"].items())
def test_console_scripts_resolve(command: str, target: str) -> None:
    """The function behind each command exists. Only a program that nobody has put together yet is excused."""
    module, _, function = target.partition(":")
    if find_spec(module) is None:
        package = ROOT / module.split(".")[0]
        begun = [name for name in ("app.py", "cli.py", "__main__.py") if (package / name).exists()]
        assert begun == [], f"{command} points to a missing {module}, although {package.name} has {begun}"
        pytest.skip(f"package {package.name} holds no program yet")
    assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.parametrize("module", ["envelope"])
def test_modules_with_a_list_of_names_keep_it(module: str) -> None:
    """`__all__` names exactly what exists, without repeats."""
    loaded = importlib.import_module(f"rmb_peer.protocol.{module}")
    assert len(set(loaded.__all__)) == len(loaded.__all__)
    assert [name for name in loaded.__all__ if not hasattr(loaded, name)] == []
