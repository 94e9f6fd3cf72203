"""The direction of imports (design: models, "Direction of imports"), read from the source with `ast`.

Imports inside functions, behind `TYPE_CHECKING` and through `import_module("…")` count like any other. When an arrow
turns, the failure says in words which file, which line, and which rule. Rules are about names of packages, so they hold
for modules that do not exist yet; the second half of this file tries every rule on invented offenders, so that none of
them can fall asleep.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("rmb_peer", "relay")

CORE = "rmb_peer.protocol"
REMAPHORE_CORE = "rmb_peer.remaphore.core"
CORES = (CORE, REMAPHORE_CORE)  # each is pure, and knows nothing of ours but itself
SHARED = ("rmb_peer.transport", "rmb_peer.registry", "rmb_peer.embedded", "rmb_peer.store", "rmb_peer.logs")
VERSION = "rmb_peer.__version__"  # what both programs call themselves towards others
RELAY_MAY_USE = (CORE, *SHARED, VERSION)
APPS = ("rmb_peer.app", "relay.app")
BRIDGES = "rmb_peer.bridges"

# The name of a module (`redis_queues`) or class (`MemoryMailboxes`) says that it is one way to keep queues, mailboxes.
CONCRETE = re.compile(
    r"(.*\.)?((redis|valkey|memory|sqlite|file)_(queue|mailbox|journal)\w*"
    r"|(Redis|Valkey|Memory|Sqlite|File)\w*(Queue|Mailbox|Journal)\w*)(\..*)?"
)

CORE_MAY_USE = ("google.protobuf", "cryptography", "nacl", "sr25519", "mnemonic", "orjson", "wasmtime", "llvmlite")
# wasmtime and llvmlite compute: they run the code that protocol/bao generates, and are imported on first use only.
CORE_MUST_NOT_USE = {
    "the network": "asyncio http select selectors smtplib socket socketserver ssl urllib.request wsgiref xmlrpc",
    "a clock": "time datetime sched",
    "a random source": "random secrets uuid",
    "files": "fcntl fileinput glob io mmap pathlib shelve shutil sqlite3 tempfile",
    "the environment or other processes": "multiprocessing os platform signal subprocess sys",
    "threads": "concurrent queue threading",
    "a log": "logging syslog warnings",
}
CORE_MUST_NOT_CALL = ("open", "print", "input", "breakpoint", "exec", "eval")

# Modules that import by a computed name, and what that name begins with.
COMPUTED_IMPORTS = {
    "rmb_peer.cli": "rmb_peer.commands.",
    "rmb_peer.sdk": "rmb_peer.sdk.",
    "relay.cli": "relay.commands.",
}


def below(name: str, *packages: str) -> bool:
    """Whether a dotted name is one of these packages or inside one."""
    return any(name == package or name.startswith(package + ".") for package in packages)


def imports(module: str, source: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=target, names=names, level=level):
                parts = module.split(".") if is_package else module.split(".")[:-1]
                base = parts[: len(parts) - level + 1] if level else []
                prefix = ".".join([*base, *([target] if target else [])])
                yield from ((node.lineno, f"{prefix}.{alias.name}") for alias in names)
            case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called), args=[name, *_]) if called in (
                "import_module",
                "__import__",
            ):
                yield node.lineno, _computed(name)


def _computed(name: ast.expr) -> str:
    """The name that is imported by a call, as far as the source tells; `?` where it does not."""
    match name:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=[ast.Constant(value=str(start)), *_]):
            return f"{start}?"
        case _:
            return "?"


def turned_arrows(module: str, source: str, is_package: bool = False) -> list[str]:
    """One sentence for every import of a module that points the wrong way."""
    sentences = []
    for line, target in imports(module, source, is_package):
        sentences += [f"{module}, line {line}: {wrong}" for wrong in _wrong(module, target, is_package)]
    if below(module, *CORES):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CORE_MUST_NOT_CALL:
                sentences.append(f"{module}, line {node.lineno}: the core calls {node.func.id}(), and it does no I/O")
    return sentences


def _wrong(module: str, target: str, is_package: bool) -> Iterator[str]:
    ours = below(target, *PACKAGES)
    if "?" in target and not target.startswith(COMPUTED_IMPORTS.get(module, "\0")):
        yield f"imports by a computed name ({target}): nobody can see which way it points"
        return
    for core in CORES:
        if below(module, core) and not below(target, core):
            yield from _wrong_in_core(target)
    if below(module, *SHARED) and below(target, "rmb_peer") and not below(target, *RELAY_MAY_USE):
        yield f"imports {target}: what both programs share imports of this package only the core and each other"
    if below(module, "rmb_peer") and below(target, "relay"):
        yield f"imports {target}: the gateway never imports the relay"
    if below(module, "relay") and below(target, "rmb_peer") and not below(target, *RELAY_MAY_USE):
        yield f"imports {target}: of the gateway's package the relay imports only {', '.join(RELAY_MAY_USE)}"
    if ours and CONCRETE.fullmatch(target) and module not in APPS:
        yield f"imports {target}: only {' and '.join(APPS)} know concrete queues and mailboxes; take it as an argument"
    if below(module, BRIDGES) and below(target, BRIDGES) and not below(target, module, f"{BRIDGES}.base"):
        if module == BRIDGES and is_package:
            return  # the list: name -> class
        yield f"imports {target}: bridges never import each other, only {BRIDGES}.base"


def _wrong_in_core(target: str) -> Iterator[str]:
    for what, names in CORE_MUST_NOT_USE.items():
        if below(target, *names.split()):
            yield f"imports {target}: the core does not touch {what}; it comes in as an argument"
            return
    if below(target, *PACKAGES):
        yield f"imports {target}: the core imports nothing else of ours"
    elif target.split(".")[0] not in sys.stdlib_module_names and not below(target, *CORE_MAY_USE):
        yield f"imports {target}: besides the standard library the core uses only {', '.join(CORE_MAY_USE)}"


# --- the real source --------------------------------------------------------------------------------------------------

FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("path", FILES, ids=[module_name(path) for path in FILES])
def test_imports_point_the_right_way(path: Path) -> None:
    """No import of this module turns an arrow."""
    wrong = turned_arrows(module_name(path), path.read_text(encoding="utf-8"), path.name == "__init__.py")
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("path", [path for path in FILES if "_pb2" not in path.name], ids=module_name)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    """A module begins with a docstring; generated ones are excused."""
    assert (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").strip(), f"{path} has no docstring"


def test_every_module_of_the_core_has_its_tests() -> None:
    """tests/protocol mirrors rmb_peer/protocol, file for file."""
    modules = {path.stem for path in (ROOT / "rmb_peer" / "protocol").glob("*.py")} - {"__init__"}
    tests = {path.stem.removeprefix("test_") for path in (ROOT / "tests" / "protocol").glob("test_*.py")}
    assert modules - tests == set(), "modules of the core without tests of their own"
    assert tests - modules - {"pb"} == set(), "tests that belong to no module of the core"


def test_the_rules_are_about_packages_that_exist() -> None:
    """A renamed package does not leave its rule behind without anything to hold."""
    present = {module_name(path) for path in FILES}
    assert {
        *CORES,
        "rmb_peer.transport",
        "rmb_peer.registry",
        "rmb_peer.logs",
        "rmb_peer.local",
        "rmb_peer.store",
        "rmb_peer",
        "relay",
    } <= present
    assert set(COMPUTED_IMPORTS) <= present


# --- the rules themselves ---------------------------------------------------------------------------------------------

OFFENDERS = {
    "core-asyncio": ("rmb_peer.protocol.x", "import asyncio", "does not touch the network"),
    "core-submodule": ("rmb_peer.protocol.x", "import os.path", "does not touch the environment"),
    "core-from": ("rmb_peer.protocol.x", "from time import time", "does not touch a clock"),
    "core-random": ("rmb_peer.protocol.gossip.x", "import secrets", "does not touch a random source"),
    "core-urllib": ("rmb_peer.protocol.x", "from urllib.request import urlopen", "does not touch the network"),
    "core-urllib-member": ("rmb_peer.protocol.x", "from urllib import request", "does not touch the network"),
    "core-files": ("rmb_peer.protocol.x", "import pathlib", "does not touch files"),
    "core-library": ("rmb_peer.protocol.x", "import redis", "besides the standard library"),
    "core-google": ("rmb_peer.protocol.x", "from google.cloud import storage", "besides the standard library"),
    "core-ours": ("rmb_peer.protocol.x", "from rmb_peer.logs import event", "nothing else of ours"),
    "core-version": ("rmb_peer.protocol.x", "from rmb_peer import __version__", "nothing else of ours"),
    "core-relative": ("rmb_peer.protocol.x", "from ..registry import base", "nothing else of ours"),
    "core-relative-package": ("rmb_peer.protocol", "from .. import logs", "nothing else of ours", True),
    "core-lazy": ("rmb_peer.protocol.x", "def f():\n    import socket", "line 2: imports socket"),
    "core-typing": ("rmb_peer.protocol.x", "if TYPE_CHECKING:\n    import ssl", "line 2: imports ssl"),
    "core-call": ("rmb_peer.protocol.x", "import_module('random')", "does not touch a random source"),
    "core-dunder": ("rmb_peer.protocol.x", "__import__('os')", "does not touch the environment"),
    "core-open": ("rmb_peer.protocol.x", "def f(p):\n    return open(p)", "calls open()"),
    "remaphore-asyncio": ("rmb_peer.remaphore.core.x", "import asyncio", "does not touch the network"),
    "remaphore-nats": ("rmb_peer.remaphore.core.x", "import nats.errors", "besides the standard library"),
    "remaphore-clock": ("rmb_peer.remaphore.core.x", "from time import time_ns", "does not touch a clock"),
    "remaphore-driver": ("rmb_peer.remaphore.core.x", "from rmb_peer.remaphore import links", "nothing else of ours"),
    "remaphore-core": ("rmb_peer.remaphore.core.x", "from rmb_peer.protocol import ss58", "nothing else of ours"),
    "remaphore-open": ("rmb_peer.remaphore.core.x", "def f(p):\n    return open(p)", "calls open()"),
    "core-print": ("rmb_peer.protocol.x", "print('x')", "calls print()"),
    "transport-local": ("rmb_peer.transport.x", "from rmb_peer.local import keys", "what both programs share"),
    "transport-root": ("rmb_peer.transport.x", "import rmb_peer", "what both programs share"),
    "registry-lazy": (
        "rmb_peer.registry.x",
        "def f():\n    from rmb_peer.app import run",
        "what both programs share",
    ),
    "registry-relay": ("rmb_peer.registry.x", "import relay.app", "the gateway never imports the relay"),
    "embedded-config": ("rmb_peer.embedded.x", "from rmb_peer.config import Config", "what both programs share"),
    "logs-local": ("rmb_peer.logs", "import rmb_peer.local.keys", "what both programs share"),
    "peer-relay": ("rmb_peer.commands.dev", "from relay.app import run", "the gateway never imports the relay"),
    "peer-relay-lazy": (
        "rmb_peer.commands.dev",
        "def f():\n    import relay",
        "line 2: imports relay: the gateway never",
    ),
    "peer-relay-name": ("rmb_peer.app", "import_module('relay.app')", "the gateway never imports the relay"),
    "relay-local": ("relay.switch", "from rmb_peer.local.keys import STATUS", "the relay imports only"),
    "relay-root": ("relay.app", "import rmb_peer", "the relay imports only"),
    "relay-member": ("relay.app", "from rmb_peer import app", "the relay imports only"),
    "relay-lazy": ("relay.cli", "def f():\n    from rmb_peer import cli", "line 2"),
    "concrete-peer": ("rmb_peer.upstream", "from rmb_peer.local.redis_queues import Q", "take it as an argument"),
    "concrete-command": ("rmb_peer.commands.call", "from rmb_peer.local import redis_queues", "take it as an argument"),
    "concrete-relay": ("relay.switch", "def f():\n    from relay.redis_mailboxes import M", "take it as an argument"),
    "concrete-class": ("relay.server", "from relay.mailboxes import RedisMailboxes", "take it as an argument"),
    "concrete-root": ("rmb_peer.downstream", "from rmb_peer.memory_queues import Q", "take it as an argument"),
    "concrete-memory": ("relay.federation.outbox", "from ..memory_mailboxes import M", "take it as an argument"),
    "bridge-bridge": ("rmb_peer.bridges.s3", "from rmb_peer.bridges.nats import N", "bridges never import each other"),
    "bridge-relative": ("rmb_peer.bridges.s3", "from . import nats", "bridges never import each other"),
    "bridge-list": ("rmb_peer.bridges.s3", "from rmb_peer.bridges import BRIDGES", "bridges never import each other"),
    "computed": ("relay.app", "import_module(name)", "nobody can see which way it points"),
    "computed-prefix": ("rmb_peer.cli", "import_module(f'relay.{name}')", "nobody can see which way it points"),
    "computed-elsewhere": ("relay.app", "import_module(f'rmb_peer.commands.{n}')", "nobody can see"),
}


@pytest.mark.parametrize("offender", OFFENDERS.values(), ids=OFFENDERS.keys())
def test_turned_arrows_are_noticed(offender: tuple[str, str, str] | tuple[str, str, str, bool]) -> None:
    """Each rule finds its offender, once, and says so in words."""
    module, source, words, *is_package = offender
    sentences = turned_arrows(module, source, bool(is_package))
    assert len(sentences) == 1, sentences
    assert words in sentences[0]
    assert sentences[0].startswith(f"{module}, line ")


ALLOWED = {
    "core-stdlib": ("rmb_peer.protocol.x", "import hashlib, re\nfrom urllib.parse import urlsplit\nimport struct"),
    "core-libraries": (
        "rmb_peer.protocol.x",
        "import orjson, nacl.signing\nfrom google.protobuf.message import DecodeError",
    ),
    "core-core": ("rmb_peer.protocol.x", "from rmb_peer.protocol.errors import RmbError\nfrom . import names"),
    "core-method": ("rmb_peer.protocol.x", "def f(key):\n    return key.open(b'')"),
    "shared-shared": ("rmb_peer.registry.x", "from rmb_peer.logs import event\nfrom rmb_peer.transport import http"),
    "shared-core": ("rmb_peer.transport.x", "import asyncio, websockets\nfrom rmb_peer.protocol import token"),
    "shared-version": ("rmb_peer.transport.x", "from rmb_peer import __version__"),
    "relay-shared": (
        "relay.app",
        "from rmb_peer.embedded.valkey import V\nfrom rmb_peer import __version__\nimport relay.cli",
    ),
    "app-concrete": ("relay.app", "from relay.redis_mailboxes import M"),
    "peer-app-concrete": ("rmb_peer.app", "def f():\n    from rmb_peer.local.memory_queues import Q"),
    "contract": ("relay.switch", "from relay.mailboxes import Mailboxes\nfrom relay.config import redis_url"),
    "other-concrete": ("rmb_peer.commands.twin", "from rmb_peer.registry.memory import MemoryRegistry"),
    "bridge-base": ("rmb_peer.bridges.s3", "from rmb_peer.bridges.base import Bridge\nfrom .base import Item"),
    "bridge-inside": ("rmb_peer.bridges.s3", "from rmb_peer.bridges.s3.parts import P"),
    "commands": ("rmb_peer.cli", "import_module(f'rmb_peer.commands.{name}')"),
    "remaphore": ("rmb_peer.remaphore.core.x", "import nacl.signing\nfrom rmb_peer.remaphore.core import wire"),
    "remaphore-drives": ("rmb_peer.remaphore.links", "import nats\nfrom rmb_peer.remaphore.core import wire"),
    "names-alike": ("rmb_peer.upstream", "import relaying, rmb_peers"),
}


@pytest.mark.parametrize(("module", "source"), ALLOWED.values(), ids=ALLOWED.keys())
def test_right_arrows_are_left_alone(module: str, source: str) -> None:
    """What the design draws is not reported."""
    assert turned_arrows(module, source) == []


def test_the_list_of_bridges_knows_them_all() -> None:
    """The package itself maps names to classes; a module of the same name would not be excused."""
    source = "from rmb_peer.bridges.s3 import S3\nfrom .nats import Nats"
    assert turned_arrows("rmb_peer.bridges", source, is_package=True) == []
    assert len(turned_arrows("rmb_peer.bridges.all", source)) == 2
