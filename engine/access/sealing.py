"""Tokens on their way through the database, sealed for the engines that run on it at that moment.

A request to another process lies in a table until it is taken, and longer in logs and copies of the database.
So the token in it is encrypted to keys that each engine makes when it is opened and that die with it (X25519,
HKDF, ChaCha20-Poly1305). The seal holds for one command: on another one it does not open.
"""

from __future__ import annotations

import json
import os
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from provenet.engine.access.packages import jwt_package
from provenet.engine.access.policy import refused

SEALS = "seal:"
"""What names of the engines' sealing keys begin with, among the database's facts."""

_LONGEST = 1_000_000


@dataclass(frozen=True, slots=True)
class Posted:
    """What a request brought in the place of a token.

    Attributes:
        sealed: The sealed token, where there is one.
        about: Digest of the command as it was posted.
        request: Number of the request.
    """

    sealed: object
    about: str
    request: int


class Seal:
    """An engine's own sealing key.

    Args:
        database: The database's own id.
    """

    def __init__(self, database: str) -> None:
        jwt_package()
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

        self._database = database
        self._private = X25519PrivateKey.generate()
        self.public = b64encode(self._private.public_key().public_bytes_raw()).decode()

    def opened(self, posted: Posted) -> tuple[str, str]:
        """The token, and what tells this sealing from all others.

        Raises:
            AccessRefused: It is none, was sealed for another engine, or for another command.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        about = _about(self._database, posted.about)
        if not isinstance(posted.sealed, str) or len(posted.sealed) > _LONGEST:
            raise refused("it is not sealed", hint="ask with a token: --token, or PROVENET_TOKEN")
        try:
            by, box, *wraps = (b64decode(part, validate=True) for part in json.loads(posted.sealed))
            wrapping = _shared(self._private, by, by + b64decode(self.public))
        except (ValueError, TypeError, RecursionError):
            raise refused("its seal cannot be read", hint="ask again") from None
        for wrap in wraps:
            try:
                key = ChaCha20Poly1305(wrapping).decrypt(bytes(12), wrap, about)
                token = ChaCha20Poly1305(key).decrypt(box[:12], box[12:], about).decode("ascii", "replace")
            except (InvalidTag, ValueError):
                continue
            return token, SEALS + sha256(box).hexdigest()[:32]
        raise refused(
            "it was sealed for another command, or for processes that are gone",
            hint="ask again: processes that run on the database may have changed",
        )


def sealed(token: str, about: str, database: str, publics: Iterable[str]) -> str:
    """A token that the engines with these public keys can read, on this command."""
    jwt_package()
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    private, key, nonce = X25519PrivateKey.generate(), os.urandom(32), os.urandom(12)
    by, said = private.public_key().public_bytes_raw(), _about(database, about)
    parts = [by, nonce + ChaCha20Poly1305(key).encrypt(nonce, token.encode("utf-8", "replace"), said)]
    for public in publics:
        to = b64decode(public)
        # A key that wraps once needs no nonce: its other half is fresh.
        parts.append(ChaCha20Poly1305(_shared(private, to, by + to)).encrypt(bytes(12), key, said))
    return json.dumps([b64encode(part).decode() for part in parts])


def _about(database: str, about: str) -> bytes:
    return f"provenet {database} {about}".encode()


def _shared(private: Any, public: bytes, info: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    secret = private.exchange(X25519PublicKey.from_public_bytes(public))
    return HKDF(SHA256(), 32, salt=None, info=b"provenet seal" + info).derive(secret)
