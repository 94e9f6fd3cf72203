"""The process that starts the others, with `--processes`: it serves nobody itself.

It reserves the port, owns the embedded store, starts one relay per number and starts again what dies, with a growing
pause. Signals are passed on. It asks every process for its metrics from time to time, so that what an ended one has
counted is not lost, and ends one that has not answered for so long that its event loop must hang.

All processes listen on one port (SO_REUSEPORT): the kernel shares new connections out, and one that dies takes none
with it but its own. This module refuses to know what a relay does.
"""

import asyncio
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace

from relay.app import StartFailed
from relay.config import RelayConfig
from relay.control import LINE_BYTES_MAX, SEED_BYTES, Place, read_line, write_line
from relay.listening import reserve
from relay.metrics_sum import MetricsSum
from relay.signals import watch_signals
from relay.tasks import end
from rmb_peer.embedded.child import end_with_parent
from rmb_peer.embedded.valkey import EmbeddedServerFailed, EmbeddedValkey
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.errors import LocalError

RESTART_S_FIRST = 0.5
RESTART_S_MAX = 30.0
"""Pause before a process that died is started again, doubled each time up to the maximum; guesses."""

STEADY_S = 60.0
"""Whoever lived for so long begins with the shortest pause again; a guess."""

ASK_S = 5.0
"""How often processes are asked for their metrics; what one has counted since then is lost when it is killed."""

HANG_S_MAX = 60.0
"""A process that answers nothing for so long is killed and started again; a guess, longer than any machine stalls."""

SAMPLE_S_MAX = 2.0
"""How long a scrape waits for each process; a guess."""

STOP_S_MAX = 30.0
"""How long processes may take to stop; longer than everything they wait for in turn, beside draining."""

_LOG = get_logger("relay.processes")


class _Child:
    """One of the processes."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: asyncio.subprocess.Process | None = None
        self.writer: asyncio.StreamWriter | None = None
        self.ready = asyncio.Event()
        self.sampled = asyncio.Event()
        self.heard_s = 0.0

    def send_signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)

    def ask(self) -> None:
        if self.writer is not None:
            write_line(self.writer, {"say": "sample"})


class Supervisor:
    """Runs so many relays as one. Call `run` once."""

    def __init__(self, config: RelayConfig, argv: Sequence[str], read: Callable[[], RelayConfig]) -> None:
        """Prepare.

        Args:
            config: what the operator decided.
            argv: the arguments that said so; the processes get them, too.
            read: reads the configuration again, or raises `LocalError`.
        """
        self._config = config
        self._read = read
        self._argv = list(argv)  # a process that has a place starts no others
        self._children = [_Child(number) for number in range(config.processes)]
        self._sum = MetricsSum()
        self._scrapes: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._port = self._admin_port = 0
        self._probe_seed = secrets.token_bytes(SEED_BYTES)
        self._failed: str | None = None
        self._now_s = asyncio.get_running_loop().time

    async def run(self) -> None:
        """Run until a signal says to stop.

        Raises:
            StartFailed: it cannot start; the text says why, or a process has said so already.
        """
        watch_signals(self._stopping.set, self._reload)
        operating = self._config.operating
        async with AsyncExitStack() as stack:
            self._port = self._reserve(stack, self._config.listen_host, self._config.listen_port)
            if operating.admin_host is not None:
                self._admin_port = self._reserve(stack, operating.admin_host, operating.admin_port)
            await self._start_store(stack)
            keeping = [asyncio.create_task(self._keep(child)) for child in self._children]
            asking = asyncio.create_task(self._ask())
            stack.push_async_callback(end, [asking, *keeping])
            stack.push_async_callback(self._stop, keeping)
            await self._started()
            await self._stopping.wait()
        if self._failed is not None:
            raise StartFailed(self._failed)

    # --- the start and the end ----------------------------------------------------------------------------------------

    @staticmethod
    def _reserve(stack: AsyncExitStack, host: str, port: int) -> int:
        try:
            reserved = reserve(host, port)
        except OSError as error:
            raise StartFailed(f"cannot listen on {host}:{port}: {error.strerror}") from None
        stack.callback(reserved.close)
        return int(reserved.getsockname()[1])

    async def _start_store(self, stack: AsyncExitStack) -> None:
        if self._config.redis_url or self._config.redis_cluster:
            return
        try:
            valkey = await EmbeddedValkey.start(self._config.data_folder)
        except (EmbeddedServerFailed, OSError) as error:
            raise StartFailed(f"cannot start the embedded store: {error}") from None
        stack.push_async_callback(valkey.stop)
        running = asyncio.create_task(valkey.keep_running())
        stack.push_async_callback(end, [running])
        self._argv += ["--redis", valkey.url]

    async def _started(self) -> None:
        ready = asyncio.gather(*(child.ready.wait() for child in self._children))
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait((ready, stopping), return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            event(_LOG, logging.INFO, "all processes serve", processes=len(self._children), port=self._port)
        ready.cancel()
        await end([stopping])

    def _reload(self) -> None:
        """Each process takes over what it can; here only the time counts that they may take to stop."""
        self._pass_on(signal.SIGHUP)
        with suppress(LocalError):  # the processes say what is wrong
            self._config = replace(self._config, operating=self._read().operating)

    def _pass_on(self, number: signal.Signals) -> None:
        for child in self._children:
            child.send_signal(number)

    async def _stop(self, keeping: "list[asyncio.Task[None]]") -> None:
        self._stopping.set()
        self._pass_on(signal.SIGTERM)
        operating = self._config.operating
        patience_s = STOP_S_MAX + operating.drain_notice_s + operating.drain_s
        _, left = await asyncio.wait(keeping, timeout=patience_s)
        if left:
            event(_LOG, logging.ERROR, "processes do not stop, killing them", count=len(left))
            self._pass_on(signal.SIGKILL)
            await asyncio.wait(keeping)

    # --- one process --------------------------------------------------------------------------------------------------

    async def _keep(self, child: _Child) -> None:
        pause_s = RESTART_S_FIRST
        while not self._stopping.is_set():
            began_s = self._now_s()
            code = await self._live(child)
            if self._stopping.is_set():
                return
            if not child.ready.is_set():
                self._failed = f"process {child.number} ended with code {code} during its start"
                self._stopping.set()
                return
            if self._now_s() - began_s > STEADY_S:
                pause_s = RESTART_S_FIRST
            event(
                _LOG, logging.ERROR, "process died, starting it again", number=child.number, code=code, pause_s=pause_s
            )
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._stopping.wait()
            pause_s = min(2 * pause_s, RESTART_S_MAX)

    async def _live(self, child: _Child) -> int:
        """From the start of a process to its end."""
        ours, theirs = socket.socketpair()
        ours.sendall(self._probe_seed)
        ours.setblocking(False)
        place = Place(child.number, self._port, theirs.fileno(), self._admin_port)
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "relay", *self._argv),
                env={**os.environ, **place.variable()},
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # Ctrl-C is for us; we pass it on
                preexec_fn=end_with_parent,
            )
        finally:
            theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours, limit=LINE_BYTES_MAX)
        child.process, child.writer, child.heard_s = process, writer, self._now_s()
        if self._stopping.is_set():  # it was being started when the signal came
            child.send_signal(signal.SIGTERM)
        event(_LOG, logging.INFO, "process started", number=child.number, pid=process.pid)
        try:
            while (message := await read_line(reader)) is not None:
                await self._heard(child, message)
            return await process.wait()
        finally:
            child.writer = None
            writer.close()
            self._sum.end(child.number)
            child.sampled.set()

    async def _heard(self, child: _Child, message: dict[str, object]) -> None:
        child.heard_s = self._now_s()
        if message.get("say") == "ready":
            child.ready.set()
        elif message.get("say") == "sample":
            self._sum.update(child.number, str(message["text"]))
            child.sampled.set()
        elif message.get("say") == "scrape":
            scraping = asyncio.create_task(self._scrape(child))
            self._scrapes.add(scraping)
            scraping.add_done_callback(self._scrapes.discard)

    # --- metrics ------------------------------------------------------------------------------------------------------

    async def _ask(self) -> None:
        while True:
            await asyncio.sleep(ASK_S)
            for child in self._children:
                if child.writer is None or not child.ready.is_set():
                    continue
                if self._now_s() - child.heard_s > HANG_S_MAX:
                    event(_LOG, logging.ERROR, "process hangs, killing it", number=child.number)
                    child.send_signal(signal.SIGKILL)
                else:
                    child.ask()

    async def _scrape(self, asker: _Child) -> None:
        living = [child for child in self._children if child.writer is not None and child.ready.is_set()]
        for child in living:
            child.sampled.clear()
            child.ask()
        with suppress(TimeoutError):
            async with asyncio.timeout(SAMPLE_S_MAX):
                for child in living:
                    await child.sampled.wait()
        if asker.writer is not None:
            write_line(asker.writer, {"say": "scraped", "text": self._sum.text()})
