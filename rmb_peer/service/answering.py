"""One entry of a service's list from end to end: read it, run the program, make the reply.

It refuses to know Redis.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rmb_peer.local.program_side import Request, ReturnTo, UnreadableRequest, answer_json, read_request
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.lifetime import LIFETIME_S_MAX
from rmb_peer.service.answers import BAD_REQUEST, EXPIRED, STOPPED, answer_to, environment_for
from rmb_peer.service.program import Result, run_program
from rmb_peer.service.worker import Reply

_LOG = get_logger("serve")


@dataclass(frozen=True, slots=True)
class ProgramSettings:
    """How requests are answered.

    Attributes:
        program: file and arguments; no shell.
        timeout_s: longest run.
        output_bytes_max: largest answer.
        schema: content type of answers; `None` decides by looking at each.
    """

    program: Sequence[str]
    timeout_s: float
    output_bytes_max: int
    schema: str | None


class ProgramAnswers:
    """Answers entries by running a program for each."""

    def __init__(self, settings: ProgramSettings, unix_time: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._unix_time = unix_time
        self._running: set[asyncio.Task[Result]] = set()
        self._aborted = False

    async def reply(self, entry: bytes) -> Reply | None:
        """The reply to one entry; `None` for an entry that does not say who asks."""
        now_s = int(self._unix_time())
        try:
            request = read_request(entry)
        except UnreadableRequest as error:
            event(_LOG, logging.WARNING, "request refused", reason=str(error), bytes=len(entry))
            return _refusal(error.return_to, (BAD_REQUEST, f"malformed request: {error}"), now_s)
        if request.expired(now_s):
            event(_LOG, logging.WARNING, "request expired before it was taken", uid=request.return_to.reference)
            return _refusal(request.return_to, (EXPIRED, "request expired before the service took it"), now_s)
        return await self._run(request)

    def abort(self) -> None:
        """Kill what runs; those who asked get an error."""
        self._aborted = True
        for task in self._running:
            task.cancel()

    async def _run(self, request: Request) -> Reply | None:
        uid = request.return_to.reference
        event(_LOG, logging.DEBUG, "program started", uid=uid, source=request.return_to.source)
        begin = time.monotonic()
        settings = self._settings
        task = asyncio.create_task(
            run_program(
                settings.program,
                request.payload,
                environment_for(request, os.environb),
                timeout_s=settings.timeout_s,
                output_bytes_max=settings.output_bytes_max,
            )
        )
        self._running.add(task)
        try:
            result = await task
        except asyncio.CancelledError:
            if not self._aborted:
                raise
            return _refusal(request.return_to, (STOPPED, "the service was stopped"), int(self._unix_time()))
        finally:
            self._running.discard(task)
        ms = round((time.monotonic() - begin) * 1000, 3)
        event(
            _LOG, logging.DEBUG, "program ended", uid=uid, ending=result.ending.value, code=result.code, ms=ms,
            bytes=len(result.output),
        )  # fmt: skip
        now_s = int(self._unix_time())
        left_s = request.timestamp_s + request.expiration_s - now_s
        return Reply(
            request.return_to.reply_list,
            answer_to(request, result, settings.schema, now_s),
            patience_s=max(0, min(left_s, LIFETIME_S_MAX)),
        )


def _refusal(return_to: ReturnTo | None, error: tuple[int, str], now_s: int) -> Reply | None:
    if return_to is None:
        return None
    value = answer_json(return_to, payload=b"", schema=None, now_s=now_s, error=error)
    return Reply(return_to.reply_list, value, patience_s=0)
