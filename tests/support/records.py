"""Hypothesis strategies for twins of a registry."""

from hypothesis import strategies as st

from rmb_peer.protocol.names import normalize_relay
from rmb_peer.protocol.twin import Twin
from rmb_peer.protocol.twin_record import VERSION_MAX

_hosts = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,8}[a-z0-9_])?(\.[a-z0-9]{1,5}){0,3}", fullmatch=True)
_ipv6 = st.ip_addresses(v=6).filter(lambda address: getattr(address, "ipv4_mapped", None) is None).map("[{}]".format)
_ports = st.none() | st.integers(1, 65535)
relay_names = st.builds(
    lambda host, port: normalize_relay(host if port is None else f"{host}:{port}"), _hosts | _ipv6, _ports
)


@st.composite
def twins(draw: st.DrawFn) -> Twin:
    """Any twin that a record can hold; its account is 32 arbitrary bytes."""
    return Twin(
        id=draw(st.integers(1, 2**32 - 1)),
        account=draw(st.binary(min_size=32, max_size=32)),
        relays=draw(st.frozensets(relay_names, max_size=4)),
        public_key=draw(
            st.none() | st.builds(bytes.__add__, st.sampled_from((b"\2", b"\3")), st.binary(min_size=32, max_size=32))
        ),
        version=draw(st.integers(1, VERSION_MAX)),
    )
