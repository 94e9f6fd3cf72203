"""Signals: which of them asks for what."""

import asyncio
import os
import pty
import signal
from collections.abc import AsyncIterator

import pytest

from relay.signals import STOPPING, Terminal, watch_signals
from tests.support.relay import until


@pytest.fixture(autouse=True)
async def as_before() -> AsyncIterator[None]:
    """Leave this process with the handlers that it had."""
    numbers = (*STOPPING, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number in numbers:
        asyncio.get_running_loop().remove_signal_handler(number)
        signal.signal(number, before[number])


def hear() -> list[str]:
    heard: list[str] = []
    watch_signals(lambda: heard.append("stop"), lambda: heard.append("reload"))
    return heard


async def test_a_hangup_reloads_each_time() -> None:
    """And stops nothing."""
    heard = hear()
    for count in (1, 2):
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda count=count: heard == ["reload"] * count)  # type: ignore[misc]


@pytest.mark.parametrize("number", STOPPING)
async def test_the_first_signal_stops_in_order(number: signal.Signals) -> None:
    """Once; what a second one does ends the process, see test_operations."""
    heard = hear()
    os.kill(os.getpid(), number)
    await until(lambda: heard == ["stop"])


async def test_a_terminal_that_is_closed_ends_the_relay() -> None:
    """Its user closed the window; with the terminal still there a hangup reloads."""
    ours, theirs = pty.openpty()
    heard: list[str] = []
    try:
        watch_signals(lambda: heard.append("stop"), lambda: heard.append("reload"), Terminal(theirs))
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: heard == ["reload"])
        os.close(ours)
        ours = -1
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGHUP)
            await until(lambda: heard == ["reload", "stop"])
    finally:
        os.close(theirs)
        if ours >= 0:
            os.close(ours)


async def test_a_pipe_is_no_terminal() -> None:
    """So it cannot be gone."""
    ours, theirs = os.pipe()
    terminal = Terminal(theirs)
    os.close(ours)
    assert not terminal.gone
    os.close(theirs)
