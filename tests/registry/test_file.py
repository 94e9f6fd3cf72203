"""Twins from a file: what may stand there, and what happens when somebody edits it."""

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rmb_peer.protocol.ss58 import encode_account
from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.base import RegistryRefused, RegistryUnavailable
from rmb_peer.registry.file import FileRegistry
from tests.support.hosted_registry import Listener, signer, until

A, B = signer("a").account, signer("b").account
PK = bytes([2]) * 33
GOOD = f"""
[[twins]]
id = 1
account = "{encode_account(A)}"
relays = ["Relay.Test", "other.test:8080"]
pk = "{PK.hex()}"

[[twins]]   # plain payloads
id = 7
account = "0x{B.hex()}"
relays = []
"""
TWIN_A = Twin(1, A, frozenset({"relay.test", "other.test:8080"}), PK)
TWIN_B = Twin(7, B, frozenset(), None)


class Site:
    """A registry file, its reader, and time that passes when the test says so."""

    def __init__(self, path: Path, **limits: Any) -> None:
        self.path = path
        self.now = 0.0
        self.registry = FileRegistry(path, clock=lambda: self.now, **limits)
        self._edits = 0

    def write(self, text: str | bytes, later: bool = True) -> None:
        """Save as an editor does, with a time stamp of its own whatever the file system's resolution."""
        self._edits += 1
        self.path.write_bytes(text.encode() if isinstance(text, str) else text)
        os.utime(self.path, ns=(self._edits * 10**9, self._edits * 10**9))
        if later:
            self.now += 1


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "twins.toml")


async def test_toml_and_json_say_the_same(site: Site, tmp_path: Path) -> None:
    """Both languages, accounts as SS58 and hex, relays in any case, with and without a key."""
    site.write(GOOD)
    json = FileRegistry(tmp_path / "twins.json")
    entries = [
        {"id": 1, "account": A.hex(), "relays": ["relay.test", "OTHER.test:8080"], "pk": PK.hex()},
        {"id": 7, "account": encode_account(B), "relays": [], "pk": None},
    ]
    (tmp_path / "twins.json").write_bytes(orjson.dumps({"twins": entries}))
    for registry in (site.registry, json):
        assert [await registry.get(twin_id) for twin_id in (1, 7, 2)] == [TWIN_A, TWIN_B, None]
        assert await registry.get_by_account(B) == TWIN_B
        assert await registry.get_by_account(bytes(32)) is None


async def test_an_edit_is_seen_within_a_second(site: Site) -> None:
    """A changed file is read again; it is looked at no more than once a second."""
    site.write(GOOD)
    assert await site.registry.get(7) == TWIN_B
    site.write(GOOD.replace("id = 7", "id = 8"), later=False)
    site.now += 0.9
    assert await site.registry.get(8) is None
    site.now += 0.1
    assert await site.registry.get(8) is not None
    assert await site.registry.get(7) is None


async def test_an_unchanged_file_is_not_read_again(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """As long as nobody saves the file, it is only looked at."""
    site.write(GOOD)
    with caplog.at_level(logging.INFO, "rmb.registry"):
        for _ in range(5):
            assert await site.registry.get(7) == TWIN_B
            site.now += 1
    assert [line.getMessage() for line in caplog.records] == ["registry file read"]


async def test_a_broken_edit_keeps_the_last_good_content(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A slip of the editor takes no twin away; it is logged once with its line, and the repair is read."""
    site.write(GOOD)
    assert await site.registry.get(7) == TWIN_B
    site.write(GOOD + "[[twins\n")
    with caplog.at_level(logging.ERROR, "rmb.registry"):
        for _ in range(5):
            assert await site.registry.get(7) == TWIN_B
            site.now += 1
    (line,) = caplog.records
    fields: dict[str, str] = line.fields  # type: ignore[attr-defined]
    assert "line 12" in fields["reason"]
    assert fields["then"] == "the last good content stays"
    site.write(GOOD.replace("id = 7", "id = 8"))
    assert await site.registry.get(8) is not None


async def test_a_file_that_vanishes_keeps_the_last_good_content(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Some editors remove a file before they write it anew."""
    site.write(GOOD)
    assert await site.registry.get(7) == TWIN_B
    site.path.unlink()
    with caplog.at_level(logging.ERROR, "rmb.registry"):
        for _ in range(3):
            site.now += 1
            assert await site.registry.get(7) == TWIN_B
    assert len(caplog.records) == 1
    site.write(GOOD.replace("id = 7", "id = 8"))
    assert await site.registry.get(8) is not None


async def test_without_any_good_content_there_is_no_answer(site: Site) -> None:
    """A missing file, a folder, or a broken first version is "unavailable" with the reason, until it is repaired."""
    with pytest.raises(RegistryUnavailable, match="cannot be read: No such file"):
        await site.registry.get(7)
    site.path.mkdir()
    site.now += 1
    with pytest.raises(RegistryUnavailable, match="cannot be read: Is a directory"):
        await site.registry.get(7)
    site.path.rmdir()
    site.write("twins = 3")
    with pytest.raises(RegistryUnavailable, match="must hold a list `twins`"):
        await site.registry.get_by_account(A)
    site.write(GOOD)
    assert await site.registry.get(7) == TWIN_B


ENTRY = {"id": 1, "account": A.hex(), "relays": ["relay.test"]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"id": 0}, "entry 2: `id` must be a number from 1"),
        ({"id": 2**32}, "entry 2: `id`"),
        ({"id": True}, "entry 2: `id`"),
        ({"id": "3"}, "entry 2: `id`"),
        ({"account": 5}, "entry 2: `account`"),
        ({"account": "5EWp"}, "entry 2: the account's checksum"),
        ({"account": "ab" * 31}, "entry 2: "),
        ({"relays": "relay.test"}, "entry 2: `relays` must be a list"),
        ({"relays": [1]}, "entry 2: `relays` must be a list"),
        ({"relays": ["https://relay.test"]}, "entry 2: 'https://relay.test' is not a relay"),
        ({"relays": [f"relay{n}.test" for n in range(5)]}, "entry 2: the number of relays"),
        ({"pk": "02"}, "entry 2: `pk` must be 66 hex digits"),
        ({"pk": "zz" * 33}, "entry 2: `pk`"),
        ({"pk": "  " * 33}, "entry 2: `pk`"),
        ({"pk": 3}, "entry 2: `pk`"),
        ({"relay": "relay.test"}, "entry 2: unknown field 'relay': there are id, account, relays, pk"),
        ({"id": 1}, "entry 2: the id of twin 1 is there twice"),
        ({"account": encode_account(A)}, "entry 2: the account of twin 1 is there twice"),
    ],
)
async def test_every_slip_is_named(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    """What is wrong with an entry is said with its number, the field, and what would be right."""
    site = Site(tmp_path / "twins.json")
    site.write(orjson.dumps({"twins": [ENTRY, ENTRY | {"id": 2, "account": B.hex()} | change]}))
    with pytest.raises(RegistryUnavailable, match=f"twins.json is not used: {says}"):
        await site.registry.get(1)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.json", b'{"twins":\n [}', "line 2, column 3"),
        ("t.json", b"", "line 1, column 1"),
        ("t.json", b'{"twins": [3]}', "entry 1: it must be a table"),
        ("t.json", b'{"twins": {}}', "must hold a list"),
        ("t.json", b"[" * 100_000, "column"),
        ("t.toml", b"\n\n\xff", "line 3: not UTF-8"),
        ("t.toml", b"a = 2024-99-99", "line|month|Expected"),
        ("t.toml", b"a = " + b"9" * 10_000, "digits"),
        ("t.toml", b"a = " + b"[" * 10_000, "nested too deeply"),
        ("t.toml", b"", "must hold a list"),
    ],
)
async def test_unreadable_files_are_refused(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    """Whatever the file holds, the reader says what is wrong and where."""
    site = Site(tmp_path / name)
    site.write(content)
    with pytest.raises(RegistryUnavailable, match=says):
        await site.registry.get(1)


@given(st.binary() | st.text().map(str.encode), st.sampled_from(["t.json", "t.toml"]))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_noise_never_crashes(tmp_path: Path, content: bytes, name: str) -> None:
    """Any bytes are either refused as a whole or read."""
    site = Site(tmp_path / name)
    site.write(content)
    try:
        assert await site.registry.get(1) is None
    except RegistryUnavailable as error:
        assert str(site.path) in str(error)


async def test_the_size_is_limited(tmp_path: Path) -> None:
    """A file at the limit is read; one byte more, and it is refused."""
    site = Site(tmp_path / "twins.toml", bytes_max=len(GOOD))
    site.write(GOOD)
    assert await site.registry.get(7) == TWIN_B
    site = Site(tmp_path / "twins.toml", bytes_max=len(GOOD) - 1)
    with pytest.raises(RegistryUnavailable, match=r"more than \d+ bytes"):
        await site.registry.get(7)


@pytest.mark.parametrize("name", ["twins.toml", "twins.json"])
async def test_a_refused_put_holds_the_entry_to_paste(tmp_path: Path, name: str) -> None:
    """The file is never written; what the refusal says can be pasted, and then put is content."""
    site = Site(tmp_path / name)
    empty, around = ("", "{}") if name.endswith("toml") else ('{"twins": []}', '{{"twins": [{}]}}')
    site.write(empty or "twins = []")
    key = signer("c")
    for relays, pk, says in (
        (frozenset({"relay.test", "b.test:80"}), PK, "add this entry to"),
        (frozenset[str](), None, "change the entry of twin 1 in"),
    ):
        before = site.path.read_bytes()
        with pytest.raises(RegistryRefused, match=f"{says} {site.path}:\n") as refusal:
            await site.registry.put(key, relays, pk)
        assert site.path.read_bytes() == before
        site.write(around.format(refusal.value.detail.partition("\n")[2]))
        assert await site.registry.put(key, relays, pk) == Twin(1, key.account, relays, pk)


async def test_a_new_twin_gets_the_next_id(site: Site) -> None:
    """The entry that put proposes has an id that nobody in the file has."""
    site.write(GOOD)
    with pytest.raises(RegistryRefused, match="id = 8\n"):
        await site.registry.put(signer("c"), frozenset(), None)


async def test_watch_tells_what_an_edit_changed(tmp_path: Path) -> None:
    """After an edit, new and changed twins are told, the others not; a broken edit tells nothing."""
    site = Site(tmp_path / "twins.toml", check_s=0.01)
    site.write(GOOD)
    assert await site.registry.get(7) == TWIN_B
    listener = Listener(site.registry)
    await asyncio.sleep(0)  # the listener has read the file as it is now
    site.write("broken")
    assert await site.registry.get(7) == TWIN_B
    site.write(GOOD.replace("relays = []", 'relays = ["new.test"]'))
    await until(lambda: len(listener.heard) == 1)
    third = signer("c").account
    site.write(GOOD + f'[[twins]]\nid = 9\naccount = "{third.hex()}"\nrelays = []\n')
    await until(lambda: len(listener.heard) == 3)
    await listener.stop()
    assert listener.heard == [Twin(7, B, frozenset({"new.test"}), None), TWIN_B, Twin(9, third, frozenset(), None)]


async def test_a_reload_delays_nobody(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a changed file is being read, the others get what it said before."""
    import threading

    from rmb_peer.registry import file

    site.write(GOOD)
    assert await site.registry.get(7) == TWIN_B
    reading, go_on, load = threading.Event(), threading.Event(), file._load

    def slow(path: Path, bytes_max: int) -> Any:
        reading.set()
        assert go_on.wait(10)
        return load(path, bytes_max)

    monkeypatch.setattr(file, "_load", slow)
    site.write(GOOD.replace("id = 7", "id = 8"))
    first = asyncio.create_task(site.registry.get(8))
    await until(reading.is_set)
    assert await site.registry.get(7) == TWIN_B
    go_on.set()
    assert await first is not None
