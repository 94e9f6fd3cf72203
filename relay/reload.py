"""Taking over a changed configuration while the relay runs.

Old and new values are compared field by field. Whoever can take a new value over says so with `on_change`, or with
`on_changes` if several only make sense together; a field that nobody takes needs a restart, and the log says which.
Fields that are dataclasses are gone into, unless somebody takes them whole; their parts are named `outer.inner`. Files
whose content changes while their name does not, such as certificates, are read again with `on_reload`.

This module refuses to know any field, and where the values come from.
"""

import logging
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Generic, TypeVar

from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.errors import LocalError

Config = TypeVar("Config")
Apply = Callable[[Any], None]

_LOG = get_logger("relay")


class NeedsRestart(Exception):
    """Raised by whoever takes a field over: this value only counts after a restart."""


@dataclass(slots=True)
class Reloaded:
    """What a reload did.

    Attributes:
        applied: fields that were taken over.
        restart: fields that need a restart.
        refused: fields whose new value cannot be used, and why; the old one stays.
    """

    applied: list[str] = field(default_factory=list)
    restart: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


class Reloads(Generic[Config]):
    """Who takes which field over.

    Attributes:
        config: what holds now: the start's values, and those that were taken over since.
    """

    def __init__(self, config: Config) -> None:
        """Begin with the configuration of the start, a frozen dataclass."""
        self.config = config
        self._appliers: dict[str, Apply] = {}
        self._groups: list[tuple[frozenset[str], Callable[[Config], None]]] = []
        self._always: dict[str, Callable[[], None]] = {}

    def on_change(self, name: str, apply: Apply) -> None:
        """Let `apply` take a new value over.

        Args:
            name: of a field, or `outer.inner`.
            apply: gets the new value. `LocalError`, `OSError` or `ValueError` mean that it cannot be used, and the old
                one has to be in force still; `NeedsRestart` that it counts after a restart.
        """
        self._appliers[name] = apply

    def on_changes(self, names: Collection[str], apply: Callable[[Config], None]) -> None:
        """Let `apply` take several fields over together; called once, with the whole new configuration.

        Args:
            names: of the fields, as in `on_change`.
            apply: as in `on_change`.
        """
        self._groups.append((frozenset(names), apply))

    def on_reload(self, name: str, again: Callable[[], None]) -> None:
        """Call `again` at every reload; it may raise as in `on_change`, and `name` is for the log."""
        self._always[name] = again

    def reload(self, read: Callable[[], Config]) -> Reloaded | None:
        """Read the configuration again and take over what can be.

        Args:
            read: gives the new configuration; it raises `LocalError` if there is none that can be used.

        Returns:
            what was done; `None` if the new configuration is broken, so that the old one stays as it is.
        """
        try:
            new = read()
        except LocalError as error:
            event(_LOG, logging.ERROR, "configuration not reloaded, the old one stays", reason=str(error))
            return None
        done = Reloaded()
        known = self._appliers.keys() | {name for names, _ in self._groups for name in names}
        changes = dict(_changes(self.config, new, known))
        for names, together in self._groups:
            self._try_together({name: changes.pop(name) for name in names & changes.keys()}, together, new, done)
        for name, value in changes.items():
            apply = self._appliers.get(name)
            if apply is None:
                done.restart.append(name)
            elif self._try(name, lambda apply=apply, value=value: apply(value), done):  # type: ignore[misc]
                self.config = _with(self.config, name.split("."), value)
        for name, again in self._always.items():
            self._try(name, again, done)
        for name, reason in done.refused.items():
            event(_LOG, logging.ERROR, "setting cannot be used, the old one stays", setting=name, reason=reason)
        if done.restart:
            event(_LOG, logging.WARNING, "settings changed that need a restart", settings=done.restart)
        event(_LOG, logging.INFO, "configuration reloaded", settings=done.applied)
        return done

    def _try_together(
        self, changes: dict[str, Any], apply: Callable[[Config], None], new: Config, done: Reloaded
    ) -> None:
        if not changes:
            return
        tried = Reloaded()
        self._try("", lambda: apply(new), tried)
        names = sorted(changes)
        if tried.applied:
            done.applied += names
            for name in names:
                self.config = _with(self.config, name.split("."), changes[name])
        elif tried.restart:
            done.restart += names
        else:
            done.refused[", ".join(names)] = tried.refused[""]

    @staticmethod
    def _try(name: str, apply: Callable[[], None], done: Reloaded) -> bool:
        try:
            apply()
        except NeedsRestart:
            done.restart.append(name)
        except (LocalError, OSError, ValueError) as error:
            done.refused[name] = str(error)
        else:
            done.applied.append(name)
            return True
        return False


def _changes(old: Any, new: Any, taken_whole: Collection[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for item in fields(old):
        name = prefix + item.name
        before, after = getattr(old, item.name), getattr(new, item.name)
        if before == after:
            continue
        if name not in taken_whole and is_dataclass(before) and type(before) is type(after):
            yield from _changes(before, after, taken_whole, f"{name}.")
        else:
            yield name, after


def _with(config: Any, path: list[str], value: Any) -> Any:
    first, *rest = path
    return replace(config, **{first: _with(getattr(config, first), rest, value) if rest else value})
