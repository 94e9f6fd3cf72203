"""Headers of blocks, and their hashes."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.registry.tfchain.header import BadHeader, read_header
from tests.support.chain import needs_chain_data, stand_in_node

GOOD: dict[str, Any] = {
    "parentHash": "0x" + "11" * 32,
    "number": "0x10",
    "stateRoot": "0x" + "22" * 32,
    "extrinsicsRoot": "0x" + "33" * 32,
    "digest": {"logs": []},
}


@needs_chain_data
async def test_the_hash_is_that_of_the_node() -> None:
    """Small and large numbers: the computed hash is the one under which the node keeps the block."""
    async with stand_in_node() as node:
        for number in (1, 63, 64, 70):
            block = node.produce(number - node.best.number)
            header = read_header(block.header())
            assert (header.number, header.hash) == (number, "0x" + block.hash.hex())


def test_the_hash_of_a_real_header() -> None:
    """A block with a digest, made by the real runtime of spec version 144 in chopsticks 1.1.0, and its name there."""
    header = {
        "parentHash": "0x5be834a89ea3c72cdd87b5a6e41cc6c7d26f3e5cefde5e83f12fc2833e4ef882",
        "number": "0x00000002",
        "stateRoot": "0x" + "00" * 32,
        "extrinsicsRoot": "0x2910d797c3a735561e58291bea6d3e8b9e9e5ca506340774f855b9f717feea24",
        "digest": {"logs": ["0x0661757261201b81d51100000000"]},
    }
    found = read_header(header)
    assert (found.number, found.parent) == (2, header["parentHash"])
    assert found.hash == "0x88b5d8b06974775c3d3e982e1086a1f781dbd02b2bc793cfac7aed9368bb45f4"


def test_digest_and_number_are_part_of_the_hash() -> None:
    """Two headers that differ in one log, or in the number, are two blocks."""
    digest = {"digest": {"logs": ["0x0661757261200000000000000000"]}}
    hashes = {read_header(GOOD | change).hash for change in ({}, digest, {"number": "0x11"}, {"number": "0xffffffff"})}
    assert len(hashes) == 4


BAD: dict[str, Any] = {
    "no-object": [],
    "no-digest": {**GOOD, "digest": None},
    "no-logs": {**GOOD, "digest": {"logs": 1}},
    "log-no-hex": {**GOOD, "digest": {"logs": ["0xzz"]}},
    "log-no-text": {**GOOD, "digest": {"logs": [1]}},
    "too-many-logs": {**GOOD, "digest": {"logs": ["0x"] * 1001}},
    "short-hash": {**GOOD, "parentHash": "0x11"},
    "hash-with-spaces": {**GOOD, "parentHash": "0x" + " 1" * 32},
    "number-decimal": {**GOOD, "number": "16"},
    "number-int": {**GOOD, "number": 16},
    "number-empty": {**GOOD, "number": "0x"},
    "number-too-large": {**GOOD, "number": "0x100000000"},
    "number-negative": {**GOOD, "number": "0x-1"},
}


@pytest.mark.parametrize("value", BAD.values(), ids=BAD.keys())
def test_what_is_no_header_is_refused(value: Any) -> None:
    """Each part is checked."""
    with pytest.raises(BadHeader):
        read_header(value)


def test_the_longest_digest_passes() -> None:
    """1000 logs are accepted, the first count above is not (see above)."""
    assert read_header(GOOD | {"digest": {"logs": ["0x"] * 1000}}).number == 16


json_noise = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*GOOD, "logs"]), inner, max_size=6),
    max_leaves=10,
)


@given(st.one_of(json_noise, st.builds(lambda key, value: GOOD | {key: value}, st.sampled_from([*GOOD]), json_noise)))
def test_noise_never_crashes(value: Any) -> None:
    """Noise is a header or `BadHeader`."""
    with contextlib.suppress(BadHeader):
        read_header(value)
