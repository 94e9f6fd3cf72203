"""Addresses: a twin id and, for one of several connections of that twin, a session id (spec rmb 1).

Absent and empty session ids are different sessions everywhere, so `None` and `""` are never folded together here.
"""

from typing import NamedTuple

from rmb_peer.protocol.pb.envelope_pb2 import Address as AddressMessage

TWIN_ID_MAX = 2**32 - 1
"""Twin ids are u32 (spec rmb 1)."""


class Address(NamedTuple):
    """Where a message comes from or goes to. A tuple, because several are made for every message.

    Attributes:
        twin: twin id; 0 means nobody, or a relay speaking for itself.
        session: session id, `None` when the twin uses a single unnamed session.
    """

    twin: int
    session: str | None = None

    def __str__(self) -> str:
        return str(self.twin) if self.session is None else f"{self.twin}:{self.session}"

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read `<twin>` or `<twin>:<session>`, split at the first colon.

        Raises:
            ValueError: the part before the colon is no u32, or the session holds lone surrogates, as arguments of a
                command do that were not UTF-8; the text says which.
        """
        twin_text, colon, session = text.partition(":")
        if not (twin_text.isascii() and twin_text.isdigit()) or len(twin_text) > 10 or int(twin_text) > TWIN_ID_MAX:
            raise ValueError(f"{twin_text[:20]!r} is not a twin id: expected a number from 0 to {TWIN_ID_MAX}")
        try:
            session.encode()
        except UnicodeEncodeError:
            raise ValueError("the session id is not valid text: it cannot be written as UTF-8") from None
        return cls(int(twin_text), session if colon else None)

    @classmethod
    def from_message(cls, message: AddressMessage) -> "Address":
        """Read the protobuf form."""
        return cls(message.twin, message.connection if message.HasField("connection") else None)

    def write_to(self, message: AddressMessage) -> None:
        """Write into the protobuf form, which is then present even if every field has its default."""
        message.SetInParent()
        message.twin = self.twin
        if self.session is None:
            message.ClearField("connection")
        else:
            message.connection = self.session
