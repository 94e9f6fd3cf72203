"""What can be made to go wrong between a client and the stand-in: rules by method, each for a number of times.

A rule's method is the name of a request (`state_getStorage`) or of a notification (`chain_newHead`); `*` is every
request.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar


@dataclass(slots=True)
class Delay:
    """Answer, but later."""

    seconds: float


@dataclass(slots=True)
class Hold:
    """Answer only when told to.

    Attributes:
        reached: set when a request is being held.
        release: set it to let the answer go.
    """

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Drop:
    """Cut the connection: before the request is carried out, after that but without an answer, or within the answer."""

    when: Literal["before", "after", "midway"] = "before"


@dataclass(slots=True)
class Ignore:
    """Do nothing and say nothing."""


@dataclass(slots=True)
class Raw:
    """Send this text instead of an answer or notification."""

    text: str | bytes


@dataclass(slots=True)
class Result:
    """Answer or notify, in the right form, with this."""

    value: Any


@dataclass(slots=True)
class Fail:
    """Answer with an error."""

    code: int
    message: str
    data: Any = None


Action = Delay | Hold | Drop | Ignore | Raw | Result | Fail
A = TypeVar("A", bound=Action)


@dataclass(slots=True)
class _Rule:
    method: str
    action: Action
    left: int | None


class Faults:
    """The rules that are switched on.

    Attributes:
        asked: every method that was asked for, in order.
    """

    def __init__(self) -> None:
        self._rules: list[_Rule] = []
        self.asked: list[str] = []

    def on(self, method: str, action: A, times: int | None = None) -> A:
        """Switch a fault on; returns the action. `times` is how often, `None` is until `clear`."""
        self._rules.append(_Rule(method, action, times))
        return action

    def clear(self) -> None:
        """Switch all faults off, and let everything go that is held."""
        for rule in self._rules:
            if isinstance(rule.action, Hold):
                rule.action.release.set()
        self._rules = []

    def take(self, method: str, is_request: bool = True) -> Action | None:
        """The fault that a request or notification meets now, if any."""
        if is_request:
            self.asked.append(method)
        for rule in self._rules:
            if (rule.method == method or (rule.method == "*" and is_request)) and rule.left != 0:
                if rule.left is not None:
                    rule.left -= 1
                return rule.action
        return None
