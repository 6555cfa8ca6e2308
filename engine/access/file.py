"""The access file: TOML or JSON, as people write it."""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from provenet.engine.access.policy import Access, Key, Role
from provenet.engine.errors import RulesRefused
from provenet.nets.errors import did_you_mean


def read(path: str | Path) -> Access:
    """What an access file says.

    Raises:
        RulesRefused: It cannot be read, or says something else.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise RulesRefused(
            f"the access file cannot be read: {error}",
            where=str(path),
            hint="it is TOML, or JSON where its name ends with .json",
        ) from None
    try:
        return _access(data)
    except RulesRefused as error:
        error.where = f"{path}, {error.where}" if error.where else str(path)
        raise


_SPANS = ("grace", "leeway", "longest")


def _access(data: object) -> Access:
    top = _table(data, "", {"keys", "roles", "revoked", "emergency", *_SPANS})
    keys = [_key(n, d) for n, d in _table(top.get("keys", {}), "keys").items()]
    return Access(
        keys=tuple(keys),
        roles={n: _role(n, d) for n, d in _table(top.get("roles", {}), "roles").items()},
        revoked=_names(top.get("revoked", []), "revoked"),
        emergency=_names(top.get("emergency", []), "emergency"),
        **{n: _span(top[n], n) for n in _SPANS if n in top},  # type: ignore[arg-type]  # spans, all three
    )


def _key(name: str, data: object) -> Key:
    where = f"keys.{name}"
    said = _table(data, where, {"public", "secret_env", "roles", "revoked"})
    roles = None if "roles" not in said else _names(said["roles"], f"{where}.roles")
    revoked: Any = said.get("revoked", False)
    if not isinstance(revoked, bool):
        raise _odd(f"{where}.revoked", "true or false")
    if ("public" in said) == ("secret_env" in said):
        raise RulesRefused(
            "it has one of public and secret_env",
            where=where,
            hint="public = an Ed25519 public key; secret_env = the environment variable with a shared secret",
        )
    if "public" in said:
        if not isinstance(said["public"], str):
            raise _odd(f"{where}.public", "a text")
        made = Key.public(name, said["public"], roles=roles)
    else:
        made = Key.shared(name, os.environ.get(str(said["secret_env"]), "").encode(), roles=roles)
    return replace(made, revoked="yes") if revoked else made


def _role(name: str, data: object) -> Role:
    where = f"roles.{name}"
    said = _table(data, where, {"may", "may_not", "nets"})
    found = {n: _names(said.get(n, []), f"{where}.{n}") for n in ("may", "may_not", "nets")}
    try:
        return Role(**found)
    except RulesRefused as error:
        error.where = where
        raise


def _table(data: object, where: str, known: set[str] | None = None) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise _odd(where, "a table")
    for name in data:
        if known is not None and name not in known:
            raise RulesRefused(
                f"there is no {name!r} here", where=where, hint=did_you_mean(name, sorted(known))
            )
    return data


def _names(data: object, where: str) -> frozenset[str]:
    if not isinstance(data, list) or not all(isinstance(v, str) for v in data):
        raise _odd(where, 'a list of texts: ["pricing"]')
    return frozenset(data)


def _span(data: object, where: str) -> timedelta:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    text = str(data)
    if not isinstance(data, str) or text[-1:] not in units or not text[:-1].isdecimal() or len(text) > 9:
        raise _odd(where, 'a span of time: "30s", "5m", "12h" or "90d"')
    return timedelta(seconds=int(text[:-1]) * units[text[-1]])


def _odd(where: str, expected: str) -> RulesRefused:
    hint = "docs/engine/security.md shows an access file"
    return RulesRefused(f"expected {expected}", where=where, hint=hint)
