"""What `/metrics` says about other relays (spec rmb 6.11)."""

from relay.federation.health import Health, State
from relay.federation.metrics import LABELS_MAX, OTHER, federation_families
from relay.federation.outbound import RemoteStatus


def remote(name: str, count: int, *, failed_at_s: float = 0.0, reason: str = "") -> RemoteStatus:
    health = Health(1 if failed_at_s else 0, 0.0, reason, "", failed_at_s)
    return RemoteStatus(name, count, 100 * count, 990.0, State.OPEN if failed_at_s else State.CLOSED, False, health)


def samples(*arguments: object) -> dict[str, list[tuple[str, int]]]:
    return {family[0]: family[3] for family in federation_families(*arguments)}  # type: ignore[arg-type]


def test_all_names() -> None:
    """Names and labels of the reference, and ours."""
    remotes = [remote("a", 0), remote("b", 2, failed_at_s=995.5, reason='time"out')]
    assert samples({"a": 3}, {"b": 1}, remotes, 1000.0) == {
        "federation_message_success": [('relay="a"', 3)],
        "federation_message_error": [('relay="b"', 1)],
        "relay_federation_waiting": [('relay="b"', 2), ('relay="a"', 0)],
        "relay_federation_waiting_bytes": [('relay="b"', 200), ('relay="a"', 0)],
        "relay_federation_oldest_seconds": [('relay="b"', 10), ('relay="a"', 0)],
        "relay_federation_open": [('relay="b"', 1), ('relay="a"', 0)],
        "relay_federation_last_error": [('relay="b",reason="timeout"', 995)],
    }


def test_labels_are_bounded() -> None:
    """Whatever names strangers choose; the rest is summed up, those with the most to say are kept."""
    count = LABELS_MAX + 10
    counts = {f"r{number}": 1 for number in range(count)}
    remotes = [remote(f"r{number}", number, failed_at_s=number) for number in range(count)]
    found = samples(counts, counts, remotes, 1000.0)
    for name in ("federation_message_success", "federation_message_error"):
        assert found[name][-1] == (f'relay="{OTHER}"', 10)
    assert found["relay_federation_waiting"][0] == (f'relay="r{count - 1}"', count - 1)
    assert found["relay_federation_waiting"][-1] == (f'relay="{OTHER}"', sum(range(10)))
    assert all(len(family) <= LABELS_MAX + 1 for family in found.values())
