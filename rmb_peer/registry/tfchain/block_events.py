"""What a block says about twins: its events `TwinStored` and `TwinUpdated` (spec tfchain 3, 9).

Events can only be told apart by decoding all of them, with the metadata of the runtime that wrote them. The library
does that; where a twin begins and ends is taken from it, and the twin's bytes are decoded here, since the library shows
bytes ambiguously (spec tfchain 11). This module refuses to know which blocks are wanted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.tfchain.errors import NodeFailed, NodeRefused
from rmb_peer.registry.tfchain.header import Header
from rmb_peer.registry.tfchain.node import Node
from rmb_peer.registry.tfchain.records import decode_twin
from rmb_peer.registry.tfchain.storage import EVENTS_KEY

PALLET = "TfgridModule"

Kind = Literal["stored", "updated"]
_KINDS: dict[str, Kind] = {"TwinStored": "stored", "TwinUpdated": "updated"}


class EventsMissing(Exception):
    """The node does not have the events of this block: it keeps the state of the newest blocks only."""


class EventsUnreadable(Exception):
    """The events do not fit the metadata; the text says what happened."""


@dataclass(frozen=True, slots=True)
class TwinEvent:
    """A twin was created or changed; `twin` is the whole record after that."""

    kind: Kind
    twin: Twin


class EventReader:
    """Reads events from one node; loads the metadata again when the runtime's version changes."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._version: int | None = None
        self._decoder: _Decoder | None = None

    def read(self, block: Header) -> tuple[TwinEvent, ...]:
        """The events about twins in a block, in their order.

        Raises:
            EventsMissing: the node has them no more.
            EventsUnreadable: they cannot be decoded.
            NodeFailed: no usable answer.
        """
        try:
            raw = self._node.request("state_getStorage", "0x" + EVENTS_KEY.hex(), block.hash)
            if raw is None:
                return ()
            data = _bytes(raw)
            decoder = self._decoder_for(block)
        except NodeRefused as refused:
            raise EventsMissing(str(refused)) from None
        if not decoder.may_hold_twins(data):
            return ()
        return tuple(decoder.twins_in(data))

    def _decoder_for(self, block: Header) -> "_Decoder":
        """A block is carried out by the runtime that its parent left behind."""
        answer = self._node.request("state_getRuntimeVersion", block.parent)
        version = answer.get("specVersion") if isinstance(answer, dict) else None
        if type(version) is not int:
            raise NodeFailed("it does not say the version of its runtime")
        if self._decoder is None or version != self._version:
            self._decoder = _Decoder(self._node.interface(block.hash))
            self._version = version
        return self._decoder


class _Decoder:
    """The events of one version of the runtime."""

    def __init__(self, interface: Any) -> None:
        self._config = interface.runtime_config
        self._metadata = interface.metadata
        try:
            pallet = self._metadata.get_metadata_pallet(PALLET)
            events = {event.value["name"]: event.value["index"] for event in pallet.events}
            self._marks = [bytes([pallet.value["index"], events[name]]) for name in _KINDS]
            system = self._metadata.get_metadata_pallet("System")
            self._type = system.get_storage_function("Events").get_value_type_string()
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise NodeFailed(f"its metadata has no events of {PALLET} ({type(error).__name__})") from error

    def may_hold_twins(self, data: bytes) -> bool:
        """Whether the two bytes that such an event begins with occur at all; nearly every block is done with this."""
        return any(mark in data for mark in self._marks)

    def twins_in(self, data: bytes) -> Iterator[TwinEvent]:
        """Decode all events, and pick ours.

        Raises:
            EventsUnreadable: it does not work out.
        """
        from scalecodec.base import ScaleBytes

        try:
            records = self._config.create_scale_object(self._type, data=ScaleBytes(data), metadata=self._metadata)
            records.decode()
            for record in records.elements:
                pallet, event = record.value_object["event"].value_object
                if pallet == PALLET and event.value_object[0] in _KINDS:
                    field = event.value_object[1]
                    twin = decode_twin(data[field.data_start_offset : field.data_end_offset])
                    yield TwinEvent(_KINDS[event.value_object[0]], twin)
        except Exception as error:
            # The library raises almost anything over bytes that do not fit.
            raise EventsUnreadable(f"{type(error).__name__}: {error}"[:200]) from error


def _bytes(text: Any) -> bytes:
    if isinstance(text, str) and text.startswith("0x"):
        try:
            return bytes.fromhex(text[2:])
        except ValueError:
            pass
    raise NodeFailed("it sent events that are no hex text")
