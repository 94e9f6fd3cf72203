"""One message through a running network, as a client on side A would send it. It refuses to know what is printed."""

import asyncio
import json
import time
import uuid
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from rmb_peer.dev.journey import Recorder, Step
from rmb_peer.local.keys import LOCAL_REQUESTS
from rmb_peer.local.program_side import read_answer, request_json
from rmb_peer.local.redis_url import CONNECT_S_MAX

WAIT_S_MAX = 15
"""Longest wait for the answer; measured: about 20 ms."""

LINES_S_MAX = 3.0
"""Longest wait for the last log lines after the answer: they come through pipes."""

PAYLOAD = json.dumps({"hello": "world"}).encode()
_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """What became of the message.

    Attributes:
        ms: from push to pop.
        steps: the way, as far as it was seen.
        answer: the payload that came back; `None` when none did.
        problem: what went wrong, or `None`.
    """

    ms: float
    steps: list[Step]
    answer: bytes | None
    problem: str | None


async def round_trip(redis_url: str, twin: int, command: str, recorder: Recorder) -> RoundTrip:
    """Ask `twin` and wait for the answer.

    Args:
        redis_url: store of the side that asks.
        twin: who is asked.
        command: what is asked; answered with the same payload.
        recorder: is being given the log lines of the parts.
    """
    reference = f"dev-{uuid.uuid4().hex}"
    reply_list = f"answers.{reference}"
    request = request_json(
        reference=reference, command=command, expiration_s=WAIT_S_MAX, payload=PAYLOAD, tags=None, destinations=[twin],
        reply_list=reply_list, schema="application/json",
    )  # fmt: skip
    # No limit inside the client: on Python 3.11 its limit on a read can lose a cancellation (CPython issue 86296).
    redis = Redis.from_url(redis_url, socket_connect_timeout=CONNECT_S_MAX, socket_timeout=None)
    try:
        await redis.ping()  # so that connecting is not counted as part of the way
        pushed_at_s = time.time()
        await redis.lpush(LOCAL_REQUESTS, request)
        popped: Any = await redis.blpop([reply_list], timeout=WAIT_S_MAX)
        popped_at_s = time.time()
        await redis.delete(reply_list)
    except RedisError as error:
        return RoundTrip(0, [], None, f"the store of side A: {error}")
    finally:
        await redis.aclose()
    await _until_complete(recorder, reference)
    steps = recorder.steps(reference, pushed_at_s, popped_at_s)
    ms = round((popped_at_s - pushed_at_s) * 1000, 2)
    if popped is None:
        return RoundTrip(ms, steps[:-1], None, f"no answer within {WAIT_S_MAX} s")
    answer = read_answer(popped[1])
    problem = None
    if answer.error is not None:
        problem = f"the answer is error {answer.error[0]}: {answer.error[1]}"
    elif answer.payload != PAYLOAD:
        problem = "the answer is not what was sent"
    return RoundTrip(ms, steps, answer.payload, problem)


async def _until_complete(recorder: Recorder, reference: str) -> None:
    deadline_s = time.monotonic() + LINES_S_MAX
    while not recorder.complete(reference) and time.monotonic() < deadline_s:  # noqa: ASYNC110 - lines come from pipes
        await asyncio.sleep(_POLL_S)
