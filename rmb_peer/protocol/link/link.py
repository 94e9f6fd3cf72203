"""One end of an acknowledged link: envelopes and endings in, frames out; frames in, envelopes and endings out.

Pure: the driver moves the frames, one binary WebSocket message each. Whenever it has put or settled something it asks
`wait_s`, and once that is 0 it calls `take_frame` until there is none. A link lives as long as its connection; what has
not ended then is the caller's again, and goes out on the next one.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import DecodeError

from rmb_peer.protocol.envelope import MESSAGE_BYTES_MAX
from rmb_peer.protocol.link.endings import REASON_BYTES_MAX, Ending, LinkBroken, Outcome, Run, Window
from rmb_peer.protocol.link.incoming import Incoming
from rmb_peer.protocol.link.outgoing import Outgoing, announced
from rmb_peer.protocol.link.parts import Conversation, Joining
from rmb_peer.protocol.pb import link_pb2 as pb

Entry = TypeVar("Entry")

FRAME_MESSAGES_MAX = 256
"""Envelopes in one frame. A guess: as many as a gateway takes from its lists at once."""

FRAME_BYTES_MAX = 256 * 1024
"""A frame ends before the envelope that would exceed this; a larger one travels alone. A guess: a few milliseconds of
a good line, so that acknowledgements are not held up behind."""

RUNS_MAX = 128
"""Runs of endings in one frame. A guess."""

FRAME_OVERHEAD_BYTES = 128 * 1024
"""What a frame holds at most beside its envelopes: endings with the longest reasons, numbers, lengths."""


@dataclass(frozen=True, slots=True)
class Heard(Generic[Entry]):
    """What a frame brought.

    Attributes:
        envelopes: number and bytes of each, in order; each has to be settled once.
        ended: what this side had put and has ended now, and how.
    """

    envelopes: list[tuple[int, bytes]]
    ended: list[tuple[Entry, Outcome]]


class Link(Generic[Entry]):
    """One end of one connection.

    Attributes:
        outgoing: for its numbers; use `put` and `take_unended` of the link.
    """

    def __init__(
        self,
        window: Window,
        conversation: Conversation | None = None,
        *,
        answers: bool = True,
        envelope_bytes_max: int = MESSAGE_BYTES_MAX,
    ) -> None:
        """Begin with a connection that was just made.

        Args:
            window: what this side accepts before it has settled earlier ones.
            conversation: see `parts`.
            answers: whether envelopes of ours go back, too, so that acknowledgements can wait for them.
            envelope_bytes_max: of larger ones that come in parts only the beginning is kept; it is larger than this.
        """
        self.outgoing: Outgoing[Entry] = Outgoing(conversation)
        self._joining = Joining(envelope_bytes_max)
        self._incoming = Incoming(window, answers=answers)
        self._window: Window | None = window
        """Ours, until it has been said."""
        self._heard_window = False
        self._part_went = False

    @property
    def unended(self) -> int:
        """Envelopes put here that have not ended."""
        return self.outgoing.unended

    @property
    def unsettled(self) -> int:
        """Envelopes that came and were not settled here."""
        return self._incoming.unended

    def has_room(self, size_bytes: int = 0) -> bool:
        """Whether the other side's window lets another envelope of this size out."""
        return self.outgoing.has_room(size_bytes)

    def put(self, entry: Entry, data: bytes) -> None:
        """Send an envelope. Ask `has_room` first.

        Args:
            entry: comes back with the outcome.
            data: serialised envelope.
        """
        self.outgoing.put(entry, data)

    def settle(self, number: int, outcome: Outcome) -> None:
        """An envelope that came has ended; in any order, each once."""
        self._incoming.settle(number, outcome)

    def take_unended(self) -> list[Entry]:
        """Everything that was put and has not ended, in order, when the connection is gone."""
        return self.outgoing.take_unended()

    def wait_s(self, now_s: float) -> float | None:
        """How long what there is to say may wait for something that takes it along.

        Only acknowledgements wait, and only for a moment (`pacing`). A driver that is about to end the connection does
        not let them.

        Args:
            now_s: the time, of a clock that never goes back.

        Returns:
            seconds; 0 when `take_frame` is to be called now; `None` when there is nothing to say.
        """
        if self.outgoing.queued or self.outgoing.in_parts or self._window is not None:
            return 0.0
        return self._incoming.wait_s(now_s)

    def take_frame(self) -> bytes | None:
        """The next frame to write; `None` when there is nothing to say."""
        return self._frame(with_envelopes=True)

    def take_last_frame(self) -> bytes | None:
        """Like `take_frame`, without envelopes, when this side is about to end the connection.

        What has not been framed by then is the caller's again (`take_unended`), and would only come twice.
        """
        return self._frame(with_envelopes=False)

    def _frame(self, *, with_envelopes: bool) -> bytes | None:
        outgoing = self.outgoing
        queued, in_parts = with_envelopes and outgoing.queued, with_envelopes and outgoing.in_parts
        if self._window is None and not queued and not in_parts and not self._incoming.something_to_say:
            return None
        frame = pb.Frame()
        if self._window is not None:
            frame.window.messages = self._window.messages
            frame.window.size_bytes = self._window.size_bytes
            frame.window.parts = True
            self._window = None
        endings = self._incoming.something_to_say
        frame.safe, runs = self._incoming.take_endings(RUNS_MAX)
        for run in runs:
            frame.outcomes.add(
                first=run.first,
                more=run.more,
                ending=pb.Ending.Name(run.outcome.ending),
                code=run.outcome.code,
                reason=_trim(run.outcome.reason),
                retry_after_ms=min(run.outcome.retry_after_ms, 2**32 - 1),
            )
        # Parts and what goes past them take turns.
        if in_parts and not (queued and self._part_went):
            frame.part = outgoing.take_part()
            queued = outgoing.queued  # the end of it, when that is all that was left
        self._part_went = bool(frame.part)
        # A large envelope takes long to travel; the other side's window does not wait for it.
        if not self._part_went and queued and not (endings and outgoing.next_bytes > FRAME_BYTES_MAX):
            frame.first, envelopes = outgoing.take_run(FRAME_MESSAGES_MAX, FRAME_BYTES_MAX)
            frame.envelopes.extend(envelopes)
            if frame.first <= outgoing.joined < frame.first + len(envelopes):
                frame.joined, outgoing.joined = outgoing.joined, 0
        return frame.SerializeToString()

    def received(self, data: bytes) -> Heard[Entry]:
        """Read a frame.

        Raises:
            LinkBroken: it is none, or breaks a rule; the connection has to end.
        """
        try:
            frame = pb.Frame.FromString(data)
        except DecodeError as error:
            raise LinkBroken(f"no frame: {error}") from None
        self._hear_window(frame)
        envelopes = list(frame.envelopes)
        if frame.part or frame.joined:
            self._join(frame, envelopes)
        self._incoming.arrived(frame.first, [len(envelope) for envelope in envelopes])
        ended = self.outgoing.end(map(_run, frame.outcomes), frame.safe)
        return Heard(list(enumerate(envelopes, frame.first)), ended)

    def _join(self, frame: pb.Frame, envelopes: list[bytes]) -> None:
        if frame.part:
            self._joining.add(frame.part)
        if frame.joined:
            place = frame.joined - frame.first
            if not 0 <= place < len(envelopes):
                raise LinkBroken(f"the end of an envelope, {frame.joined}, is not in its frame")
            envelopes[place] = self._joining.join(envelopes[place])

    def _hear_window(self, frame: pb.Frame) -> None:
        if frame.HasField("window") == self._heard_window:
            raise LinkBroken("a window belongs into the first frame, and only there")
        if frame.HasField("window"):
            self.outgoing.window = announced(frame.window.messages, frame.window.size_bytes)
            self.outgoing.takes_parts = frame.window.parts
            self._heard_window = True


def _run(message: pb.Outcome) -> Run:
    try:
        ending = Ending(message.ending)
    except ValueError:
        raise LinkBroken(f"unknown ending {message.ending}") from None
    outcome = Outcome(ending, message.code, message.reason[:REASON_BYTES_MAX], message.retry_after_ms)
    return Run(message.first, message.more, outcome)


def _trim(reason: str) -> str:
    return reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore")
