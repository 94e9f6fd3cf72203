"""The parts of a small network and the order in which they start and stop. It refuses to know what is printed.

side A: store ── gateway ──┐
                           ├── relay (with the registry of twins)
side B: store ── gateway ──┘
          └── echo service
"""

import asyncio
import os
import shutil
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from rmb_peer.commands.keys import write_secret
from rmb_peer.dev.part import LineListener, Part
from rmb_peer.embedded.valkey import EmbeddedValkey
from rmb_peer.protocol.secret import mnemonic_of
from rmb_peer.protocol.signatures import KeyType
from rmb_peer.secret_source import read_secret

READY_S_MAX = 30.0
"""Longest wait for a part to become ready; measured: about a second, a loaded machine needs more."""

COMMAND = "echo"
"""What the service on side B answers."""

MNEMONIC_ENTROPY_BYTES = 16  # 12 words (BIP-39)
_SIDES = ("a", "b")


@dataclass(frozen=True, slots=True)
class PartInfo:
    """What to tell people about a part.

    Attributes:
        name: such as `gateway-a`.
        pid: process id.
        address: where it listens, or what it is connected to.
        twin: twin id of a gateway.
        purpose: a few words.
    """

    name: str
    pid: int
    address: str
    twin: int | None
    purpose: str


class Network:
    """The running network.

    Attributes:
        parts: all of them, in the order of their start.
        redis_urls: store of side A and of side B.
        twins: twin id of side A and of side B.
    """

    def __init__(self, listener: LineListener) -> None:
        """Use `start_network`."""
        self.parts: list[PartInfo] = []
        self.redis_urls: list[str] = []
        self.twins: list[int] = []
        self._listener = listener
        self._children: list[Part] = []

    async def first_death(self) -> Exception:
        """Wait until a part dies, and say how. Stores are started again instead, see `embedded/valkey.py`."""
        deaths = [asyncio.create_task(child.death()) for child in self._children]
        try:
            done, _ = await asyncio.wait(deaths, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in deaths:
                task.cancel()
        return done.pop().result()

    def kill(self) -> None:
        """End every child of ours now; stores end by themselves."""
        for child in self._children:
            child.kill()

    async def _add(
        self, stack: AsyncExitStack, name: str, arguments: list[str], folder: Path, secret: str | None = None
    ) -> Part:
        part = await Part.start(name, arguments, folder, self._listener, secret)
        self._children.append(part)
        stack.push_async_callback(part.stop)
        return part


async def start_network(
    stack: AsyncExitStack, network: Network, folder: Path, key_type: KeyType, keep_identities: bool
) -> None:
    """Start everything and wait until it is ready; leaving `stack` stops it in the opposite order.

    Args:
        stack: takes over the stopping of each part as soon as it runs, so that a failing start stops what did start.
        network: filled with what runs.
        folder: where data goes.
        key_type: of the two gateways.
        keep_identities: keep the mnemonics in `folder`, and use those that are there.

    Raises:
        PartFailed: a part died, or did not become ready.
        EmbeddedServerFailed: a store did not start.
        OSError: `folder` cannot be used.
        BadSecret: a kept mnemonic cannot be used.
    """
    secrets = _prepare(folder, keep_identities)
    for side in _SIDES:
        server = await _start_store(stack, folder / f"valkey-{side}")
        network.redis_urls.append(server.url)
        network.parts.append(
            PartInfo(f"valkey-{side}", server.pid or 0, server.url, None, f"store of side {side.upper()}")
        )

    log = ["--log-format", "json", "-d"]
    relay = await network._add(
        stack, "relay", ["relay", "--listen", "127.0.0.1:0", "--data", str(folder / "relay"), *log], folder
    )
    address = _loopback((await relay.until("listening", READY_S_MAX)).fields["address"])
    relay_url = f"ws://{address}"
    network.parts.append(PartInfo("relay", relay.pid, relay_url, None, "carries messages; keeps the registry of twins"))

    children = []
    for side, url, secret in zip(_SIDES, network.redis_urls, secrets, strict=True):
        arguments = ["rmb_peer", "--redis", url, "--relay", relay_url, "--key-type", key_type, *log]
        children.append(await network._add(stack, f"gateway-{side}", arguments, folder, secret))
    arguments = ["rmb_peer", "serve", COMMAND, "--redis", network.redis_urls[1], *log, "--", *_echo_program()]
    service = await network._add(stack, COMMAND, arguments, folder)

    connected = await asyncio.gather(*(child.until("now connected", READY_S_MAX) for child in children))
    await service.until("serving", READY_S_MAX)
    for side, child, line in zip(_SIDES, children, connected, strict=True):
        twin = int(line.fields["twin"])
        network.twins.append(twin)
        network.parts.append(PartInfo(f"gateway-{side}", child.pid, relay_url, twin, f"gateway of side {side.upper()}"))
    network.parts.append(
        PartInfo(
            COMMAND, service.pid, network.redis_urls[1], None, f"answers `{COMMAND}` on side B with what it was sent"
        )
    )


async def _start_store(stack: AsyncExitStack, folder: Path) -> EmbeddedValkey:
    """A store that is stopped with `stack`, also when we are cancelled while it starts."""
    starting = asyncio.create_task(EmbeddedValkey.start(folder, port=0))
    try:
        server = await asyncio.shield(starting)
    except asyncio.CancelledError:
        await (await starting).stop()
        raise
    keeper = asyncio.create_task(server.keep_running())

    async def stop() -> None:
        await server.stop()
        await keeper

    stack.push_async_callback(stop)
    return server


def _prepare(folder: Path, keep_identities: bool) -> list[str]:
    """Make the folder; the mnemonic of each side."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return [_secret(folder / f"gateway-{side}.mnemonic" if keep_identities else None) for side in _SIDES]


def _secret(path: Path | None) -> str:
    if path is not None and path.exists():
        return read_secret(None, path)
    secret = mnemonic_of(os.urandom(MNEMONIC_ENTROPY_BYTES))
    if path is not None:
        write_secret(path, secret)
    return secret


def _echo_program() -> list[str]:
    if shutil.which("cat"):
        return ["cat"]
    return [sys.executable, "-c", "import shutil, sys; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"]


def _loopback(address: str) -> str:
    """Host and port that a client on this machine can use."""
    return address.removeprefix("http://").rstrip("/")
