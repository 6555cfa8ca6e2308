"""Personal values on their way to the process that runs a case: no request lies in the table in clear.

What is sent to a case with a data key is encrypted with that key; what is published and finds its case later,
with the master key. Once it was carried out, nothing of it stays in the request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256, sha512
from typing import Any

from provenet.engine.codec import plain
from provenet.engine.errors import EngineError, NoKeys
from provenet.engine.keys import HINT, Keys
from provenet.engine.personal import Seal, is_ciphertext
from provenet.nets.schema import HIDDEN

PARTS = ("payload", "note", "receipt")
"""What of a command may hold personal values."""

COVERED = "covered"
"""Names the key, in a command whose parts are encrypted."""

REQUEST = "request"
"""Kind of such a ciphertext."""

Rows = Callable[[str, Sequence[Any]], Sequence[Sequence[Any]]]


def covered(rows: Rows, command: dict[str, Any], keys: Keys | None = None) -> dict[str, Any]:
    """A command as it may lie in a table.

    Args:
        rows: Rows of a query on the database that it is for.
        command: The command.
        keys: The master keys; those of the environment unless given.

    Raises:
        NoKeys: It may hold personal values, and no master key is at hand.
    """
    parts = [name for name in PARTS if command.get(name) is not None]
    if not parts:
        return command
    case = command.get("case")
    if case is None:
        found = rows("SELECT '', '', '' FROM provenet_key WHERE erased IS NULL LIMIT 1", ())
    else:
        found = rows(
            "SELECT k.id, k.master, k.wrapped FROM provenet_case c JOIN provenet_key k ON k.id = c.data_key"
            " WHERE c.id = ?",
            (case,),
        )
    if not found:
        return command
    keys = keys or Keys.from_env()
    if keys is None:
        raise NoKeys("what is sent there may be personal data, and no master key was given", hint=HINT)
    name, master, wrapped = found[0]
    if wrapped is None:
        return command | dict.fromkeys(parts)  # erased: the case has ended, and takes nothing
    seal = Seal(name, keys.unwrap(name, master, wrapped)) if name else on_the_way(keys, keys.current)
    return command | {p: seal.json(plain(command[p]), REQUEST) for p in parts} | {COVERED: seal.key}


def uncovered(command: dict[str, Any], seal: Callable[[str], Seal]) -> dict[str, Any]:
    """The command that was covered.

    Args:
        command: As it lies in the table.
        seal: A key by its name.

    Raises:
        EngineError: It cannot be read.
    """
    name = command.get(COVERED)
    if not isinstance(name, str):
        return command
    parts = {p: command[p] for p in PARTS if is_ciphertext(command.get(p))}
    try:
        found = {p: seal(name).open(data, REQUEST) for p, data in parts.items()}
    except EngineError as error:
        raise EngineError(f"the request cannot be read: {error.message}", hint=error.hint) from None
    return {k: v for k, v in command.items() if k != COVERED} | found


def kept(command: dict[str, Any]) -> dict[str, Any]:
    """What stays of a covered command in its row."""
    if COVERED not in command:
        return command
    return {k: HIDDEN if k in PARTS and v is not None else v for k, v in command.items()}


def on_the_way(keys: Keys, master: str) -> Seal:
    """A seal that everybody with a master key has; for what lies in a table for a moment only.

    Raises:
        NoKeys: There is no such master key.
    """
    secret = keys.secret(master)
    data = sha512(b"provenet request" + secret).digest() + sha256(b"provenet request" + secret).digest()
    return Seal(f"{_MASTER}{master}", data)


def named(name: str, keys: Keys) -> Seal | None:
    """The seal of that name, where it is of a master key."""
    return on_the_way(keys, name.removeprefix(_MASTER)) if name.startswith(_MASTER) else None


_MASTER = "master:"
