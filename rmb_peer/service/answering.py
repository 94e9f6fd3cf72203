"""A program as the handler of a command: payload in, answer out, exit codes as errors.

It refuses to know Redis.
"""

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rmb_peer.logs import event, get_logger
from rmb_peer.sdk.errors import ServiceError
from rmb_peer.sdk.handling import Request
from rmb_peer.sdk.payloads import Payload
from rmb_peer.service.answers import environment_for, error_of
from rmb_peer.service.program import run_program

_LOG = get_logger("serve")


@dataclass(frozen=True, slots=True)
class ProgramHandler:
    """Answers requests by running a program for each.

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

    async def __call__(self, request: Request) -> Payload:
        """Run it; when this is cancelled, the program is killed.

        Raises:
            ServiceError: the program failed.
        """
        event(_LOG, logging.DEBUG, "program started", uid=request.uid, source=request.source)
        begin = time.monotonic()
        result = await run_program(
            self.program,
            request.payload,
            environment_for(request, os.environb),
            timeout_s=self.timeout_s,
            output_bytes_max=self.output_bytes_max,
        )
        ms = round((time.monotonic() - begin) * 1000, 3)
        event(
            _LOG, logging.DEBUG, "program ended", uid=request.uid, ending=result.ending.value, code=result.code, ms=ms,
            bytes=len(result.output),
        )  # fmt: skip
        error = error_of(result)
        if error is not None:
            raise ServiceError(*error)
        return Payload(result.output, self.schema)
