"""What a running gateway knows about itself, in one place: for `rmb:status:live`, for `/metrics` and for `/readyz`.

It asks the parts and changes none of them. Before the registry answered there are no parts yet, and that is said.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from rmb_peer import __version__, metrics
from rmb_peer.downstream import Downstream
from rmb_peer.journal import CODES, Journal
from rmb_peer.local.queues import LocalQueues
from rmb_peer.probing import Prober
from rmb_peer.protocol.bao.engines import chosen_engine_name
from rmb_peer.transport.relay_pool import RelayPool
from rmb_peer.upstream import Upstream
from rmb_peer.workers.pool import Workers

PUBLISH_EVERY_S = 5.0
"""How often the status is written: one command and one look at the lengths of our streams. A guess."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What there is to observe once the gateway runs."""

    twin_id: int
    pool: RelayPool
    upstream: Upstream
    downstream: Downstream
    prober: Prober
    workers: Workers | None = None


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether messages flow, and what was found."""

    ready: bool
    facts: dict[str, Any]


class Observation:
    """One gateway, looked at.

    Attributes:
        parts: set when the gateway runs.
        state: "starting", "running", "stopping" or "stopped".
    """

    def __init__(
        self,
        *,
        queues: LocalQueues,
        journal: Journal,
        why_refused: Callable[[], Awaitable[str | None]],
        trouble: Callable[[], str | None],
        depths: Callable[[], Awaitable[dict[str, int]]],
        wall_clock: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        """Set up.

        Args:
            queues: where the status is published.
            journal: counts, and the last error.
            why_refused: asks the store for a write; see `RedisQueues.why_refused`.
            trouble: what the store said last, when it did not do what it was asked.
            depths: how much our own streams hold.
            wall_clock: Unix seconds.
            clock: monotonic seconds.
        """
        self.parts: Parts | None = None
        self.state = "starting"
        self._queues = queues
        self._journal = journal
        self._why_refused = why_refused
        self._trouble = trouble
        self._measure = depths
        self._depths: dict[str, int] = {}
        self._wall_clock = wall_clock
        self._clock = clock
        self._started_at_s = wall_clock()

    async def run(self, check: Callable[[], Awaitable[None]]) -> None:
        """Publish the status until cancelled; `check` is called each time, and may end the gateway."""
        while True:
            await self.publish()
            await asyncio.sleep(PUBLISH_EVERY_S)
            await check()

    async def publish(self) -> None:
        """Write the status now."""
        self._depths = await self._measure()
        await self._queues.publish(orjson.dumps(self.live()))

    def live(self) -> dict[str, Any]:
        """Everything that changes while it runs, as JSON values."""
        error = self._journal.last_error
        fields: dict[str, Any] = {
            "at_s": self._wall_clock(),
            "every_s": PUBLISH_EVERY_S,
            "state": self.state,
            "pid": os.getpid(),
            "version": __version__,
            "started_at_s": self._started_at_s,
            "store_trouble": self._trouble(),
            "bao_engine": chosen_engine_name() or "none yet",  # chosen when a bridge first needs it
            "last_error": None if error is None else {"at_s": error[0], "text": error[1]},
            "counts": dict(self._journal.counts),
            "journal_dropped": self._journal.dropped,
            "relays": [],
            "in_flight": 0,
            "waiting_for_relay": 0,
            "workers": None,
        }
        if self.parts is not None:
            pool = self.parts.pool
            fields["relays"] = [
                {
                    "url": link.url,
                    "connected": link.connected,
                    "link": link.protocol,
                    "rtt_ms": None if link.round_trip_s is None else round(link.round_trip_s * 1000, 2),
                    "unconfirmed": link.in_flight,
                    "last_error": self._link_error(link.last_error),
                }
                for link in pool.status()
            ]
            fields["in_flight"] = self.parts.upstream.in_flight
            fields["waiting_for_relay"] = pool.pending
            if self.parts.workers is not None:
                fields["workers"] = asdict(self.parts.workers.status())
        return fields

    async def readiness(self) -> Readiness:
        """Whether a message to ourselves went through the relay and back, and the store takes writes."""
        if self.parts is None:
            return Readiness(False, {"reason": "starting: the registry of twins has not answered yet"})
        if self.state != "running":
            return Readiness(False, {"reason": self.state})
        began_s = self._clock()
        refusal = await self._why_refused()
        store_ms = round((self._clock() - began_s) * 1000, 2)
        if refusal is not None:
            return Readiness(False, {"reason": f"the store does not take writes: {refusal}"})
        probed = await self.parts.prober.probed()
        facts = {"store_ms": store_ms, "probe_s_ago": round(self._clock() - probed.at_s, 1)}
        if probed.took_s is None:
            return Readiness(False, {"reason": f"messages do not flow: {probed.problem}", **facts})
        return Readiness(True, {"relay_ms": round(probed.took_s * 1000, 2), **facts})

    def metrics(self) -> bytes:
        """The same numbers for Prometheus."""
        family = metrics.family
        live = self.live()
        counts = live["counts"]
        twin = str(self.parts.twin_id) if self.parts else ""
        links = [({"relay": link["url"]}, link) for link in live["relays"]]
        lines = family(
            "rmb_gateway_info", "gauge", "Which gateway this is.", [({"twin": twin, "version": __version__}, 1)]
        )
        lines += family(
            "rmb_gateway_messages_total",
            "counter",
            "Steps of messages, by what happened.",
            [({"event": code}, counts.get(code, 0)) for code in CODES],
        )
        if self.parts is not None:
            endings = [({"outcome": name}, number) for name, number in sorted(self.parts.downstream.counts.items())]
            lines += family("rmb_gateway_arrivals_total", "counter", "Arrived messages, by how they ended.", endings)
        lines += family("rmb_gateway_link_up", "gauge", "1 while a relay is connected.", _of(links, "connected"))
        rtts = [(labels, link["rtt_ms"] / 1000) for labels, link in links if link["rtt_ms"] is not None]
        lines += family("rmb_gateway_link_round_trip_seconds", "gauge", "Last ping to a relay and back.", rtts)
        lines += family(
            "rmb_gateway_link_unconfirmed", "gauge", "Sent and not yet proven to be read.", _of(links, "unconfirmed")
        )
        in_flight, pending = live["in_flight"], live["waiting_for_relay"]
        lines += family("rmb_gateway_in_flight", "gauge", "Messages on their way out.", [({}, in_flight)])
        lines += family(
            "rmb_gateway_waiting_for_relay", "gauge", "Of these: not yet given to a relay.", [({}, pending)]
        )
        lines += _of_workers(live["workers"])
        lines += family("rmb_gateway_store_up", "gauge", "0 while the store fails.", [({}, not live["store_trouble"])])
        lines += family(
            "rmb_gateway_store_entries",
            "gauge",
            "What our own streams hold; measured every few seconds.",
            [({"what": name}, number) for name, number in self._depths.items()],
        )
        dropped: list[metrics.Sample] = [({}, live["journal_dropped"])]
        lines += family("rmb_gateway_journal_dropped_total", "counter", "Journal events never written.", dropped)
        probed = self.parts.prober.last if self.parts else None
        if probed is not None:
            ok: list[metrics.Sample] = [({}, probed.took_s is not None)]
            lines += family("rmb_gateway_probe_ok", "gauge", "Whether the last probe of /readyz came back.", ok)
            if probed.took_s is not None:
                took: list[metrics.Sample] = [({}, probed.took_s)]
                lines += family("rmb_gateway_probe_seconds", "gauge", "How long it took, there and back.", took)
        return metrics.text_of(lines)

    def _link_error(self, error: tuple[float, str] | None) -> dict[str, Any] | None:
        if error is None:
            return None
        at_s, text = error
        return {"at_s": round(self._wall_clock() - (self._clock() - at_s), 3), "text": text}


def _of(links: list[tuple[dict[str, str], dict[str, Any]]], name: str) -> list[tuple[dict[str, str], float]]:
    return [(labels, float(link[name])) for labels, link in links]


def _of_workers(workers: dict[str, int] | None) -> list[str]:
    if workers is None:
        return []
    family = metrics.family
    counts = [({"state": state}, workers[state]) for state in ("wanted", "running")]
    return [
        *family("rmb_gateway_workers", "gauge", "Processes of --workers.", counts),
        *family(
            "rmb_gateway_workers_jobs", "gauge", "Messages given to workers, not answered.", [({}, workers["jobs"])]
        ),
        *family("rmb_gateway_workers_replaced_total", "counter", "Workers that died.", [({}, workers["replaced"])]),
    ]
