"""What happens to leased work, told in one place: log lines now, and whatever else wants to know.

It refuses to know how leases work.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from rmb_peer.logs import event, get_logger

_LOG = get_logger("leases")


class LeaseStep(Enum):
    """What happened to a request in a service's hands."""

    IN_SERVICE = "in service"
    RETURNED = "returned"
    GIVEN_UP = "given up"


_LEVELS = {LeaseStep.IN_SERVICE: logging.DEBUG, LeaseStep.RETURNED: logging.WARNING, LeaseStep.GIVEN_UP: logging.ERROR}


@dataclass(frozen=True, slots=True)
class LeaseEvent:
    """One step.

    Attributes:
        step: what happened.
        uid: of the request; `None` when the entry is no request.
        command: of the service.
        worker: who has it, or had it; "" when not known any more.
        detail: tries and pause, or the reason, in words.
    """

    step: LeaseStep
    uid: str | None
    command: str
    worker: str
    detail: str = ""


_listeners: list[Callable[[LeaseEvent], None]] = []


def listen(listener: Callable[[LeaseEvent], None]) -> Callable[[], None]:
    """Be told of every step in this process; call the result to hear no more."""
    _listeners.append(listener)
    return lambda: _listeners.remove(listener)


def report(happened: LeaseEvent) -> None:
    """Tell everybody who wants to know."""
    for listener in tuple(_listeners):
        listener(happened)
    event(
        _LOG, _LEVELS[happened.step], happened.step.value, uid=happened.uid, command=happened.command,
        worker=happened.worker, detail=happened.detail,
    )  # fmt: skip
