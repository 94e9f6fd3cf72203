"""What can happen in a scenario, as plain records: one class per kind of step, one field per setting.

Fields are what a scenario file may say, with their defaults; `scenario` reads them, `story` carries them out. Fractions
are of the nodes that live at that moment, and which nodes are hit is drawn from the run's own random source.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Spec gossip 15.2. "single": all join node 0 at once; "set": `contacts` do so, then the rest joins any of them."""

    do: ClassVar[str] = "bootstrap"
    kind: Literal["single", "set"] = "single"
    contacts: int = 10
    trips: int = 20  # spec gossip 15.2, in largest possible latencies


@dataclass(frozen=True, slots=True)
class Rounds:
    """Broadcast and count, `count` times (spec gossip 15.3)."""

    do: ClassVar[str] = "rounds"
    count: int
    authors: Literal["one", "random", "all"] = "random"
    deadline_s: float = 5.0  # a delivery later than this after its broadcast counts as missed
    pause_s: float = 0.0  # quiet after each round; with 0 the next begins at the instant of the last delivery
    scope: Literal["swarm", "neighbors"] = "swarm"  # "neighbors": the author's active view should get it, nobody else
    content: Literal["unique", "equal"] = "unique"  # "equal": every round broadcasts the same bytes
    label: str = ""


@dataclass(frozen=True, slots=True)
class Idle:
    """Let time pass; measures the control messages that rest costs."""

    do: ClassVar[str] = "idle"
    seconds: float
    label: str = ""


@dataclass(frozen=True, slots=True)
class Crash:
    """A fraction of nodes is gone at once; `notified` tells whoever had a connection, one latency later (17.2)."""

    do: ClassVar[str] = "crash"
    fraction: float
    notified: bool = False


@dataclass(frozen=True, slots=True)
class Leave:
    """A fraction of nodes quits the topic in good order, all at once (17.3)."""

    do: ClassVar[str] = "leave"
    fraction: float


@dataclass(frozen=True, slots=True)
class Arrive:
    """New nodes join, each through random live nodes, spread evenly over a time."""

    do: ClassVar[str] = "arrive"
    count: int
    over_s: float = 0.0
    history: int = 0  # how many of the latest messages each asks for


@dataclass(frozen=True, slots=True)
class Split:
    """Nodes fall into `parts` equal parts that cannot reach each other; `notified` fails each attempt (17.4)."""

    do: ClassVar[str] = "split"
    parts: int = 2
    notified: bool = True


@dataclass(frozen=True, slots=True)
class Heal:
    """The parts reach each other again."""

    do: ClassVar[str] = "heal"


@dataclass(frozen=True, slots=True)
class Faults:
    """From now on, each message by itself: lost, carried twice, or held back so that later ones overtake it."""

    do: ClassVar[str] = "faults"
    loss: float = 0.0
    duplicate: float = 0.0
    delayed: float = 0.0  # probability of being held back
    delay_ms: float = 200.0  # by at most this, uniform


@dataclass(frozen=True, slots=True)
class Churn:
    """Nodes crash and fresh ones join, evenly, for a time; one random node broadcasts every `broadcast_s`."""

    do: ClassVar[str] = "churn"
    seconds: float
    crashes_per_s: float
    arrivals_per_s: float
    notified: bool = False
    broadcast_s: float = 5.0
    deadline_s: float = 5.0
    settled_s: float = 10.0  # a node counts as a receiver once it is this old
    label: str = "churn"


@dataclass(frozen=True, slots=True)
class Look:
    """Measure the overlay."""

    do: ClassVar[str] = "look"
    label: str = ""


@dataclass(frozen=True, slots=True)
class AwaitOneComponent:
    """Let time pass until all live nodes are one component, at most `limit_s`."""

    do: ClassVar[str] = "await_one_component"
    limit_s: float
    every_s: float = 5.0
    label: str = ""


Step = Bootstrap | Rounds | Idle | Crash | Leave | Arrive | Split | Heal | Faults | Churn | Look | AwaitOneComponent
STEPS: dict[str, type[Step]] = {
    step.do: step
    for step in (
        Bootstrap, Rounds, Idle, Crash, Leave, Arrive, Split, Heal, Faults, Churn, Look, AwaitOneComponent,
    )
}  # fmt: skip
