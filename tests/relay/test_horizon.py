"""The numbers of senders: who has to wait until a feed has looked."""

from relay.horizon import UNKNOWN, Horizon


def test_alone_from_the_start() -> None:
    """Nobody waits: a feed that has read anything at all has seen enough."""
    horizon = Horizon()
    assert (horizon.floor, horizon.now) == (0, 0)


def test_each_sender_is_newer_than_every_look_before() -> None:
    """A number is greater than what any feed can have taken down by then."""
    horizon = Horizon()
    looked = horizon.now
    first = horizon.next()
    assert looked < first <= horizon.now < horizon.next() < UNKNOWN


def test_becoming_alone() -> None:
    """Feeds have to look once more; then nobody waits, as long as it stays so."""
    horizon = Horizon()
    looked = horizon.next()
    horizon.became_alone()
    assert looked < horizon.floor == horizon.now
