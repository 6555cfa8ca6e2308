"""Who may do what: roles, and the keys whose signatures count.

A role may do what it was given and nothing else, and what is denied to one role of a token is denied,
whatever its other roles may do.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeAlias

from provenet.engine.access.packages import jwt_package
from provenet.engine.codec import plain
from provenet.engine.errors import AccessRefused, RulesRefused
from provenet.nets.errors import did_you_mean

VERBS = (
    "decide",
    "delegate",
    "erase",
    "kill",
    "migrate",
    "prune",
    "release",
    "resume",
    "settle",
    "signal",
    "start",
)
"""What a role may be given."""

SCOPES = {"kill": ("case", "net", "all"), "release": ("net", "all")}
"""Verbs that may be given for a scope only: ``kill:case``."""

WORDS = frozenset(VERBS) | {f"{verb}:{scope}" for verb, scopes in SCOPES.items() for scope in scopes}

Algorithm: TypeAlias = Literal["EdDSA", "HS256"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """What a role may do.

    Attributes:
        may: Verbs, some with a scope: ``decide``, ``kill:case``.
        may_not: What stays forbidden to whoever has this role, whatever other roles allow; ``*`` is all.
        nets: Names of the nets that this is about; all where none is named.
    """

    may: frozenset[str] = frozenset()
    may_not: frozenset[str] = frozenset()
    nets: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for word in (*self.may, *(self.may_not - {"*"})):
            if word not in WORDS:
                raise RulesRefused(
                    f"there is no verb {word!r}", where="a role", hint=did_you_mean(word, sorted(WORDS))
                )

    def allows(self, verb: str, scope: str, net: str | None) -> bool:
        """Whether it gives a verb."""
        return bool(self.may & {verb, f"{verb}:{scope}"}) and (not self.nets or net in self.nets)

    def denies(self, verb: str, scope: str, net: str | None) -> bool:
        """Whether it takes a verb away; one that is about all nets is about the named ones."""
        concerned = not self.nets or net is None or net in self.nets
        return concerned and bool(self.may_not & {"*", verb, f"{verb}:{scope}"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key whose signatures count.

    Attributes:
        id: What the header of a token calls it (``kid``).
        algorithm: The one algorithm that it is for.
        material: The public key as PEM, or the shared secret.
        roles: Roles that its tokens may name; any where it is ``None``.
        revoked: ``yes`` where nothing that it signed counts any more.
    """

    id: str
    algorithm: Algorithm
    material: bytes = field(repr=False)
    roles: frozenset[str] | None = None
    revoked: Literal["no", "yes"] = "no"

    def __post_init__(self) -> None:
        where = f"key {self.id!r}"
        if self.algorithm == "HS256":
            if len(self.material) < 32:
                raise RulesRefused(
                    "a shared secret has 32 bytes at least",
                    where=where,
                    hint="make one: `openssl rand -base64 48`",
                )
        elif self.algorithm != "EdDSA":
            raise RulesRefused(
                f"there is no algorithm {self.algorithm!r}", where=where, hint="there are: EdDSA, HS256"
            )
        elif b"PRIVATE KEY" in self.material:
            raise RulesRefused(
                "this is a private key: the engine holds public ones only",
                where=where,
                hint="`provenet token keygen` prints what goes here",
            )
        else:
            public_key(self.material, where)

    @classmethod
    def public(cls, id: str, pem: str | bytes, *, roles: Iterable[str] | None = None) -> Key:  # noqa: A002
        """An Ed25519 public key, as PEM text (RFC 8410), or in base64 what PEM holds, or its 32 bytes."""
        data = pem.encode() if isinstance(pem, str) else pem
        found = None if roles is None else frozenset(roles)
        return cls(id=id, algorithm="EdDSA", material=_pem(data.strip(), f"key {id!r}"), roles=found)

    @classmethod
    def shared(cls, id: str, secret: bytes, *, roles: Iterable[str] | None = None) -> Key:  # noqa: A002
        """A secret that the engine and whoever signs both know, for small setups."""
        found = None if roles is None else frozenset(roles)
        return cls(id=id, algorithm="HS256", material=secret, roles=found)


@dataclass(frozen=True, slots=True)
class Holder:
    """What a token says, where its signature counts and it is for this database.

    Attributes:
        name: The person or service that it names.
        roles: Its roles.
        id: Its own id.
        do: The verbs that it is limited to; all that its roles allow where it is ``None``.
        command: SHA-256 of the one command that it is for.
        late: How long it was over, for the emergency only.
    """

    name: str
    roles: frozenset[str]
    id: str
    do: frozenset[str] | None = None
    command: str | None = None
    late: timedelta = timedelta()


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may do what on a database.

    Attributes:
        keys: Keys whose signatures count.
        roles: What each role may do (``provenet.engine.access.Role``); one that is not named here may do
            nothing.
        revoked: Ids of tokens that count no more.
        emergency: Names whose token still pulls the kill switch when it is over, and for nothing else.
        grace: For how long after its end.
        leeway: How far two clocks may be apart.
        longest: The longest that a token may still be good for.
        now: The time that tokens are held to: that on the wall, whatever clock the cases run on.
    """

    keys: tuple[Key, ...]
    roles: Mapping[str, Role]
    revoked: frozenset[str] = frozenset()
    emergency: frozenset[str] = frozenset()
    grace: timedelta = timedelta(days=7)
    leeway: timedelta = timedelta(seconds=30)
    longest: timedelta = timedelta(days=90)
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC), repr=False, compare=False)

    def __post_init__(self) -> None:
        if len({k.id for k in self.keys}) < len(self.keys):
            raise RulesRefused("two keys have the same id", hint="give each key an id of its own")
        for name in self.roles:
            if not name or not name.isprintable() or "@" in name:
                raise RulesRefused(
                    f"{name!r} is no name of a role", hint="a role is printable text without @: pricing"
                )

    @classmethod
    def read(cls, path: str | Path) -> Access:
        """Read it from a TOML or JSON file; see ``docs/engine/security.md``.

        Raises:
            RulesRefused: The file says something else.
        """
        from provenet.engine.access.file import read

        return read(path)

    @property
    def fingerprint(self) -> str:
        """A hash of all that it says; a shared secret has no part in it."""
        keys = [
            [
                k.id,
                k.algorithm,
                k.material.decode() if k.algorithm == "EdDSA" else "",
                k.revoked,
                k.roles and sorted(k.roles),
            ]
            for k in self.keys
        ]
        roles = {n: [sorted(r.may), sorted(r.may_not), sorted(r.nets)] for n, r in self.roles.items()}
        rest = [sorted(self.revoked), sorted(self.emergency)]
        spans = [s.total_seconds() for s in (self.grace, self.leeway, self.longest)]
        return hashlib.sha256(plain([keys, roles, rest, spans]).encode()).hexdigest()

    def role_for(self, holder: Holder, verb: str, scope: str, net: str | None) -> frozenset[str]:
        """The roles by which somebody may do something.

        Args:
            holder: Who it is.
            verb: What.
            scope: How far, of verbs that have scopes.
            net: On which net; ``None`` where it is about all.

        Raises:
            AccessRefused: By none.
        """
        what = spelled(verb, scope)
        if holder.do is not None and not holder.do & {verb, what}:
            raise refused(
                f"it is not for {what!r}",
                hint=f"it is for: {', '.join(sorted(holder.do))}; ask for a new one",
            )
        known = {name: self.roles[name] for name in holder.roles if name in self.roles}
        for name, role in sorted(known.items()):
            if role.denies(verb, scope, net):
                raise refused(f"role {name!r} denies {what!r}", hint="deny goes before allow")
        found = frozenset(name for name, role in known.items() if role.allows(verb, scope, net))
        if not found:
            said = ", ".join(sorted(holder.roles)) or "none"
            raise refused(
                f"none of its roles may {what!r}" + (f" on net {net!r}" if net else ""),
                hint=f"its roles: {said}; those that may: {self.named(verb, scope, net) or 'none'}",
            )
        return found

    def named(self, verb: str, scope: str, net: str | None) -> str:
        """The roles that give a verb, in words; empty where none does."""
        return ", ".join(sorted(n for n, r in self.roles.items() if r.allows(verb, scope, net)))


def spelled(verb: str, scope: str) -> str:
    """A verb as an access file has it: ``decide``, ``kill:case``."""
    return f"{verb}:{scope}" if verb in SCOPES else verb


def refused(what: str, *, hint: str) -> AccessRefused:
    """A token is refused."""
    return AccessRefused(f"the token is refused: {what}", hint=hint)


def public_key(pem: bytes, where: str) -> Any:
    """An Ed25519 public key from PEM text.

    Raises:
        RulesRefused: It is none.
    """
    jwt_package()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    found: object = None
    with suppress(ValueError, UnsupportedAlgorithm):
        found = load_pem_public_key(pem)
    if not isinstance(found, Ed25519PublicKey):
        raise RulesRefused(
            "this is no Ed25519 public key", where=where, hint="`provenet token keygen` prints what goes here"
        )
    return found


_HEAD = bytes.fromhex("302a300506032b6570032100")
"""What comes before an Ed25519 key in its DER form (RFC 8410)."""

_URL = bytes.maketrans(b"-_", b"+/")


def _pem(data: bytes, where: str) -> bytes:
    """A public key as PEM."""
    if data.startswith(b"-----"):
        return data
    jwt_package()
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        raw = base64.b64decode(data.translate(_URL), validate=True)
        # The 32 bytes themselves are the end of what PEM has between its lines.
        found = Ed25519PublicKey.from_public_bytes(raw.removeprefix(_HEAD))
    except (ValueError, binascii.Error):
        raise RulesRefused(
            "this is no Ed25519 public key", where=where, hint="`provenet token keygen` prints what goes here"
        ) from None
    return found.public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
