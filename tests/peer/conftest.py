"""The tests of the gateway run over both protocols: their scripted relays select rmb.2, or know nothing of it."""

from types import SimpleNamespace

import pytest

from tests.support import linked_relay, scripted_relay


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "only(protocol): the test is about this protocol of the link")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that makes a scripted relay twice; one that is about one protocol says so: `only("rmb.1")`."""
    if hasattr(metafunc.module, "scripted_relay"):
        marker = metafunc.definition.get_closest_marker("only") or SimpleNamespace(args=("rmb.1", "rmb.2"))
        metafunc.parametrize("relays_speak", marker.args, indirect=True)


@pytest.fixture(autouse=True)
def relays_speak(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What relays made by `scripted_relay` speak."""
    protocol: str = getattr(request, "param", "rmb.1")
    if protocol == "rmb.2":
        monkeypatch.setattr(scripted_relay, "KIND", linked_relay.LinkedRelay)
    return protocol
