"""Whole flows as real processes against a real NATS server."""

import asyncio
import os
import shlex
import sys
import time
from pathlib import Path

import nats as nats_library
import pytest
from nats.aio.msg import Msg

from rmb_peer.remaphore.core import envelopes, subjects
from rmb_peer.remaphore.core.envelopes import Draft
from rmb_peer.remaphore.intake import CLOCK_DESTINATION
from tests.support.processes import environment
from tests.support.remaphore import Nodes, nats, open_gate

A, B, C = "com.example.us.a", "com.example.us.b", "com.example.eu.c"


async def publish(url: str, *messages: bytes, subject: str = "remaphore.all") -> None:
    """Put bytes on a subject, as anybody with a NATS login can."""
    client = await nats_library.connect(url)
    for message in messages:
        await client.publish(subject, message)
    await client.flush()
    await client.drain()


def message(nodes: Nodes, sender: str, *, to: bytes = b"**", uuid: bytes = b"u", at_ns: int = 0, verb: bytes = b"ping",
            wants: bool = False) -> bytes:  # fmt: skip
    """The signed bytes of a message."""
    return envelopes.sign(nodes.identities[sender], Draft(to, verb, b"", wants, uuid), at_ns or time.time_ns())


# --- the README of the Go program -------------------------------------------------------------------------------------


async def test_upload_and_download_word_for_word(tmp_path: Path) -> None:
    """The example of the original: the uploader's and the downloaders' lines as they are printed there."""
    bucket, programs = tmp_path / "bucket", tmp_path / "bin"
    bucket.mkdir()
    programs.mkdir()
    aws = '#!/bin/sh\n[ "$1 $2" = "s3 cp" ] || exit 9\n'  # a folder is bucket enough here
    aws += f'if [ "$3" = s3://bucket/ ]; then cp {bucket}/"$4" "$4"; else cp "$3" {bucket}/"$3"; fi\n'
    remaphore = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m rmb_peer.remaphore -c "$CONFIG" "$@"\n'
    for name, script in (("aws", aws), ("remaphore", remaphore)):
        (programs / name).write_text(script)
        (programs / name).chmod(0o700)

    async with nats(tmp_path) as server:
        nodes = Nodes(tmp_path, server.url, ["uploader", "down.one", "down.two"])

        async def shell(node: str, line: str) -> asyncio.subprocess.Process:
            folder = tmp_path / f"{node}-files"
            folder.mkdir()
            if node == "uploader":
                (folder / "bigfile").write_bytes(b"big" * 1000)
            path = f"{programs}:{os.environ['PATH']}"
            variables = environment(PATH=path, CONFIG=str(nodes.path(node)))
            return await asyncio.create_subprocess_exec(
                "/bin/sh", "-c", line, cwd=folder, env=variables, stderr=asyncio.subprocess.PIPE
            )

        downloaders = [
            await shell(node, "remaphore -u upload_done && aws s3 cp s3://bucket/ bigfile")
            for node in ("down.one", "down.two")
        ]
        for downloader in downloaders:
            assert downloader.stderr is not None
            async with asyncio.timeout(60):
                assert b"Ready" in await downloader.stderr.readline()
        uploader = await shell("uploader", "aws s3 cp bigfile s3://bucket/ && remaphore -s -u upload_done")
        async with asyncio.timeout(60):
            assert [await process.wait() for process in (uploader, *downloaders)] == [0, 0, 0]
            await asyncio.gather(*(process.communicate() for process in (uploader, *downloaders)))
    for node in ("down.one", "down.two"):
        assert (tmp_path / f"{node}-files" / "bigfile").read_bytes() == b"big" * 1000


async def test_eight_receivers_and_one_sender(tmp_path: Path) -> None:
    """All eight get the message, by name, by wildcard and by `**`."""
    names = [f"com.host.n{n}" for n in range(8)]
    async with nats(tmp_path) as server:
        nodes = Nodes(tmp_path, server.url, ["com.sender", *names])
        receivers = await asyncio.gather(*(nodes.start(name, "-u", "go", "-t", "30s") for name in names))
        await asyncio.gather(*(receiver.ready() for receiver in receivers))
        assert (await nodes.run("com.sender", "-s", "-u", "go", "-D", "com.host.*", "start")).code == 0
        ended = await asyncio.gather(*(receiver.end() for receiver in receivers))
    assert [end.code for end in ended] == [0] * 8


async def test_request_and_response_with_failing_scripts(tmp_path: Path) -> None:
    """Each responder is one block `destination,exit-code,output`; failures are answers, and the request succeeds."""
    async with nats(tmp_path) as server:
        nodes = Nodes(tmp_path, server.url, ["a", "good", "bad", "gone", "plain"])
        responders = [
            await nodes.start("good", "sh", "-c", 'echo "$0 $1 $REMAPHORE_DESTMATCH"'),
            await nodes.start("bad", "sh", "-c", "echo one; echo two >&2; exit 7"),
            await nodes.start("gone", "/nonexistent"),
            await nodes.start("plain"),
        ]
        for responder in responders:
            await responder.ready()
        ended = await nodes.run("a", "-r", "-t", "20s", "-v", "deploy", "all", "of it")
        assert ended.code == 0
        assert ended.err == ""
        blocks = ended.out.decode()
        separator = blocks.split("--> ")[1][:32]
        assert f"--> {separator}\nbad,7,one\ntwo\n--< {separator}\n" in blocks
        for line in ("good,0,deploy all of it good\n", "gone,-1,\n", "plain,0,NO_DATA\n"):
            assert line in blocks
        await responders[1].says("Exec (7): 'sh -c echo one; echo two >&2; exit 7 deploy all of it'")
        await responders[1].says("ERROR: exit status 7")
        await responders[2].says("ERROR: fork/exec /nonexistent: no such file or directory")
        for responder in responders:
            await responder.kill()


async def a_silent_responder_is_waited_for_until_the_end(tmp_path: Path) -> None:
    """Whoever answers is printed, exit code 0; without any answer it is 1."""
    async with nats(tmp_path) as server:
        nodes = Nodes(tmp_path, server.url, ["a", "b", "silent"])
        responder = await (await nodes.start("b")).ready()
        some, none = await asyncio.gather(
            nodes.run("a", "-r", "-t", "1500ms"), nodes.run("a", "-r", "-t", "500ms", "-D", "silent")
        )
        assert (some.code, some.out) == (0, b"b,0,NO_DATA\n")
        assert (none.code, none.out) == (1, b"")
        await responder.kill()


async def test_an_answer_that_is_too_large_is_cut_and_marked(tmp_path: Path) -> None:
    """It arrives up to what the server takes, with a visible mark (W9)."""
    async with nats(tmp_path, settings="max_payload: 8KB") as server:
        nodes = Nodes(tmp_path, server.url, ["a", "b"])
        responder = await (await nodes.start("b", "sh", "-c", "yes | head -c 20000")).ready()
        ended = await nodes.run("a", "-r", "-t", "20s")
        assert ended.code == 0
        assert 7900 < len(ended.out) < 8400
        assert b"more bytes left out]\n" in ended.out
        too_large = await nodes.run("a", "-s", "x" * 9000)
        assert (too_large.code, "nats: maximum payload exceeded" in too_large.err) == (3, True)
        await responder.kill()


# --- late joiners -----------------------------------------------------------------------------------------------------


async def test_a_late_joiner_with_and_without_durable(tmp_path: Path) -> None:
    """A kept message is found as often as it is asked for; without --durable on both sides it is not."""
    async with nats(tmp_path) as server:
        nodes = Nodes(tmp_path, server.url, [A, B, C])
        assert (await nodes.run(A, "-s", "-u", "plain")).code == 0
        assert (await nodes.run(A, "-s", "--durable", "-u", "kept", "-D", "com.example.us.*")).code == 0
        await server.restart()  # and it outlives the server
        late = await asyncio.gather(
            nodes.run(B, "--durable", "-u", "kept", "-t", "10s"),
            nodes.run(B, "--durable", "-u", "kept", "-t", "10s"),
            nodes.run(C, "--durable", "-u", "kept", "-t", "1s"),  # not addressed
            nodes.run(B, "-u", "kept", "-t", "1s"),
            nodes.run(B, "--durable", "-u", "plain", "-t", "1s"),
        )
    assert [end.code for end in late] == [0, 0, 1, 1, 1]


async def a_retention_has_an_end(tmp_path: Path) -> None:
    """The first sender fixes how long messages are kept: later ones are gone, and nobody is promised more."""
    async with nats(tmp_path) as server:
        nodes = Nodes(tmp_path, server.url, [A, B])
        assert (await nodes.run(A, "-s", "--durable", "--retention", "1s", "-u", "kept")).code == 0
        sent = time.time()  # not before: on a loaded machine the program takes as long as the message lives
        more = await nodes.run(A, "-s", "--durable", "--retention", "2s", "-u", "kept2")
        assert (more.code, "was made for 1s" in more.err) == (3, True)
        while time.time() < sent + 1.6:  # the age is what is tested
            await asyncio.sleep(0.05)
        assert (await nodes.run(B, "--durable", "-u", "kept", "-t", "500ms")).code == 1


async def test_a_kept_message_can_be_answered(tmp_path: Path) -> None:
    """A request with --durable reaches a responder that starts while the requester still waits."""
    async with nats(tmp_path) as server:
        nodes = Nodes(tmp_path, server.url, [A, B])
        requester = await nodes.start(A, "-r", "--durable", "-u", "q", "-t", "20s")
        watcher = await nats_library.connect(server.url)
        async with asyncio.timeout(60):
            while True:  # until the request is stored
                try:
                    await watcher.jetstream().key_value("remaphore-remaphore-kept")
                    if (await watcher.jetstream().stream_info("KV_remaphore-remaphore-kept")).state.messages:
                        break
                except nats_library.js.errors.NotFoundError:
                    await asyncio.sleep(0.02)
        await watcher.close()
        assert (await nodes.run(B, "--durable", "-u", "q", "-t", "10s", "echo", "late")).code == 0
        ended = await requester.end()
    assert (ended.code, ended.out) == (0, f"{B},0,late ping\n".encode())


async def test_a_durable_receiver_handles_each_message_once_over_restarts(tmp_path: Path) -> None:
    """A receiver that goes on for ever gets what it missed, and after a restart not what it has handled."""
    async with nats(tmp_path) as server:
        nodes = Nodes(tmp_path, server.url, [A, B])
        command = ("--durable", "-v", "deploy", "sh", "-c", f'echo "$1" >> {tmp_path}/log')
        for number in range(2):
            await nodes.run(A, "-s", "--durable", "-v", "deploy", f"missed{number}")
            receiver = await nodes.start(B, *command)
            await receiver.says("Exec (0)")
            await nodes.run(A, "-s", "--durable", "-v", "deploy", f"live{number}")
            await receiver.says("Exec (0)", times=2)
            await receiver.kill()
    assert (tmp_path / "log").read_text().split() == ["missed0", "live0", "missed1", "live1"]


async def test_a_store_cannot_make_old_messages_new(tmp_path: Path) -> None:
    """Whoever may write to the store can put an old message there again, but nobody believes it."""
    async with nats(tmp_path) as server:
        nodes = Nodes(tmp_path, server.url, [A, B])
        assert (await nodes.run(A, "-s", "--durable", "-u", "other")).code == 0  # makes the bucket
        old = message(nodes, A, uuid=b"late", at_ns=time.time_ns() - 3600 * 10**9)
        opened = envelopes.open_message(nodes.settings(B), old, time.time_ns() - 3600 * 10**9)
        client = await nats_library.connect(server.url)
        bucket = await client.jetstream().key_value("remaphore-remaphore-kept")
        await bucket.put(subjects.kept_key("remaphore.all", opened, old), old)
        await client.close()
        ended = await nodes.run(B, "--durable", "-u", "late", "-t", "1s")
        assert ended.code == 1
        assert "Message error (kept): message outside of time window" in ended.err


async def test_what_needs_jetstream_says_so(tmp_path: Path) -> None:
    """On a server without it, --durable and wait end with 3 and a sentence, and plain use works."""
    async with nats(tmp_path, settings="accounts: { plain: { users: [{user: u, password: p}] } }") as server:
        nodes = Nodes(tmp_path, server.url.replace("//", "//u:p@"), [A, B])
        ended = await asyncio.gather(
            nodes.run(A, "-s", "--durable", "x"),
            nodes.run(B, "--durable", "-u", "x"),
            nodes.run(A, "-s", "x"),
        )
    assert [end.code for end in ended] == [3, 3, 0]
    assert all("JetStream" in end.err for end in ended[:2])


# --- hostile messages -------------------------------------------------------------------------------------------------


async def test_replays_copies_and_hostile_destinations_are_refused(tmp_path: Path) -> None:
    """One command runs once, whatever a peer or a stranger sends besides; the receiver goes on."""
    async with nats(tmp_path) as server:
        nodes = Nodes(tmp_path, server.url, [A, B, "stranger"])
        nodes.names = [A, B]
        nodes.write(B)  # forgets the stranger
        receiver = await (await nodes.start(B, "echo")).ready()
        genuine = message(nodes, A)
        upper = genuine.split(b",")
        upper[3] = upper[3].upper()
        await publish(
            server.url,
            genuine, genuine, genuine,
            b",".join(upper),
            message(nodes, A, to=b"com.example.verylongprefix*.us.b"),
            message(nodes, A, to=b"com.example.verylongprefix*.b.c.d"),
            message(nodes, A, to=b"com.exampleexampleexample*.us.b"),
            message(nodes, A, to=b"h*s*." * 200),
            message(nodes, A, at_ns=-8_000_000_000_000_000_000),
            message(nodes, A, at_ns=time.time_ns() - 60 * 10**9),
            message(nodes, A, verb=b"reply"),
            message(nodes, "stranger"),
            b"", b",,,,,,,", b"1" * 400_000 + b",x,**,1,75,ping,_,", os.urandom(1000),
            message(nodes, A, uuid=b"last"),
        )  # fmt: skip
        await receiver.says("Exec (0)", times=2)
        for text, times in (
            ("Message error: replay", 2),
            ("Message error: message format corrupt", 2),
            ("Message error: message outside of time window", 2),
            ("Message error: a reply is not a message", 1),
            ("Message error: peer key or permission not known", 2),
        ):
            assert receiver.err.count(text) >= times, (text, receiver.err)
        assert receiver.err.count("Incoming message") == 2
        assert receiver.process.returncode is None
        await receiver.kill()


async def test_hostile_answers_are_not_printed(tmp_path: Path) -> None:
    """Ordinary messages, strangers and repeats on the subject of the answers neither count nor end the request."""
    async with nats(tmp_path) as server:
        nodes = Nodes(tmp_path, server.url, [A, B, "stranger"])
        nodes.names = [A, B]
        nodes.write(A)
        heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        client = await nats_library.connect(server.url)

        async def on_message(got: Msg) -> None:
            heard.set_result(got.data)

        await client.subscribe("remaphore.all", cb=on_message)
        await client.flush()
        requester = await nodes.start(A, "-r", "-t", "20s")
        request = await asyncio.wait_for(heard, 20)
        now = time.time_ns()
        own, stranger = nodes.settings(B), nodes.settings("stranger")
        answer = envelopes.sign_reply(own, b"0,yes", b"r", now)
        subject = subjects.reply_subject("remaphore", request)
        noise = [message(nodes, B), envelopes.sign_reply(stranger, b"0,no", b"r", now), b"x"]
        await publish(server.url, *noise, answer, answer, subject=subject)
        ended = await requester.end()
        await client.close()
    assert (ended.code, ended.out) == (0, f"{B},0,yes\n".encode())
    for text in ("not a reply", "peer key or permission not known", "message format corrupt"):
        assert f"Message error: {text}" in ended.err


async def a_long_running_command_does_not_let_others_expire(tmp_path: Path) -> None:
    """Messages are judged when they arrive, so one that waits longer than allow_skew is still handled (W7)."""
    async with nats(tmp_path) as server:
        nodes = Nodes(tmp_path, server.url, [A, B], skew_ns=1_000_000_000)
        gate = tmp_path / "gate"
        os.mkfifo(gate)
        receiver = await (await nodes.start(B, "sh", "-c", f'read x < {gate}; echo "$1"')).ready()
        assert (await nodes.run(A, "-s", "first")).code == 0
        await receiver.says("Incoming message")
        sent = time.time()
        assert (await nodes.run(A, "-s", "second")).code == 0
        while time.time() < sent + 2.2:  # the age of the message is what is tested
            await asyncio.sleep(0.05)
        for number in (1, 2):
            await open_gate(gate)
            await receiver.says("Exec (0)", times=number)
        assert "Message error" not in receiver.err
        await receiver.kill()


async def test_the_time_is_told_without_running_anything(tmp_path: Path) -> None:
    """A request of `check` is answered, does not run the command and does not count as a message."""
    async with nats(tmp_path) as server:
        nodes = Nodes(tmp_path, server.url, [A, B])
        receiver = await (await nodes.start(B, "-o", "echo")).ready()
        asked = message(nodes, A, to=CLOCK_DESTINATION, wants=True)
        client = await nats_library.connect(server.url)
        answers = await client.subscribe(subjects.reply_subject("remaphore", asked))
        await client.publish("remaphore.all", asked)
        answer = await answers.next_msg(timeout=60)
        opened = envelopes.open_reply(nodes.settings(A), answer.data, time.time_ns())
        assert opened.payload == b"0,clock"
        assert "Incoming" not in receiver.err
        await client.close()
        await receiver.kill()


# --- connections ------------------------------------------------------------------------------------------------------


async def test_a_server_that_is_killed_and_comes_back(tmp_path: Path) -> None:
    """Receiver, requester and responder find each other again; a sender waits for the server."""
    async with nats(tmp_path) as server:
        nodes = Nodes(tmp_path, server.url, [A, B, C])
        gate = tmp_path / "gate"
        os.mkfifo(gate)
        responder = await (await nodes.start(B, "-v", "ask", "sh", "-c", f"read x < {gate}; echo done")).ready()
        receiver = await (await nodes.start(C, "-u", "after", "-t", "60s")).ready()
        requester = await nodes.start(A, "-r", "-t", "60s", "-D", B, "-v", "ask")
        await responder.says("Incoming message")
        await server.kill()
        await requester.says("Connection lost")
        sender = await nodes.start(A, "-s", "-t", "30s", "-u", "after")
        await server._spawn()
        await responder.says("Connected again")
        await receiver.says("Connected again")
        assert (await sender.end()).code == 0
        # The sender may have been faster than the receiver; the last word is sent when all are back.
        assert (await nodes.run(A, "-s", "-u", "after")).code == 0
        assert (await receiver.end()).code == 0
        client = await nats_library.connect(server.url, allow_reconnect=False)
        await client.close()
        await open_gate(gate)
        ended = await requester.end()
        assert (ended.code, ended.out) == (0, f"{B},0,done\n".encode())
        await responder.kill()


@pytest.mark.parametrize("login", ["", "eve:wrong@"])
async def test_a_refused_login_ends_at_once(tmp_path: Path, login: str) -> None:
    """Sender and receiver end with 3 and the reason, without the password, and without spinning (W2)."""
    async with nats(tmp_path, settings="authorization: { user: u, password: p }") as server:
        nodes = Nodes(tmp_path, server.url.replace("//", f"//{login}"), [A, B])
        started = time.monotonic()
        ended = await asyncio.gather(nodes.run(A, "-s", "x"), nodes.run(A, "-r", "x"), nodes.run(B, "-t", "20s"))
    assert time.monotonic() - started < 9  # the limit of an unreachable server is 10 s
    for end in ended:
        assert end.code == 3
        assert "authorization violation" in end.err
        assert "wrong" not in end.err


async def test_refused_publish_and_subscribe_are_errors(tmp_path: Path) -> None:
    """What the server does not permit ends with 3; an answer that is not permitted is logged."""
    settings = """authorization: { users: [
      {user: mute, password: p, permissions: {publish: {deny: ["remaphore.>"]}}},
      {user: deaf, password: p, permissions: {subscribe: {deny: ["remaphore.>"]}}},
      {user: all, password: p}
    ]}"""
    async with nats(tmp_path, settings=settings) as server:
        mute, deaf, free = (
            Nodes(tmp_path / user, server.url.replace("//", f"//{user}:p@"), [A, B]) for user in ("mute", "deaf", "all")
        )
        receiver = await (await mute.start(B)).ready()
        *ended, unanswered = await asyncio.gather(
            mute.run(A, "-s", "x"),
            mute.run(A, "-r", "-t", "5s", "x"),
            deaf.run(A, "-t", "5s"),
            deaf.run(A, "-r", "x"),
            free.run(A, "-r", "-t", "1s"),
        )
        for end in ended:
            assert (end.code, "permissions violation" in end.err) == (3, True), end
        assert unanswered.code == 1
        await receiver.says("Reply error: nats: permissions violation")
        await receiver.kill()


async def no_server_at_all(tmp_path: Path) -> None:
    """-t covers connecting: a sender ends with 3 and the cause, a receiver with 1 and a sentence."""
    nodes = Nodes(tmp_path, "nats://127.0.0.1:1", [A, B])
    ended = await asyncio.gather(
        nodes.run(A, "-s", "-t", "1s", "x"), nodes.run(A, "-r", "-t", "1s", "x"), nodes.run(B, "-t", "1s")
    )
    assert [end.code for end in ended] == [3, 3, 1]
    assert all("ERROR: nats: timeout (nats://127.0.0.1:1: " in end.err for end in ended[:2])
    assert "no server was reached in time" in ended[2].err


async def test_one_of_several_servers_is_enough(tmp_path: Path) -> None:
    """Dead ones in the list are passed over."""
    async with nats(tmp_path) as server:
        nodes = Nodes(tmp_path, f"nats://127.0.0.1:1, {server.url},127.0.0.1:2", [A, B])
        receiver = await (await nodes.start(B, "-o", "-t", "30s")).ready()
        assert (await nodes.run(A, "-s", "x")).code == 0
        assert (await receiver.end()).code == 0


async def a_time_limit_ends_receiver_and_command(tmp_path: Path) -> None:
    """At the end of -t the command and its children are killed, and what was said so far is the answer."""
    async with nats(tmp_path) as server:
        nodes = Nodes(tmp_path, server.url, [A, B])
        client = await nats_library.connect(server.url)
        receiver = await (await nodes.start(B, "-t", "3s", "sh", "-c", "echo begun; sleep 60; echo never")).ready()
        request = message(nodes, A, wants=True)
        answers = await client.subscribe(subjects.reply_subject("remaphore", request))
        await client.publish("remaphore.all", request)
        answer = await answers.next_msg(timeout=60)
        assert envelopes.open_reply(nodes.settings(A), answer.data, time.time_ns()).payload == b"-1,begun\n"
        ended = await receiver.end(timeout_s=60)
        await client.close()
    assert ended.code == 0
    assert "ERROR: signal: killed" in ended.err


async def test_time_passes(tmp_path: Path) -> None:
    """Each story above that waits for time to pass, with a server of its own; they are told at once."""
    stories = (
        a_silent_responder_is_waited_for_until_the_end,
        a_retention_has_an_end,
        a_long_running_command_does_not_let_others_expire,
        no_server_at_all,
        a_time_limit_ends_receiver_and_command,
    )
    async with asyncio.TaskGroup() as told:
        for story in stories:
            told.create_task(story(tmp_path / story.__name__))


async def test_log_lines_cannot_be_forged(tmp_path: Path) -> None:
    """Control characters in a payload are escapes in the log (W21)."""
    async with nats(tmp_path) as server:
        nodes = Nodes(tmp_path, server.url, [A, B])
        receiver = await (await nodes.start(B, "-o", "true")).ready()
        await nodes.run(A, "-s", "x\n2026/01/01 00:00:00 Ready\x1b[31m")
        ended = await receiver.end()
    assert "Exec (0): 'true ping x\\n2026/01/01 00:00:00 Ready\\x1b[31m'" in ended.err
