"""Reading what a relay tells: numbers by name and label; whatever else answers is said in one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.commands.scrape import Unreachable, get, parse_samples
from relay.metrics import Metrics

TEXT = """\
# TYPE relay_message_rx counter
relay_message_rx 5
# TYPE relay_refusals_total counter
relay_refusals_total{reason="offline"} 2
relay_refusals_total{reason="full \\"x\\""} 3
# TYPE federation_message_success counter
federation_message_success{relay="a.test"} 7
"""


def test_numbers_by_name_and_label() -> None:
    """With and without `_total`, which text and parser disagree about."""
    samples = parse_samples(TEXT)
    assert samples.total("relay_message_rx") == 5
    assert samples.total("relay_refusals") == 5
    assert samples.total("nothing") is None
    assert samples.by("reason") == {"offline": {"relay_refusals": 2}, 'full "x"': {"relay_refusals": 3}}
    assert samples.by("relay") == {"a.test": {"federation_message_success": 7}}


def test_our_own_metrics_are_read() -> None:
    """Histograms and process metrics, too."""
    samples = parse_samples(Metrics(message_tx=4).text().decode())
    assert samples.total("relay_message_tx") == 4
    assert samples.total("relay_delivery_seconds_count") == 0
    assert samples.total("process_start_time_seconds")


@given(st.text())
def test_noise_is_no_metrics(text: str) -> None:
    """Nothing but the one exception."""
    try:
        parse_samples(text)
    except ValueError:
        return


@pytest.mark.parametrize("url", ["", "http://", "ftp://x", "http://[", "http://x:99999", "redis://h:1"])
def test_addresses_that_are_none(url: str) -> None:
    """They are said to be none."""
    with pytest.raises(Unreachable, match="is no address of a relay"):
        get(url, "/")
