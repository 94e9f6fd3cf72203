"""Our decoding and the library's calls against the true metadata of the chain."""

import copy
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from scalecodec.base import RuntimeConfigurationObject, ScaleBytes
from scalecodec.type_registry import load_type_registry_preset

from rmb_peer.protocol.ss58 import decode_account
from rmb_peer.registry.tfchain.layout import wrong_with
from rmb_peer.registry.tfchain.records import decode_twin
from tests.registry.tfchain.test_records import stored
from tests.support.chain import StoredTwin, needs_chain_data
from tests.support.chain.data import metadata as metadata_bytes
from tests.support.chain_client import vectors

pytestmark = needs_chain_data


@cache
def _loaded() -> tuple[RuntimeConfigurationObject, Any]:
    config = RuntimeConfigurationObject(implements_scale_info=True)
    config.update_type_registry(load_type_registry_preset("core"))
    metadata = config.create_scale_object("MetadataVersioned", ScaleBytes(metadata_bytes()))
    metadata.decode()
    config.add_portable_registry(metadata)
    return config, metadata


def _twin_type() -> str:
    _, metadata = _loaded()
    (item,) = [one for one in metadata.get_metadata_pallet("TfgridModule").storage if one.value["name"] == "Twins"]
    return f"scale_info::{item.value['type']['Map']['value']}"


def _check_against_the_library(data: bytes) -> None:
    config, _ = _loaded()
    theirs = config.create_scale_object(_twin_type(), ScaleBytes(bytearray(data)))
    theirs.decode()
    ours = decode_twin(data)
    relay, pk = (theirs.value_object[name].value_object for name in ("relay", "pk"))
    assert theirs.value["id"] == ours.id
    assert decode_account(theirs.value["account_id"]) == ours.account
    text = "" if relay is None else bytes(relay.value_object).decode()
    assert frozenset(text.lower().split("_")) - {""} == ours.relays
    if pk is not None and len(pk.value_object) == 33:
        assert bytes(pk.value_object) == ours.public_key


@pytest.mark.parametrize("vector", vectors()["twins"], ids=lambda vector: vector["relay"])
def test_the_vectors_are_what_the_metadata_says(vector: dict[str, Any]) -> None:
    """The library, led by the metadata, reads the same bytes to the same twin."""
    _check_against_the_library(bytes.fromhex(vector["scale"]))


@hypothesis_settings(max_examples=25)
@given(stored)
def test_our_decoder_agrees_with_the_metadata(twin: StoredTwin) -> None:
    """For arbitrary twins."""
    _check_against_the_library(twin.encode())


@pytest.mark.parametrize("vector", vectors()["calls"], ids=lambda vector: vector["scale"][:8])
def test_calls_encode_to_the_vectors(vector: dict[str, Any]) -> None:
    """Composed as `writing` does it: texts as bytes."""
    config, metadata = _loaded()
    call = config.create_scale_object("Call", metadata=metadata)
    arguments = {
        name: None if value is None else bytes.fromhex(value) if name == "pk" else value.encode()
        for name, value in vector["arguments"].items()
    }
    call.encode({"call_module": "TfgridModule", "call_function": vector["call"], "call_args": arguments})
    assert call.data.to_hex() == "0x" + vector["scale"]


def test_the_true_chain_is_accepted() -> None:
    """Its metadata shows twins with relays, and the calls to write them."""
    assert wrong_with(_loaded()[1]) is None


class _Fake:
    """Metadata with something changed."""

    def __init__(self, pallet: Any, types: Any) -> None:
        self._pallet = pallet
        self.portable_registry = types

    def get_metadata_pallet(self, _name: str) -> Any:
        return self._pallet


class _Types:
    def __init__(self, value: Any) -> None:
        self.value = value


def test_other_chains_are_refused() -> None:
    """No pallet; twins of the old form, with an ip; a call that is missing; metadata without types."""
    metadata = _loaded()[1]
    pallet = metadata.get_metadata_pallet("TfgridModule")
    types = copy.deepcopy(metadata.portable_registry["types"].value)
    assert "has no TfgridModule" in str(wrong_with(_Fake(None, {"types": _Types(types)})))
    assert "too old" in str(wrong_with(_Fake(pallet, None)))
    number = int(_twin_type().removeprefix("scale_info::"))
    (twin,) = [one for one in types if one["id"] == number]
    twin["type"]["def"]["composite"]["fields"][2]["name"] = "ip"
    assert "(id, account_id, ip, entities, pk)" in str(wrong_with(_Fake(pallet, {"types": _Types(types)})))
    twin["type"]["def"]["composite"]["fields"][2]["name"] = "relay"
    (calls,) = [one for one in types if one["id"] == pallet.value["calls"]["ty"]]
    for call in calls["type"]["def"]["variant"]["variants"]:
        call["name"] = call["name"].replace("update_twin", "gone")
    assert "lacks update_twin" in str(wrong_with(_Fake(pallet, {"types": _Types(types)})))
