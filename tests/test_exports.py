"""What is promised to whoever installs the distribution: names, types, commands."""

import importlib
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import rmb_peer
import rmb_peer.sdk

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


def test_the_names_of_the_sdk() -> None:
    """What is promised to programs that import it; each is there."""
    promised = [
        "Answer", "BadAnswer", "Call", "CallError", "Client", "DirectClient", "GatewayError", "MessageExpired",
        "NoAnswer", "NotTaken", "Outcome", "Payload", "RelayError", "RelayUnavailable", "RemoteError", "Request",
        "RmbSdkError", "Service", "ServiceError", "StoreUnavailable", "SyncClient", "UnknownTwin",
    ]  # fmt: skip
    assert dir(rmb_peer.sdk) == promised
    assert all(getattr(rmb_peer.sdk, name) is not None for name in promised)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = rmb_peer.sdk.nothing


@pytest.mark.parametrize(
    ("code", "forbidden"),
    [
        ("import rmb_peer.cli", "redis asyncio orjson cryptography"),
        ("from rmb_peer.commands import serve; serve.build_parser()", "redis asyncio orjson"),
        ("from rmb_peer.commands import call; call.build_parser()", "redis asyncio orjson"),
        ("import relay.cli; relay.cli.build_parser()", "redis aiohttp nacl prometheus_client websockets"),
        ("import rmb_peer.sdk", "redis asyncio orjson"),
        ("from rmb_peer.sdk import Client, SyncClient, Service", "websockets aiohttp nacl sr25519 wasmtime"),
        ("from rmb_peer.sdk import DirectClient", "redis aiohttp wasmtime"),
    ],
)
def test_nothing_is_imported_that_is_not_used(code: str, forbidden: str) -> None:
    """A `--help` stays fast, and a program pays only for the part of the SDK that it uses."""
    script = f"import sys\n{code}\nprint(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert set(ended.stdout.split()) & set(forbidden.split()) == set()


@pytest.mark.parametrize("module", ["envelope"])
def test_modules_with_a_list_of_names_keep_it(module: str) -> None:
    """`__all__` names exactly what exists, without repeats."""
    loaded = importlib.import_module(f"rmb_peer.protocol.{module}")
    assert len(set(loaded.__all__)) == len(loaded.__all__)
    assert [name for name in loaded.__all__ if not hasattr(loaded, name)] == []
