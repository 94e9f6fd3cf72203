"""`remaphore check`: what the configuration says, whether it works, and how far the clocks are apart."""

import asyncio
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress

import nats.errors

from rmb_peer.remaphore import config_file
from rmb_peer.remaphore.core import base58, durations, subjects
from rmb_peer.remaphore.core.envelopes import CannotSign, Draft, Refused, check_draft, open_reply, sign
from rmb_peer.remaphore.core.settings import ANY_VERB, Settings
from rmb_peer.remaphore.core.text import to_bytes, to_text, without_controls
from rmb_peer.remaphore.intake import CLOCK_DESTINATION
from rmb_peer.remaphore.kept import JETSTREAM_S, ask
from rmb_peer.remaphore.links import Connection, Denied, Dialer, LinkError, Lost
from rmb_peer.remaphore.patience import UNREACHABLE_S

ANSWER_S = 1.5
"""How long peers are waited for; a guess."""
CLOCK_DOUBT = 0.5
"""From this part of `allow_skew` on, the offset of a clock is worth a warning."""
_UUID_BYTES = 12


class Report:
    """Lines on standard output: `ok`, `warn` or `FAIL`, and a sentence."""

    def __init__(self) -> None:
        self.failed = False

    def ok(self, text: str) -> None:
        """Something works."""
        self._line("ok  ", text)

    def warn(self, text: str) -> None:
        """Something is probably not meant."""
        self._line("warn", text)

    def fail(self, text: str) -> None:
        """Something does not work."""
        self.failed = True
        self._line("FAIL", text)

    def _line(self, kind: str, text: str) -> None:
        print(kind, to_text(without_controls(to_bytes(text))).encode("utf-8", "replace").decode(), flush=True)


async def check(path: str, settings: Settings, doubts: Iterable[str], pattern: bytes, timeout_ns: int) -> int:
    """Print what was found.

    Args:
        path: of the configuration.
        settings: what is in it.
        doubts: what parsing it found strange.
        pattern: ask these peers for their time by an ordinary `ping`, which may run their commands; empty asks only
            receivers of this program, in a way that runs nothing.
        timeout_ns: `-t`.

    Returns:
        0 if everything works, else 3.
    """
    report = Report()
    _describe(report, path, settings, doubts)
    dialer = Dialer(subjects.server_urls(settings.servers), settings.credentials)
    try:
        async with asyncio.timeout(durations.seconds(timeout_ns) if timeout_ns > 0 else UNREACHABLE_S):
            connection = await dialer.dial()
    except TimeoutError:
        report.fail(f"no server was reached: {dialer.last_failure}")
        return 3
    try:
        report.ok(f"connected to {connection.url}, messages up to {connection.max_payload} bytes")
        await _permissions(report, connection, settings)
        await _jetstream(report, connection)
        await _clocks(report, connection, settings, pattern)
    except Lost as error:
        report.fail(f"the connection was lost: {error}")
    finally:
        await connection.close()
    return 3 if report.failed else 0


def _describe(report: Report, path: str, settings: Settings, doubts: Iterable[str]) -> None:
    report.ok(f"configuration {path}: this node is {to_text(settings.destination)}")
    for doubt in doubts:
        report.warn(doubt)
    for warning in config_file.exposure(settings.credentials):
        report.warn(warning)
    for identity in settings.identities:
        verbs = ", ".join(map(to_text, identity.verbs)) or "nothing"
        default = " (default)" if identity.public == settings.default_identity else ""
        report.ok(f"identity {base58.encode(identity.public)}{default} may send: {verbs}")
    for peer in settings.peers:
        verbs = ", ".join(map(to_text, peer.verbs)) or "nothing"
        report.ok(f"peer {to_text(peer.destination)} may send: {verbs}")
    if not settings.peers:
        report.warn("no peers: nothing will ever be received")


async def _permissions(report: Report, connection: Connection, settings: Settings) -> None:
    messages = subjects.subject(settings.subject, "")
    answers = f"{settings.subject}.{secrets.token_hex(32)}"  # has the form of a subject for answers; nobody listens
    for what, subject, call in (
        ("receive messages", messages, connection.subscribe(messages, lambda _: None)),
        ("receive answers", answers, connection.subscribe(answers, lambda _: None)),
        ("publish answers", answers, connection.publish(answers, b"")),
    ):
        try:
            await call
            await connection.flush()
            report.ok(f"may {what}")
        except Denied as error:
            report.fail(f"may not {what} (subject {subject}): {error}")
        except LinkError as error:
            report.fail(f"cannot {what} (subject {subject}): {error}")


async def _jetstream(report: Report, connection: Connection) -> None:
    try:
        info = await ask(connection, connection.client.jetstream(timeout=JETSTREAM_S).account_info())
    except (LinkError, nats.errors.Error):
        report.warn("no JetStream: --durable, wait and lock are not available")
        return
    if (info.api.level or 0) < 1:
        report.warn("JetStream, but older than NATS 2.11: lock is not available")
    else:
        report.ok("JetStream: --durable, wait and lock are available")


async def _clocks(report: Report, connection: Connection, settings: Settings, pattern: bytes) -> None:
    verbs = [verb for identity in settings.identities for verb in identity.verbs if verb != ANY_VERB]
    verb = b"ping" if pattern else next(iter(verbs), b"ping")
    draft = Draft(pattern or CLOCK_DESTINATION, verb, b"", True, secrets.token_bytes(_UUID_BYTES))
    try:
        identity = check_draft(settings, draft)
    except CannotSign as error:
        report.warn(f"clocks not compared: {error}")
        return
    sent_ns = time.time_ns()
    encoded = sign(identity, draft, sent_ns)
    offsets: dict[bytes, int] = {}
    complete = asyncio.Event()

    def arrived(reply: bytes) -> None:
        received_ns = time.time_ns()
        with suppress(Refused):
            message = open_reply(settings, reply, received_ns)
            offsets.setdefault(message.sender, message.time_ns - (sent_ns + received_ns) // 2)
            if len(offsets) >= len({peer.public for peer in settings.peers}):
                complete.set()

    try:
        await connection.subscribe(subjects.reply_subject(settings.subject, encoded), arrived)
        await connection.publish(subjects.subject(settings.subject, ""), encoded)
        await connection.flush()
    except LinkError as error:
        report.fail(f"may not publish messages: {error}")
        return
    report.ok("may publish messages")
    with suppress(TimeoutError):
        async with asyncio.timeout(ANSWER_S):
            await connection.or_lost(complete.wait())
    if not offsets:
        report.warn(
            "clocks not compared: no peer answered. None is receiving, or its clock is off by more than allow_skew"
        )
    for public, offset_ns in offsets.items():
        peer = settings.peer(public)
        assert peer is not None  # open_reply looked it up
        text = f"clock of {to_text(peer.destination)}: {durations.show(offset_ns)} against ours"
        if abs(offset_ns) > settings.allow_skew_ns * CLOCK_DOUBT:
            report.warn(f"{text}; allow_skew is {durations.show(settings.allow_skew_ns)}")
        else:
            report.ok(text)
