"""The command `remaphore` (spec remaphore 10, 15). Imports as late as it can, because shells call this in loops."""

import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NoReturn

from rmb_peer.remaphore import config_file, options
from rmb_peer.remaphore.core import command_line, configuration, subjects
from rmb_peer.remaphore.core.command_line import Flag, Parsed, Usage
from rmb_peer.remaphore.core.settings import Settings
from rmb_peer.remaphore.notes import Notes

OK, NOTHING, BAD_USAGE, FAILED = 0, 1, 2, 3
_SEED_BYTES = 32
_UUID_BYTES = 12
_SUBCOMMANDS = """
Commands of this program that the Go program does not have (each has -h):
  remaphore wait -u ID [--count N] [--of N]	Wait until several peers have sent
  remaphore lock NAME [--lease 30s] -- COMMAND	Run a command while holding a lock
  remaphore keys new	Make a key pair
  remaphore check	Check configuration, connection, permissions and clocks
To run a script that has one of these names when a message arrives: remaphore -- wait
"""


class _Exit(Exception):
    """Ends the program with a code; everything has been said."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments without the program name; those of the process by default.

    Returns:
        0 to 3 as in section 15; `lock` also returns what its command returned.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    notes = Notes(os.path.basename(sys.argv[0]) or "remaphore")  # noqa: PTH119 - text, not a path
    command = _COMMANDS.get(arguments[0]) if arguments else None
    try:
        return command(arguments[1:], notes) if command else _main(arguments, notes)
    except _Exit as end:
        return end.code
    except KeyboardInterrupt:
        return 130  # 128 + SIGINT, as shells expect
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the interpreter flushes standard output once more
        return 141  # 128 + SIGPIPE


# --- parsing ----------------------------------------------------------------------------------------------------------


def _flags(flags: Sequence[Flag], argv: Sequence[str], title: str = "", before: Parsed | None = None) -> Parsed:
    try:
        return command_line.parse(flags, argv, before)
    except Usage as error:
        if not error.asked:
            _stderr(f"{error}\n")
        _stderr(command_line.usage(sys.argv[0] + title, flags) + ("" if title else _SUBCOMMANDS))
        raise _Exit(OK if error.asked else BAD_USAGE) from None


def _stderr(text: str) -> None:
    if sys.stderr is None:
        return  # closed by whoever started us
    sys.stderr.buffer.write(text.encode("utf-8", "surrogateescape"))
    sys.stderr.buffer.flush()


def _person() -> bool:
    """Whether somebody reads standard error."""
    return sys.stderr is not None and sys.stderr.isatty()


def _usage_error(notes: Notes, text: str) -> NoReturn:
    notes.say(text)
    raise _Exit(BAD_USAGE)


def _settings(path: str, notes: Notes, tell_doubts: bool) -> tuple[Settings, list[str]]:
    """Read the configuration.

    Doubts about its content are told by whoever runs for long or in front of a person; a sender in a shell loop would
    only repeat them. That private keys are readable for everybody is always told.
    """
    try:
        settings, doubts, exposure = config_file.read(path)
    except configuration.BadConfig as error:
        notes.error(str(error))
        raise _Exit(BAD_USAGE) from None
    told = exposure + (doubts if tell_doubts or _person() else [])
    for text in told:
        notes.say(f"WARNING: {text}")
    return settings, doubts


def _run(notes: Notes, settings: Settings, start: Callable[[list[str]], Coroutine[Any, Any, int]]) -> int:
    """Run the part that needs NATS.

    Args:
        notes: for errors.
        settings: for the servers.
        start: gets their addresses; called after the library is loaded.
    """
    import asyncio

    from rmb_peer.remaphore.core.envelopes import CannotSign
    from rmb_peer.remaphore.loading import load_nats

    try:
        urls = subjects.server_urls(settings.servers)
        load_nats(urls)
        from rmb_peer.remaphore.links import LinkError

        try:
            return asyncio.run(start(urls))
        except LinkError as error:
            notes.error(str(error))
    except (subjects.BadServer, subjects.BadSubject, CannotSign) as error:
        notes.error(str(error))
    return FAILED


# --- the command of the Go program ------------------------------------------------------------------------------------


def _main(argv: Sequence[str], notes: Notes) -> int:
    flags = _flags(options.MAIN, argv)
    if flags.on("C"):
        return _example()
    try:
        chosen = options.main_options(flags)
    except options.BadOptions as error:
        _usage_error(notes, str(error))
    settings, _ = _settings(flags.text("c"), notes, tell_doubts=not chosen.sends)
    if chosen.sends and len(chosen.verbs) > 1 and _person():
        notes.say("WARNING: only the first verb of -v is sent")  # R17
    return _send(chosen, settings, notes) if chosen.sends else _receive(chosen, settings, notes)


def _example() -> int:
    import secrets

    print(configuration.show(configuration.example(secrets.token_bytes(_SEED_BYTES))))
    return OK


def _send(chosen: options.Main, settings: Settings, notes: Notes) -> int:
    import secrets

    def start(urls: list[str]) -> Coroutine[Any, Any, int]:
        from rmb_peer.remaphore.core.envelopes import check_draft
        from rmb_peer.remaphore.links import Dialer, LinkError
        from rmb_peer.remaphore.requesting import request
        from rmb_peer.remaphore.sending import Outgoing, send

        draft = chosen.draft(secrets.token_bytes(_UUID_BYTES))
        expected = settings.expected(draft.destination)
        if draft.wants_reply and not expected:
            raise LinkError("no known receivers")
        identity = check_draft(settings, draft)
        subject = subjects.subject(settings.subject, chosen.flags.text("S"))
        subjects.check_subject(subject, wildcards=False)
        outgoing = Outgoing(settings, identity, draft, subject, chosen.retention_ns)
        dialer = Dialer(urls, settings.credentials)
        timeout_ns = chosen.flags.number("t")
        if draft.wants_reply:
            return request(outgoing, dialer, timeout_ns, expected, notes)
        return send(outgoing, dialer, timeout_ns)

    return _run(notes, settings, start)


def _receive(chosen: options.Main, settings: Settings, notes: Notes) -> int:
    def start(urls: list[str]) -> Coroutine[Any, Any, int]:
        from rmb_peer.remaphore.links import Dialer
        from rmb_peer.remaphore.receiving import Receiving, receive

        subject = subjects.subject(settings.subject, chosen.flags.text("S"))
        what = Receiving(
            settings=settings,
            passing=chosen.filter(settings),
            subject=subjects.check_subject(subject, wildcards=True),
            once=chosen.flags.on("o") or bool(chosen.flags.text("u")),
            command=chosen.flags.arguments,
            timeout_ns=chosen.flags.number("t"),
            retention_ns=chosen.retention_ns,
        )
        return receive(what, Dialer(urls, settings.credentials), notes)

    return _run(notes, settings, start)


# --- the commands that it does not have -------------------------------------------------------------------------------


def _wait(argv: Sequence[str], notes: Notes) -> int:
    from rmb_peer.remaphore.core.quorum import Impossible, Quorum, group, read_count

    flags = _flags(options.WAIT, argv, " wait")
    if flags.arguments:
        _usage_error(notes, "wait takes no arguments: it prints who has sent")
    if not flags.text("u"):
        _usage_error(notes, "wait needs -u: the value that the peers send")
    try:
        options.check_destination_flags(flags)
        options.check_retention(flags)
        count = read_count(flags.text("count"))
    except options.BadOptions as error:
        _usage_error(notes, str(error))
    except ValueError:
        _usage_error(notes, "--count takes a number from 1 on, all, or any")
    settings, _ = _settings(flags.text("c"), notes, tell_doubts=True)
    passing = options.wait_filter(flags, settings)
    members = group(settings, flags.text("peers").encode("utf-8", "surrogateescape"), passing.verbs)
    try:
        quorum = Quorum(members, count, flags.number("of") if "of" in flags.given else None)
    except Impossible as error:
        _usage_error(notes, f"ERROR: {error}")

    def start(urls: list[str]) -> Coroutine[Any, Any, int]:
        from rmb_peer.remaphore.links import Dialer
        from rmb_peer.remaphore.waiting import Waiting, wait

        subject = subjects.check_subject(subjects.subject(settings.subject, flags.text("S")), wildcards=True)
        what = Waiting(settings, passing, subject, quorum, flags.number("t"), flags.number("retention"))
        return wait(what, Dialer(urls, settings.credentials), notes)

    return _run(notes, settings, start)


def _lock(argv: Sequence[str], notes: Notes) -> int:
    from rmb_peer.remaphore.core import durations, lease

    flags = _flags(options.LOCK, argv, " lock NAME [flags] -- COMMAND")
    if not flags.arguments:
        _usage_error(notes, "lock needs a name")
    name = flags.arguments[0]
    flags = _flags(options.LOCK, flags.arguments[1:], " lock NAME [flags] -- COMMAND", before=flags)
    if not name or not flags.arguments:
        _usage_error(notes, "lock needs a name and a command: remaphore lock NAME [--lease 30s] -- COMMAND")
    lease_s, rest = divmod(flags.number("lease"), durations.NS_PER_S)
    if rest or not lease.LEASE_S_MIN <= lease_s <= lease.LEASE_S_MAX:
        _usage_error(notes, f"--lease takes whole seconds, from {lease.LEASE_S_MIN}s to {lease.LEASE_S_MAX}s")
    settings, _ = _settings(flags.text("c"), notes, tell_doubts=False)

    def start(urls: list[str]) -> Coroutine[Any, Any, int]:
        from rmb_peer.remaphore.links import Dialer
        from rmb_peer.remaphore.locking import Locking, lock

        what = Locking(settings, name, lease_s, flags.number("t"), flags.arguments)
        return lock(what, Dialer(urls, settings.credentials), notes)

    return _run(notes, settings, start)


def _keys(argv: Sequence[str], notes: Notes) -> int:
    import secrets

    from rmb_peer.remaphore.core.settings import Peer
    from rmb_peer.remaphore.core.text import to_bytes

    if argv[:1] != ["new"]:
        _usage_error(notes, "keys knows one command: remaphore keys new [-D destination] [-v verb,...]")
    flags = _flags(options.KEYS, argv[1:], " keys new")
    destination = flags.text("D")
    if flags.arguments or not destination or any(character.isspace() or character == "#" for character in destination):
        _usage_error(notes, "keys new takes no arguments, and a destination without blanks and #")
    identity = configuration.new_identity(secrets.token_bytes(_SEED_BYTES), options.verb_list(flags.text("v").lower()))
    print("# for [ Identities ] of the new node; the second word is its private key")
    print(configuration.identity_line(identity))
    print("# for [ Peers ] of the others")
    print(configuration.peer_line(Peer(to_bytes(destination), identity.public, identity.verbs)))
    return OK


def _check(argv: Sequence[str], notes: Notes) -> int:
    flags = _flags(options.CHECK, argv, " check")
    if flags.arguments:
        _usage_error(notes, "check takes no arguments")
    path = flags.text("c")
    try:
        settings, doubts, exposure = config_file.read(path)
    except configuration.BadConfig as error:
        notes.error(str(error))
        return BAD_USAGE

    def start(urls: list[str]) -> Coroutine[Any, Any, int]:
        from rmb_peer.remaphore.checking import check

        pattern = flags.text("D").encode("utf-8", "surrogateescape")
        return check(path, settings, [*exposure, *doubts], pattern, flags.number("t"))

    return _run(notes, settings, start)


_COMMANDS: dict[str, Callable[[Sequence[str], Notes], int]] = {
    "wait": _wait,
    "lock": _lock,
    "keys": _keys,
    "check": _check,
}
