"""What a relay that posts hears: a status, a text, and when to try again (spec rmb 6.8). It refuses to decide."""

import math
from dataclasses import dataclass

from relay.switch import Refusal


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to a post.

    Attributes:
        status: of HTTP. The sending relay takes 4xx as final, except 429.
        text: the body.
        retry_after_s: whole seconds for `Retry-After` (RFC 9110, 10.2.3); 0 for none.
    """

    status: int
    text: str = ""
    retry_after_s: int = 0


ACCEPTED = Answer(202)


def bad_request(text: str) -> Answer:
    """400; the sending relay takes it as final."""
    return Answer(400, f"bad request: {text}")


def answer_of(refusal: Refusal) -> Answer:
    """The answer for a refusal whose code is a status of HTTP."""
    return Answer(refusal.code, refusal.text, math.ceil(refusal.retry_after_ms / 1000))
