"""Signed tokens: JWTs (RFC 7519) that name a person or a service, its roles, and the database they are for.

The best current practice for them (RFC 8725) is kept to: a key has one algorithm, whatever a token's header
says; every claim that is needed must be there; nothing that a header points to is fetched or believed.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from provenet.engine.access.packages import jwt_package
from provenet.engine.access.policy import Access, Algorithm, Holder, Key, public_key, refused
from provenet.engine.codec import plain
from provenet.engine.errors import AccessRefused, RulesRefused

LONGEST_TOKEN = 8192
"""Characters of a token that are looked at."""


def read_token(access: Access, token: str, database: str, now: datetime, *, verb: str) -> Holder:
    """What a token says.

    Args:
        access: Whose signatures count.
        token: The JWT.
        database: The database's own id, which the token must be for.
        now: The time.
        verb: What it is to be used for.

    Raises:
        AccessRefused: It counts for nothing; the message says why, and quotes nothing that is secret.
    """
    key, claims = _signed(access, token)
    try:
        return _held(access, key, claims, database, now, verb)
    except AccessRefused as error:
        error.name, error.token = (v if isinstance(v, str) else "" for v in map(claims.get, ("sub", "jti")))
        raise


def issue(
    key: bytes,
    kid: str,
    *,
    name: str,
    roles: Iterable[str],
    database: str,
    lasts: timedelta,
    now: datetime | None = None,
    do: Iterable[str] | None = None,
    command: Mapping[str, Any] | None = None,
    algorithm: Algorithm = "EdDSA",
) -> str:
    """Sign a token.

    Args:
        key: The private key as PEM, or the shared secret.
        kid: What the access file calls the key.
        name: The person or service.
        roles: Its roles.
        database: The id of the database that it is for: ``Reader(...).uid``.
        lasts: How long it is good for.
        now: Since when.
        do: Verbs that it is limited to.
        command: The one command that it is for, as ``provenet.engine.requests.ask`` takes it.
        algorithm: The key's.
    """
    jwt = jwt_package()
    since = now or datetime.now(UTC)
    claims: dict[str, Any] = {
        "sub": name,
        "roles": sorted(roles),
        "aud": database,
        "nbf": int(since.timestamp()),
        "exp": int((since + lasts).timestamp()),
        "jti": secrets.token_hex(12),
    }
    if do is not None:
        claims["do"] = sorted(do)
    if command is not None:
        claims["cmd"] = digest(command)
    try:
        made: str = jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid})
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise RulesRefused(
            f"nothing can be signed with this key: {error}",
            where=kid,
            hint="EdDSA takes an Ed25519 private key as PEM: `provenet token keygen`",
        ) from None
    return made


def digest(command: Mapping[str, Any]) -> str:
    """SHA-256 of a command's canonical text, in hexadecimal.

    Who asks for it is what the token says, and so no part of it; what is not said is as good as left out.
    """
    said = {
        k: v
        for k, v in command.items()
        if k not in _ASIDE and v is not None and (v != "" or k not in _NOTHING)
    }
    return hashlib.sha256(plain(_data(said)).encode("utf-8", "replace")).hexdigest()


def new_key() -> tuple[bytes, bytes]:
    """A fresh Ed25519 key: private and public, as PEM."""
    jwt_package()
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    made = Ed25519PrivateKey.generate()
    private = made.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    return private, made.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)


def _signed(access: Access, token: str) -> tuple[Key, dict[str, Any]]:
    """A token's key and claims, where that key has signed them."""
    jwt = jwt_package()
    if not isinstance(token, str) or len(token) > LONGEST_TOKEN or not token.isascii():
        raise refused("it is no token, or too long", hint=f"a token has up to {LONGEST_TOKEN} characters")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError, RecursionError):
        raise refused("it cannot be read", hint="a token is a JWT: three parts with dots between") from None
    if not header.keys() <= {"alg", "kid", "typ"}:
        raise refused(
            "its header has more than alg, kid and typ",
            hint="nothing that a header brings along is believed",
        )
    named = header.get("kid")
    key = next((k for k in access.keys if k.id == named), None)
    if key is None:
        raise refused("no key of that name counts here", hint="`kid` names one of the access file's keys")
    if key.revoked == "yes":
        raise refused("its key is revoked", hint="ask for a token of another key")
    if header.get("alg") != key.algorithm:
        raise refused("its algorithm is not that of its key", hint=f"this key is for {key.algorithm} only")
    # Times and names are looked at below, by the engine's own idea of what time it is.
    options = {f"verify_{n}": False for n in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")}
    try:
        claims = jwt.decode(
            token, _loaded(key), algorithms=[key.algorithm], options=options | {"verify_signature": True}
        )
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise refused("its signature is not that of its key", hint="ask for a new one") from None
    return key, claims


def _held(
    access: Access, key: Key, claims: Mapping[str, Any], database: str, now: datetime, verb: str
) -> Holder:
    """What claims that somebody has signed come to."""
    named = _name(claims, "sub", "it names nobody", hint="`sub` is the person or service")
    own = _name(claims, "jti", "it has no id of its own", hint="`jti` tells it from all other tokens")
    if own in access.revoked:
        raise refused("it is revoked", hint="ask for a new one")
    audience = claims.get("aud")
    if database not in (audience if isinstance(audience, list) else [audience]):
        raise refused("it is for another database", hint=f"`aud` must be this database's id, {database}")
    late = _late(access, claims, now)
    if late and not (verb == "kill" and named in access.emergency and late <= access.grace):
        raise refused("it is over", hint="ask for a new one")
    roles = _texts(claims.get("roles", []), "roles")
    if key.roles is not None and not roles <= key.roles:
        strange = ", ".join(sorted(roles - key.roles))
        raise refused(f"its key may not give the role {strange}", hint="another key signs for that role")
    do = claims.get("do")
    command = claims.get("cmd")
    if command is not None and not isinstance(command, str):
        raise refused("`cmd` is no text", hint="it is the SHA-256 of the command, in hexadecimal")
    return Holder(named, roles, own, None if do is None else _texts(do, "do"), command, late)


def _name(claims: Mapping[str, Any], claim: str, what: str, *, hint: str) -> str:
    found = claims.get(claim)
    if not isinstance(found, str) or not 0 < len(found) <= 200 or not found.isprintable():
        raise refused(what, hint=f"{hint}: up to 200 printable characters")
    return found


def _late(access: Access, claims: Mapping[str, Any], now: datetime) -> timedelta:
    """How long a token is over."""
    at, leeway = now.timestamp(), access.leeway.total_seconds()
    until, since = _time(claims.get("exp")), _time(claims.get("nbf", 0))
    if until is None or since is None:
        raise refused("it says no time that it ends at", hint="`exp` is in seconds since 1970")
    if since > at + leeway:
        raise refused("it is not good yet", hint="wait, or set the clocks")
    if until > at + leeway + access.longest.total_seconds():
        days = access.longest / timedelta(days=1)
        raise refused("it is good for too long", hint=f"tokens here last {days:g} days at most")
    return timedelta(seconds=max(0.0, at - until - leeway)) if until > 0 else timedelta.max


_ASIDE = {"who", "token", "sealed"}
_NOTHING = {"case", "reason", "subject", "target", "tenant"}
"""Where an empty text says no more than none. An empty ``failed`` does: the effect failed."""


def _data(value: Any) -> Any:
    """JSON data of what a caller may give: models as well."""
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode="json")
    if isinstance(value, Mapping):
        return {str(k): _data(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_data(v) for v in value]
    return value if value is None or isinstance(value, str | int | float) else repr(value)


def _time(value: object) -> float | None:
    """Seconds since 1970, where a claim says any that a clock may show."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
        return None
    return float(value)


def _texts(value: object, name: str) -> frozenset[str]:
    if not isinstance(value, list) or len(value) > 100 or not all(isinstance(v, str) for v in value):
        raise refused(f"`{name}` is no list of texts", hint=f'`{name}` is like ["pricing"]')
    return frozenset(value)


def _loaded(key: Key) -> Any:
    return key.material if key.algorithm == "HS256" else public_key(key.material, f"key {key.id!r}")
