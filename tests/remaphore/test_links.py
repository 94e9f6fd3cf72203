"""Connecting to a real NATS server: every kind of login, TLS and no way around it, what is lost and what is refused."""

import asyncio
import datetime
import ipaddress
from pathlib import Path

import nkeys
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rmb_peer.embedded.folder import free_port
from rmb_peer.remaphore.links import Connection, Denied, Dialer, LinkError, Lost
from tests.support.nats_login import make_operator
from tests.support.remaphore import nats

NO_FILE = "/nonexistent/nats.creds"


async def dial(url: str, credentials: str = NO_FILE, timeout_s: float = 60) -> Connection:
    """A connection that works in both directions."""
    async with asyncio.timeout(timeout_s):
        connection = await Dialer([url], credentials).dial()
        try:
            got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            await connection.subscribe("x", got.set_result)
            await connection.flush()
            await connection.publish("x", b"here")
            await connection.flush()
            assert await got == b"here"
        except BaseException:
            await connection.close()
            raise
        return connection


async def works(url: str, credentials: str = NO_FILE) -> None:
    await (await dial(url, credentials)).close()


def at(url: str, login: str) -> str:
    return url.replace("//", f"//{login}@")


# --- logins -----------------------------------------------------------------------------------------------------------


async def test_no_login_needs_no_credentials_file(tmp_path: Path) -> None:
    """The file is read only when a server asks (R25)."""
    async with nats(tmp_path) as server:
        await works(server.url)


async def test_user_and_password_in_the_url(tmp_path: Path) -> None:
    """Percent escapes are decoded, as Go does; a wrong password is refused after two attempts."""
    async with nats(tmp_path, settings='authorization: { user: "u@x", password: "p/%:" }') as server:
        await works(at(server.url, "u%40x:p%2F%25%3A"))
        with pytest.raises(LinkError, match="authorization violation") as error:
            await dial(at(server.url, "u%40x:no"))
        assert "no@" not in str(error.value)


async def test_a_token_in_the_url(tmp_path: Path) -> None:
    """A user without a password is a token."""
    async with nats(tmp_path, settings="authorization: { token: sesame }") as server:
        await works(at(server.url, "sesame"))
        with pytest.raises(LinkError, match="authorization violation"):
            await dial(at(server.url, "wrong"))


async def test_a_credentials_file(tmp_path: Path) -> None:
    """Token and seed of a user open a server in operator mode; a file that is no login is named at once."""
    operator = make_operator()
    good, empty, bad_seed = tmp_path / "good", tmp_path / "empty", tmp_path / "bad"
    good.write_text(operator.credentials)
    empty.write_text("")
    bad_seed.write_text(operator.credentials.replace("SUAAG", "SUAAH"))
    seed = operator.credentials.split("SEED-----\n")[1].split("\n")[0]
    bad_seed.write_text(operator.credentials.replace(seed, "SUNOSEED"))
    async with nats(tmp_path, settings=operator.server_settings) as server:
        await works(server.url, str(good))
        for path, text in (
            (NO_FILE, "open /nonexistent/nats.creds: no such file"),
            (str(empty), "no block `NATS USER JWT`"),
            (str(bad_seed), "the seed is none"),
        ):
            with pytest.raises(LinkError, match=text):
                await dial(server.url, path)


async def test_a_login_in_the_url_goes_out_with_the_credentials(tmp_path: Path) -> None:
    """A server that knows both passwords and keys sends a nonce; the password must arrive all the same."""
    operator = make_operator()
    (tmp_path / "creds").write_text(operator.credentials)
    key = nkeys.from_seed(nkeys.encode_seed(b"\7" * 32, nkeys.PREFIX_BYTE_USER)).public_key.decode()
    settings = f"authorization: {{ users: [ {{ nkey: {key} }}, {{ user: u, password: p }} ] }}"
    async with nats(tmp_path, settings=settings) as server:
        await works(at(server.url, "u:p"), str(tmp_path / "creds"))
        await works(at(server.url, "u:p"), NO_FILE)


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tls(tmp_path: Path) -> str:
    """Settings of a server with a certificate that nobody trusts by itself; the certificate is `ca.pem`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return f"tls: {{ cert_file: '{tmp_path}/ca.pem', key_file: '{tmp_path}/key.pem' }}"


@pytest.mark.parametrize("scheme", ["tls", "nats"])
async def test_tls(tmp_path: Path, tls: str, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that demands TLS gets it, if the system trusts its certificate, and nothing if not."""
    async with nats(tmp_path, settings=tls) as server:
        url = server.url.replace("nats:", f"{scheme}:")
        with pytest.raises(TimeoutError):
            await dial(url, timeout_s=0.7)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        await works(url)


async def test_tls_is_not_given_up(tmp_path: Path, tls: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With tls:// nothing goes out in plain text, neither where TLS is optional nor where there is none."""
    login = "authorization: { user: u, password: p }"
    async with nats(tmp_path, settings=f"{tls}\nallow_non_tls: true\n{login}") as server:
        url = at(server.url, "u:p")
        await works(url)
        with pytest.raises(TimeoutError):  # it speaks TLS, and the certificate is not trusted
            await dial(url.replace("nats:", "tls:"), timeout_s=0.7)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        await works(url.replace("nats:", "tls:"))
    async with nats(tmp_path / "plain", settings=login) as server:
        dialer = Dialer([at(server.url, "u:p").replace("nats:", "tls:")], NO_FILE)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.7):
                await dialer.dial()
        assert "secure connection not available" in dialer.last_failure
        assert "u:p" not in dialer.last_failure


@pytest.mark.filterwarnings("ignore:parameter 'timeout' of type:DeprecationWarning")  # nats-py with a newer aiohttp
async def test_websockets(tmp_path: Path) -> None:
    """ws:// works, too."""
    port = free_port()
    settings = f'websocket {{ listen: "127.0.0.1:{port}", no_tls: true }}'
    async with nats(tmp_path, settings=settings) as server:
        await works(f"ws://127.0.0.1:{port}")
        await works(server.url)


# --- what ends a connection -------------------------------------------------------------------------------------------


async def test_a_lost_connection_is_noticed_by_whoever_waits(tmp_path: Path) -> None:
    """Publishing, flushing and waiting end with `Lost`, not after a time limit."""
    async with nats(tmp_path) as server:
        connection = await dial(server.url)
        waiting = asyncio.ensure_future(connection.or_lost(asyncio.Event().wait()))
        await server.kill()
        async with asyncio.timeout(60):
            with pytest.raises(Lost):
                await waiting
            for call in (connection.publish("x", b""), connection.flush(), connection.subscribe("y", lambda _: None)):
                with pytest.raises(Lost):
                    await call
        await connection.close()
        await connection.close()


async def test_denied_subjects_are_reported_by_the_flush(tmp_path: Path) -> None:
    """Each refusal once, at the flush that follows it."""
    settings = 'authorization: { users: [{user: u, password: p, permissions: {publish: ["x"], subscribe: ["x"]}}] }'
    async with nats(tmp_path, settings=settings) as server:
        connection = await dial(at(server.url, "u:p"))
        for call in (connection.publish("y", b""), connection.subscribe("z", lambda _: None)):
            await call
            with pytest.raises(Denied, match="permissions violation"):
                await connection.flush()
        await connection.flush()
        with pytest.raises(LinkError, match="nats: invalid subject"):
            await connection.subscribe("x..y", lambda _: None)
        await connection.close()


async def test_the_largest_message(tmp_path: Path) -> None:
    """At the server's limit it goes out, one byte above it is refused with the library's words."""
    async with nats(tmp_path, settings="max_payload: 2000") as server:
        connection = await dial(server.url)
        assert connection.max_payload == 2000
        await connection.publish("y", b"x" * 2000)
        await connection.flush()
        with pytest.raises(LinkError, match="nats: maximum payload exceeded"):
            await connection.publish("y", b"x" * 2001)
        await connection.close()


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"INFO {\r\n", b"\xff" * 100_000])
async def test_something_else_listens_there(greeting: bytes) -> None:
    """A server that speaks another language is a failure with a name, and is tried again."""
    met = asyncio.Semaphore(0)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.release()
        writer.write(greeting)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listener:
        dialer = Dialer([f"nats://127.0.0.1:{listener.sockets[0].getsockname()[1]}"], NO_FILE)
        dialing = asyncio.ensure_future(dialer.dial())
        async with asyncio.timeout(60):
            await met.acquire()
            await met.acquire()
        dialing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialing
        assert dialer.last_failure.startswith("nats://127.0.0.1:")
