"""One run of a scenario: carries out its steps on a network and writes down what came out.

The only module that knows both sides: what a step means (`steps`), and who judges (`referee`, `overlay`).
"""

import dataclasses
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rmb_peer.protocol.gossip.config import Profile
from rmb_peer.protocol.gossip.events import Broadcast, Command, Delivered, JoinTopic
from rmb_peer.protocol.gossip.messages import Scope
from tests.simulation.gossip import steps
from tests.simulation.gossip.network import TOPIC, Network, without_collector
from tests.simulation.gossip.overlay import look
from tests.simulation.gossip.referee import Message, Referee, Round, summary
from tests.simulation.gossip.scenario import Scenario, ScenarioError

PROFILES: dict[str, Callable[[], Profile]] = {"upstream": Profile.upstream, "ours": Profile.ours}
SCOPES = {"swarm": Scope.SWARM, "neighbors": Scope.NEIGHBORS}
SET_TRIPS = 7  # of the first nodes before the others come (spec gossip 15.2)
ARRIVAL_CONTACTS = 2  # how many bootstrap peers a late node knows; a guess at what people configure


@dataclass(slots=True)
class Outcome:
    """What one run gave: measures by name, and the rounds for curves."""

    scenario: str
    profile: str
    seed: int
    measures: dict[str, float] = field(default_factory=dict)
    rounds: list[dict[str, float]] = field(default_factory=list)
    cpu_s: float = 0.0
    events: int = 0


def make_profile(name: str, changes: Mapping[str, Any]) -> Profile:
    """A profile by name, with some settings changed; `changes` names settings of any part of it.

    Raises:
        ScenarioError: No such profile or setting.
    """
    if name not in PROFILES:
        raise ScenarioError(f"profile {name!r} is unknown; use {' or '.join(PROFILES)}")
    profile = PROFILES[name]()
    for setting, value in changes.items():
        for part in dataclasses.fields(profile):
            config = getattr(profile, part.name)
            if dataclasses.is_dataclass(config) and hasattr(config, setting):
                profile = dataclasses.replace(profile, **{part.name: dataclasses.replace(config, **{setting: value})})  # type: ignore[type-var, arg-type] # an instance
                break
        else:
            raise ScenarioError(f"setting {setting!r} is in no part of a profile")
    return profile


def play(scenario: Scenario, profile: str, seed: int) -> Outcome:
    """Run a scenario once.

    Raises:
        ScenarioError: The profile or one of its changed settings does not exist.
    """
    begin_s = time.process_time()
    with without_collector():
        story = Story(scenario, profile, seed)
        for step in scenario.steps:
            story.do(step)
    outcome = story.finish()
    outcome.cpu_s = time.process_time() - begin_s
    return outcome


class Story:
    """A run on its way."""

    def __init__(self, scenario: Scenario, profile: str, seed: int) -> None:
        """Begin with an empty network."""
        self.referee = Referee()
        self.outcome = Outcome(scenario.name, profile, seed)
        self._scenario = scenario
        self._profile = make_profile(profile, scenario.changes)
        connections = scenario.transport == "connections" or (scenario.transport == "native" and profile == "upstream")
        self.network = Network(self._profile, seed, scenario.latency, self._delivered, connections=connections)
        self._choice = random.Random(f"{seed}/story")
        self._next_number = 0
        self._next_content = 0
        self._only_author: int | None = None
        self._born_s: dict[int, float] = {}
        self._histories: list[tuple[int, list[Message]]] = []  # who asked for which old messages

    def do(self, step: steps.Step) -> None:
        """Carry out one step."""
        match step:
            case steps.Bootstrap():
                self._bootstrap(step)
            case steps.Rounds():
                self._rounds(step)
            case steps.Idle():
                self._idle(step)
            case steps.Crash():
                self._crash(self._some(step.fraction), notified=step.notified)
            case steps.Leave():
                for number in self._some(step.fraction):
                    self.referee.gone(number)
                    self.network.leave(number)
            case steps.Arrive():
                self._arrive(step)
            case steps.Split():
                self._split(step)
            case steps.Heal():
                self.network.split({}, notified=False)
            case steps.Faults():
                self.network.faults = step
            case steps.Churn():
                self._churn(step)
            case steps.Look():
                self._look(step.label)
            case steps.AwaitOneComponent():
                self._await(step)

    def finish(self) -> Outcome:
        """What came out."""
        self.outcome.events = self.network.events
        self.outcome.measures |= {
            "delivered_twice": self.referee.delivered_twice,
            "out_of_order": self.referee.out_of_order,
            "told_lost": self.network.missed_reports,
            "missed_for_good": self.referee.outstanding(),
            "nodes": len(self.network.nodes),
            "minutes": self.network.now_s / 60,
        }
        asked = [(number, message) for number, messages in self._histories for message in messages]
        if asked:
            found = sum(number in message.got for number, message in asked)
            self.outcome.measures["history_percent"] = 100 * found / len(asked)
        return self.outcome

    def _note(self, label: str, measures: Mapping[str, float]) -> None:
        prefix = f"{label}." if label else ""
        self.outcome.measures |= {prefix + name: value for name, value in measures.items()}

    def _delivered(self, number: int, what: Delivered, now_s: float) -> bool:
        return self.referee.delivered(number, what.payload, what.round or 0, now_s)

    # --- nodes come and go --------------------------------------------------------------------------------------------

    def _new(self, contacts: tuple[int, ...], history: int = 0) -> int:
        number = self._next_number
        self._next_number += 1
        self._born_s[number] = self.network.now_s
        self.network.add(number)
        self.network.command(number, Command(TOPIC, JoinTopic(contacts, self._scenario.ordered, history)))
        return number

    def _bootstrap(self, step: steps.Bootstrap) -> None:
        trip_s = self.network.latency.longest_s
        first = min(step.contacts, self._scenario.nodes) if step.kind == "set" else self._scenario.nodes
        founder = self._new(())
        for _ in range(first - 1):
            self._new((founder,))
        if step.kind == "set":
            self.network.run(self.network.now_s + SET_TRIPS * trip_s)
            contacts = self.network.nodes
            for _ in range(self._scenario.nodes - first):
                self._new((self._choice.choice(contacts),))
        self.network.run(self.network.now_s + step.trips * trip_s)
        self._note("bootstrap", {"controls_per_node": self.network.controls / self._scenario.nodes})

    def _newcomer(self, history: int = 0) -> int:
        contacts = self._choice.sample(self.network.nodes, min(ARRIVAL_CONTACTS, len(self.network.nodes)))
        return self._new(tuple(contacts), history)

    def _arrive(self, step: steps.Arrive) -> None:
        for _ in range(step.count):
            latest = self.referee.latest(step.history)
            self._histories.append((self._newcomer(step.history), latest))
            self._pass(step.over_s / step.count)

    def _some(self, fraction: float) -> list[int]:
        nodes = self.network.nodes
        return self._choice.sample(nodes, round(len(nodes) * fraction))

    def _crash(self, numbers: list[int], *, notified: bool) -> None:
        for number in numbers:
            self.referee.gone(number)
        self.network.crash(numbers, notified=notified)

    def _split(self, step: steps.Split) -> None:
        nodes = self.network.nodes
        self._choice.shuffle(nodes)
        self.network.split({number: place % step.parts for place, number in enumerate(nodes)}, notified=step.notified)

    # --- broadcasts ---------------------------------------------------------------------------------------------------

    def _rounds(self, step: steps.Rounds) -> None:
        rounds = [self._round(step) for _ in range(step.count)]
        self._note(step.label, summary(rounds, len(self.network.nodes)))

    def _round(self, step: steps.Rounds) -> Round:
        network = self.network
        payloads, controls = network.payloads, network.controls
        judged = self.referee.begin(network.now_s, step.deadline_s)
        for author in self._authors(step.authors):
            self._broadcast(author, b"same" if step.content == "equal" else None, scope=SCOPES[step.scope])
        network.run(judged.deadline_s)
        if step.pause_s:
            pause_ends_s = network.now_s + step.pause_s
            while network.now_s < pause_ends_s:  # late deliveries stop the run, not the pause
                network.run(pause_ends_s)
        judged.payloads, judged.controls = network.payloads - payloads, network.controls - controls
        self._record(judged)
        return judged

    def _authors(self, which: str) -> list[int]:
        nodes = self.network.nodes
        if which == "all":
            return nodes
        if which == "random":
            return [self._choice.choice(nodes)]
        if self._only_author not in nodes:
            self._only_author = self._choice.choice(nodes)
        return [self._only_author]

    def _broadcast(
        self, author: int, content: bytes | None = None, settled_s: float = 0.0, scope: Scope = Scope.SWARM
    ) -> None:
        if content is None:
            content = b"m%d" % self._next_content
            self._next_content += 1
        born_before_s = self.network.now_s - settled_s
        candidates = self.network.nodes if scope is Scope.SWARM else self.network.view(author).active
        receivers = [n for n in candidates if n != author and self._born_s[n] <= born_before_s]
        self.referee.sent(author, content, receivers)
        self.network.command(author, Command(TOPIC, Broadcast(content, scope)))

    def _record(self, judged: Round) -> None:
        self.outcome.rounds.append(
            {
                "delivered_percent": 100 * judged.delivered / max(1, judged.expected),
                "rmr": judged.rmr,
                "ldh": judged.last_hop,
                "duration_ms": 1000 * (judged.last_s - judged.begin_s),
            }
        )

    def _churn(self, step: steps.Churn) -> None:
        network, rounds = self.network, []
        end_s = network.now_s + step.seconds
        crash_s, arrive_s = _period(step.crashes_per_s), _period(step.arrivals_per_s)
        due = {"crash": network.now_s + crash_s, "arrive": network.now_s + arrive_s, "broadcast": network.now_s}
        while (next_s := min(due.values())) < end_s:
            while network.now_s < next_s:
                network.run(next_s)
            what = min(due, key=lambda name: due[name])
            if what == "broadcast":
                due[what] += step.broadcast_s
                rounds.append(self.referee.begin(network.now_s, step.deadline_s))
                rounds[-1].payloads, rounds[-1].controls = -network.payloads, -network.controls
                if len(rounds) > 1:
                    rounds[-2].payloads += network.payloads
                    rounds[-2].controls += network.controls
                self._broadcast(self._choice.choice(network.nodes), settled_s=step.settled_s)
            elif what == "crash":
                due[what] += crash_s
                if len(network.nodes) > 2:
                    self._crash([self._choice.choice(network.nodes)], notified=step.notified)
            else:
                due[what] += arrive_s
                self._newcomer()
        last_s = max(end_s, self.referee.round.deadline_s)
        while network.now_s < last_s:
            network.run(last_s)
        rounds[-1].payloads += network.payloads
        rounds[-1].controls += network.controls
        for judged in rounds:
            self._record(judged)
        self._note(step.label, summary(rounds, len(network.nodes)))

    # --- time passes --------------------------------------------------------------------------------------------------

    def _idle(self, step: steps.Idle) -> None:
        begin_s, controls = self.network.now_s, self.network.controls
        self._pass(step.seconds)
        spent = (self.network.controls - controls) / len(self.network.nodes)
        self._note(step.label or "idle", {"control_per_node_s": spent / max(1e-9, self.network.now_s - begin_s)})

    def _pass(self, seconds: float) -> None:
        until_s = self.network.now_s + seconds
        while self.network.now_s < until_s:  # a late delivery may stop the run early
            self.network.run(until_s)

    def _look(self, label: str) -> None:
        views = self.network.views()
        seen = look(
            {number: view.active for number, view in views.items()},
            {number: view.passive for number, view in views.items()},
            self._profile.membership.active_capacity,
        )
        self._note(label, seen.measures())

    def _await(self, step: steps.AwaitOneComponent) -> None:
        begin_s = self.network.now_s
        while not (merged := self._one_component()) and self.network.now_s - begin_s < step.limit_s:
            self._pass(step.every_s)
        self._note(step.label, {"merged": float(merged), "merged_after_s": self.network.now_s - begin_s})

    def _one_component(self) -> bool:
        views = self.network.views()
        active = {number: view.active for number, view in views.items()}
        return look(active, {}, self._profile.membership.active_capacity).components == 1


def _period(per_s: float) -> float:
    return 1 / per_s if per_s else float("inf")
