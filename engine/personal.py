"""Personal values as they are stored: ciphertext in their place, under a key that can be thrown away.

A field marked ``Personal`` is stored as ``{"$personal": "..."}``, encrypted with the data key of its case or
of the person that the case is about. The encryption is deterministic (AES-SIV, RFC 5297): a replay writes the
same text again, so logs, hashes and the audit work on ciphertext, and stay valid when the key is gone. Equal
values under one key have equal ciphertexts, whatever field they lie in: a copy can be told to be one by
somebody who cannot read either. Texts are filled up with spaces, so that lengths tell little.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Callable
from functools import lru_cache, partial
from hashlib import sha256
from typing import Any, Literal, TypeAlias

from provenet.engine.codec import Encoder, encoder, quote
from provenet.engine.errors import StoreCorrupt
from provenet.engine.keys import siv
from provenet.nets.erased import Erased, Unreadable
from provenet.nets.schema import ListType, OptionalType, RecordType, Type, Value, from_json
from provenet.nets.secrets import is_personal

State: TypeAlias = Literal["open", "locked", "erased"]
"""``locked`` is a key that the master keys at hand do not open."""

DATA_KEY = 96
"""Bytes of a data key: 64 for the cipher, 32 for hashes."""

MARK = "$personal"
ERASED = "[erased]"
PAYLOAD = "payload"
"""Kind of a ciphertext that stands for a whole payload of an event, whatever that was."""

BLIND = "hmac:"


class Seal:
    """A data key: it writes personal values and reads them, or only passes them on where it is not open.

    Args:
        key: The key's name.
        data: The key itself, where it is open.
        state: Why it is not, otherwise.
    """

    __slots__ = ("_encoders", "_hashing", "_siv", "key", "state")

    def __init__(self, key: str, data: bytes | None = None, state: State = "locked") -> None:
        self.key = key
        self.state: State = state if data is None else "open"
        self._siv = None if data is None else siv(data[:64])
        self._hashing = None if data is None else data[64:]
        self._encoders: dict[Type, Encoder] = {}

    def encoder(self, of: Type) -> Encoder:
        """A function from values of a type to their canonical text, personal parts encrypted."""
        found = self._encoders.get(of)
        if found is None:
            found = self._encoders[of] = partial(_sealing(of), self) if is_personal(of) else encoder(of)
        return found

    def decode(self, text: str, of: Type) -> Value:
        """A value from its stored text; see ``read``."""
        return self.read(json.loads(text), of)

    def read(self, data: Any, of: Type, path: str = "") -> Value:
        """A value from stored JSON data; what cannot be read is ``Erased``.

        Raises:
            StoreCorrupt: A ciphertext was changed.
            TypeMismatch: The data does not belong to the type.
        """
        return from_json(self._opened(data, of) if is_personal(of) else data, of, path)

    def write(self, text: str, kind: str = "value") -> str:
        """A text, encrypted.

        Raises:
            Unreadable: The key is not open.
        """
        if self._siv is None:
            raise Unreadable(f"data key {self.key} is {self.state}: nothing can be encrypted with it")
        plain = text.encode()
        plain += b" " * (-len(plain) % _STEP)
        sealed = self._siv.encrypt(plain, [_ABOUT, kind.encode(), self.key.encode()])
        return f'{{"{MARK}":"{base64.b64encode(sealed).decode()}"}}'

    def json(self, text: str, kind: str = "value") -> Any:
        """The same as JSON data."""
        return json.loads(self.write(text, kind))

    def open(self, data: Any, kind: str = "value") -> Any:
        """What a ciphertext stands for, as JSON data; ``Erased`` where the key is not open.

        Args:
            data: JSON data, ``{"$personal": ...}``.
            kind: What it was written as.

        Raises:
            StoreCorrupt: It is none of this key's.
        """
        if not is_ciphertext(data):
            raise self._damaged("is not encrypted")
        if self._siv is None:
            return Erased(f'{{"{MARK}":{quote(data[MARK])}}}')
        from cryptography.exceptions import InvalidTag

        try:
            plain = self._siv.decrypt(
                base64.b64decode(data[MARK], validate=True), [_ABOUT, kind.encode(), self.key.encode()]
            )
            return json.loads(plain)
        except (InvalidTag, binascii.Error, ValueError):
            raise self._damaged("was changed, or belongs to another key") from None

    def blind(self, digest: str) -> str:
        """A hash of something personal, so that nobody can try out what it may be the hash of."""
        if not digest or digest.startswith(BLIND) or self._hashing is None:
            return digest
        return BLIND + hmac.new(self._hashing, digest.encode(), sha256).hexdigest()

    def _opened(self, data: Any, of: Type) -> Any:
        match of:
            case OptionalType(item):
                return None if data is None else self._opened(data, item)
            case ListType(item) if isinstance(data, list) and is_personal(item):
                return [self._opened(d, item) for d in data]
            case RecordType(_, fields) if isinstance(data, dict):
                known = {f.name: f for f in fields}
                return {
                    name: d
                    if name not in known
                    else self.open(d)
                    if known[name].mark == "personal"
                    else self._opened(d, known[name].type)
                    for name, d in data.items()
                }
        return data

    def _damaged(self, what: str) -> StoreCorrupt:
        return StoreCorrupt(
            f"a personal value under data key {self.key} {what}",
            hint="somebody changed the database; run `provenet audit` and restore a copy",
        )


def is_ciphertext(data: Any) -> bool:
    """Whether JSON data is what ``Seal.write`` makes."""
    return isinstance(data, dict) and data.keys() == {MARK} and isinstance(data[MARK], str)


def shown_open(data: Any, seal: Seal | None) -> Any:
    """JSON data with what every ciphertext of a case stands for in its place."""
    if seal is None:
        return data
    if is_ciphertext(data):
        found = seal.open(data)
        return ERASED if type(found) is Erased else found
    if isinstance(data, dict):
        return {name: shown_open(part, seal) for name, part in data.items()}
    return [shown_open(part, seal) for part in data] if isinstance(data, list) else data


def locked(key: str) -> Seal:
    """A seal that nobody can open here."""
    return Seal(key)


def known_text(value: Value, write: Encoder) -> str | None:
    """The text of a value; ``None`` where it depends on what cannot be read."""
    if type(value) is Erased:
        return value.text or None
    try:
        return write(value)
    except Unreadable:
        return None


_ABOUT = b"provenet personal"
_STEP = 32
_Sealing: TypeAlias = Callable[[Seal, Value], str]


@lru_cache(maxsize=4096)
def _sealing(of: Type) -> _Sealing:
    """A function from values of a type to text, for any seal."""
    match of:
        case OptionalType(item) if is_personal(item):
            inner = _sealing(item)
            return lambda seal, value: "null" if value is None else inner(seal, value)
        case ListType(item) if is_personal(item):
            each = _sealing(item)
            return lambda seal, value: "[" + ",".join([each(seal, v) for v in value]) + "]"
        case RecordType(_, fields) if is_personal(of):
            parts = [
                (f"{quote(f.name)}:", _whole(f.type) if f.mark == "personal" else _sealing(f.type))
                for f in fields
            ]
            return lambda seal, value: (
                "{"
                + ",".join([label + part(seal, v) for (label, part), v in zip(parts, value, strict=True)])
                + "}"
            )
        case _:
            write = encoder(of)
            return lambda _, value: write(value)


def _whole(of: Type) -> _Sealing:
    write = encoder(of, personal="plain")

    def sealed(seal: Seal, value: Value) -> str:
        if type(value) is Erased:
            if not value.text:
                raise Unreadable("nothing is known of the value")
            return value.text
        return seal.write(write(value))

    return sealed
