"""One version of the chain's program, as far as clients see it: metadata, version, and the numbers of things.

Numbers of pallets, calls, events and errors come from the metadata (spec tfchain 1, "Pallet numbers move"). `moved`
makes another version of the same program, with its number grown by one and a pallet elsewhere. It refuses to execute
anything.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from scalecodec.base import RuntimeConfigurationObject, ScaleBytes
from scalecodec.type_registry import load_type_registry_preset

from tests.support.chain import data
from tests.support.chain.codec import compact, text, u32

TFGRID = "TfgridModule"
_NEIGHBOUR = "SmartContractModule"  # follows TfgridModule in every list of this metadata, directly
_SPEC_NAME = b"substrate-threefold"


@dataclass(frozen=True, slots=True)
class Pallet:
    """Numbers of one pallet, by name."""

    index: int
    calls: Mapping[str, int]
    events: Mapping[str, int]
    errors: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Runtime:
    """A version of the chain's program.

    Attributes:
        metadata: its description of itself, SCALE.
        version: the constant `System.Version`, decoded.
        pallets: numbers, by the pallet's name.
    """

    metadata: bytes
    version: Mapping[str, Any]
    pallets: Mapping[str, Pallet]

    @property
    def spec_version(self) -> int:
        """Grows with every change."""
        return int(self.version["spec_version"])

    @property
    def transaction_version(self) -> int:
        """Grows when the form of transactions changes."""
        return int(self.version["transaction_version"])

    def event(self, pallet: str, name: str, fields: bytes = b"") -> bytes:
        """An event without its phase and topics."""
        numbers = self.pallets[pallet]
        return bytes([numbers.index, numbers.events[name]]) + fields

    def error(self, pallet: str, name: str) -> bytes:
        """A `DispatchError::Module`, which is variant 3."""
        numbers = self.pallets[pallet]
        return bytes([3, numbers.index]) + u32(numbers.errors[name])

    def call_name(self, pallet_index: int, call_index: int) -> str | None:
        """`Pallet.call` for two numbers; `None` when there is no such call."""
        for pallet_name, pallet in self.pallets.items():
            if pallet.index == pallet_index:
                return next((f"{pallet_name}.{name}" for name, i in pallet.calls.items() if i == call_index), None)
        return None

    def rpc_version(self) -> dict[str, Any]:
        """What `state_getRuntimeVersion` answers."""
        names = {
            "specName": "spec_name",
            "implName": "impl_name",
            "authoringVersion": "authoring_version",
            "specVersion": "spec_version",
            "implVersion": "impl_version",
            "transactionVersion": "transaction_version",
            "stateVersion": "state_version",
        }
        return {theirs: self.version[ours] for theirs, ours in names.items()} | {
            "apis": [list(api) for api in self.version["apis"]]
        }


def moved(runtime: Runtime, pallet_index: int) -> Runtime:
    """The next version of a program, with `TfgridModule` under another number.

    Args:
        runtime: the version before.
        pallet_index: the pallet's new number, free in the version before.
    """
    assert pallet_index not in {pallet.index for pallet in runtime.pallets.values()}, "that number is taken"
    neighbour = text(_NEIGHBOUR.encode())
    old, new = (bytes([index]) for index in (runtime.pallets[TFGRID].index, pallet_index))
    raw = runtime.metadata
    # The number stands at the end of the pallet's entry in three lists: the pallets, the events and the calls. In the
    # last two an empty list of documentation follows it.
    for ending, count in ((b"\0" + neighbour, 2), (neighbour, 1)):
        assert raw.count(old + ending) == count, "the metadata is not the one that this was written for"
        raw = raw.replace(old + ending, new + ending)
    version = text(_SPEC_NAME) * 2 + u32(runtime.version["authoring_version"])
    assert raw.count(version + u32(runtime.spec_version)) == 1
    raw = raw.replace(version + u32(runtime.spec_version), version + u32(runtime.spec_version + 1))
    return _decode(raw)


def first() -> Runtime:
    """The true runtime description, spec version 149."""
    return _decode(data.metadata())


@cache
def _decode(raw: bytes) -> Runtime:
    config = RuntimeConfigurationObject(implements_scale_info=True)
    config.update_type_registry(load_type_registry_preset("core"))
    metadata = config.create_scale_object("MetadataVersioned", data=ScaleBytes(raw))
    metadata.decode()
    config.add_portable_registry(metadata)
    types = metadata.portable_registry.value["types"]

    def variants(part: dict[str, Any] | None) -> dict[str, int]:
        if part is None:
            return {}
        found = types[part["ty"]]["type"]["def"]["variant"]["variants"]
        return {variant["name"]: variant["index"] for variant in found}

    pallets = {
        pallet["name"]: Pallet(
            pallet["index"], variants(pallet["calls"]), variants(pallet["event"]), variants(pallet["error"])
        )
        for pallet in metadata.value[1]["V14"]["pallets"]
    }
    system = next(pallet for pallet in metadata.pallets if pallet.value["name"] == "System")
    constant = next(constant for constant in system.constants if constant.value["name"] == "Version")
    version = config.create_scale_object(constant.type, ScaleBytes(constant.constant_value)).decode()
    return Runtime(raw, version, pallets)


def record(phase_index: int, event: bytes) -> bytes:
    """An event of an extrinsic as it stands in `System.Events`: phase `ApplyExtrinsic`, event, no topics."""
    return b"\0" + u32(phase_index) + event + compact(0)


def extrinsic_hash(raw: bytes) -> str:
    """How an extrinsic is called."""
    return "0x" + hashlib.blake2b(raw, digest_size=32).hexdigest()
