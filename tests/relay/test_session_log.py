"""Lines about sessions: each on a quiet relay, a sum on a busy one."""

import asyncio
import logging

from relay.session_log import SessionLog
from tests.support.relay import LogLines, until


async def test_a_quiet_relay_says_each() -> None:
    """Up to the limit of a period, at info."""
    log = SessionLog(lambda: 1, lines_max=2)
    with LogLines() as lines:
        log.opened(False, session="1")
        log.closed(False, session="1", reason="x")
        log.end()
    assert [(line["event"], line["level"], line["session"]) for line in lines.lines] == [
        ("session opened", logging.INFO, "1"),
        ("session closed", logging.INFO, "1"),
    ]


async def test_a_busy_relay_says_the_sum() -> None:
    """Beyond the limit lines are for `--debug`, and the period ends with how many there were."""
    log = SessionLog(lambda: 7, lines_max=2, period_s=0.01)
    with LogLines() as lines:
        for number in range(5):
            log.opened(False, session=str(number))
        log.closed(False, session="0")
        await until(lambda: lines.named("more sessions"))
        log.opened(False, session="next")
        log.end()
    levels = [line["level"] for line in lines.named("session opened")]
    assert levels == [logging.INFO] * 2 + [logging.DEBUG] * 3 + [logging.INFO]
    (total,) = lines.named("more sessions")
    assert (total["opened"], total["closed"], total["connected"], total["level"]) == (3, 1, 7, logging.INFO)


async def test_the_end_says_what_was_not_said() -> None:
    """And leaves no timer."""
    log = SessionLog(lambda: 0, lines_max=0, period_s=1000)
    with LogLines() as lines:
        log.closed(False, session="1")
        log.end()
        log.end()
    assert len(lines.named("more sessions")) == 1
    assert log._timer is None
    await asyncio.sleep(0)


async def test_probes_are_nobodys_business() -> None:
    """Quiet sessions are not counted, and said at debug."""
    log = SessionLog(lambda: 0, lines_max=0)
    with LogLines() as lines:
        log.opened(True, session="probe")
        log.closed(True, session="probe")
        log.end()
    assert [line["level"] for line in lines.lines] == [logging.DEBUG] * 2
