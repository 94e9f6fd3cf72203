"""What an onlooker counts at the end of a campaign. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Verdict:
    """The figures.

    Attributes:
        sent: requests taken from programs.
        answered: of these, how many were answered.
        errors: of these, how many ended with an error, by code.
        lost: heard nothing.
        ended_twice: heard more than once.
        wrong: were answered with something else than what was asked.
        delivered_twice: names that a service list held more than once.
    """

    sent: int
    answered: int
    errors: Mapping[int, int]
    lost: list[str] = field(default_factory=list)
    ended_twice: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    delivered_twice: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return not (self.lost or self.ended_twice or self.wrong or self.delivered_twice)


def judge(sent: Iterable[str], answers: Iterable[Mapping[str, Any]], seen: Iterable[str]) -> Verdict:
    """Compare what was asked with what came back.

    Args:
        sent: the reference of each request.
        answers: everything that came back; `dat` already decoded.
        seen: the reference of each delivery to a service list that nobody else touches.
    """
    asked = set(sent)
    endings = Counter(str(answer["ref"]) for answer in answers)
    errors = Counter(answer["err"]["code"] for answer in answers if answer["err"])
    wrong = [a["ref"] for a in answers if a["ref"] not in asked or (not a["err"] and a["dat"] != a["ref"])]
    return Verdict(
        sent=len(asked),
        answered=sum(not answer["err"] for answer in answers),
        errors=dict(errors),
        lost=sorted(asked - endings.keys()),
        ended_twice=sorted(ref for ref, count in endings.items() if count > 1),
        wrong=wrong,
        delivered_twice=sorted(ref for ref, count in Counter(seen).items() if count > 1),
    )
