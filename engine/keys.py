"""Master keys: what an operator holds, so that the keys in a database open.

Each data key in a database is wrapped by a master key (AES-SIV, RFC 5297, which was made for wrapping keys).
A file of master keys has one a line, the one in use first: older ones still open what they wrapped.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from provenet.engine.errors import NoKeys

SIZE = 64
"""Bytes of a master key: AES-SIV takes two halves of 256 bits."""

VARIABLE, FILE_VARIABLE = "PROVENET_KEYS", "PROVENET_KEYS_FILE"
"""Where an operator may put them: the keys themselves, or the name of a file that has them."""

HINT = f"`provenet keys new FILE` makes one; name it in {FILE_VARIABLE}, or with Engine.open(keys=...)"


class Keys:
    """Master keys; the first one wraps, all of them unwrap.

    Args:
        keys: At least one, of 64 bytes each.

    Raises:
        NoKeys: There is none, or one has another size.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise NoKeys("there is no master key", hint=HINT)
        if any(len(key) != SIZE for key in keys):
            raise NoKeys(f"a master key has {SIZE} bytes", hint=HINT)
        self._keys = {_name(key): key for key in keys}
        self._ciphers: dict[str, Any] = {}
        self.current = next(iter(self._keys))

    @classmethod
    def generate(cls) -> Keys:
        """A new master key that nobody else has; for tests, and for what need not outlive this process."""
        return cls([os.urandom(SIZE)])

    @classmethod
    def of_text(cls, text: str, where: str = "") -> Keys:
        """Keys from text: base64, one a line or between commas; ``#`` begins a remark.

        Raises:
            NoKeys: There is none in it, or something else is.
        """
        lines = [line.partition("#")[0] for line in text.splitlines()]
        words = " ".join(lines).replace(",", " ").split()
        try:
            return cls([base64.b64decode(word, validate=True) for word in words])
        except (binascii.Error, ValueError):
            raise NoKeys("a master key is no base64", where=where, hint=HINT) from None
        except NoKeys as error:
            raise NoKeys(error.message, where=where, hint=error.hint) from None

    @classmethod
    def from_file(cls, path: str | Path) -> Keys:
        """Keys from a file.

        Raises:
            NoKeys: It cannot be read, or holds something else.
        """
        try:
            return cls.of_text(Path(path).read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            said = error.strerror if isinstance(error, OSError) else "it is no text"
            raise NoKeys(f"the master keys cannot be read: {said}", where=str(path), hint=HINT) from error

    @classmethod
    def from_env(cls) -> Keys | None:
        """Keys from the environment; ``None`` where it names none.

        Raises:
            NoKeys: What it names are no keys.
        """
        if text := os.environ.get(VARIABLE):
            return cls.of_text(text, VARIABLE)
        path = os.environ.get(FILE_VARIABLE)
        return cls.from_file(path) if path else None

    @property
    def names(self) -> tuple[str, ...]:
        """What they are called in a database: a hash of each, the one in use first."""
        return tuple(self._keys)

    def to_text(self) -> str:
        """The keys as ``of_text`` takes them."""
        return "".join(f"{base64.b64encode(key).decode()}  # {name}\n" for name, key in self._keys.items())

    def newer(self) -> Keys:
        """These keys behind a new one."""
        return Keys([os.urandom(SIZE), *self._keys.values()])

    def wrap(self, name: str, key: bytes) -> tuple[str, str]:
        """A data key, wrapped by the master key in use.

        Args:
            name: The data key's name, which the wrapping is bound to.
            key: The data key.

        Returns:
            The master key's name, and the wrapped key as text.
        """
        wrapped = self._cipher(self.current).encrypt(key, [_WRAPS, name.encode()])
        return self.current, base64.b64encode(wrapped).decode()

    def unwrap(self, name: str, master: str, wrapped: str) -> bytes:
        """A data key.

        Raises:
            NoKeys: It was wrapped by a key that is not among these, or was changed.
        """
        from cryptography.exceptions import InvalidTag

        if master not in self._keys:
            raise NoKeys(
                f"the data keys there are wrapped by master key {master}, and the ones given are "
                + ", ".join(self._keys),
                hint="give the file that has that key as well; `provenet keys show` says which are in use",
            )
        try:
            return bytes(
                self._cipher(master).decrypt(
                    base64.b64decode(wrapped, validate=True), [_WRAPS, name.encode()]
                )
            )
        except (InvalidTag, binascii.Error, ValueError):
            raise NoKeys(
                f"data key {name} was changed in the database: master key {master} does not open it",
                hint="run `provenet audit`, and restore a copy",
            ) from None

    def secret(self, name: str) -> bytes:
        """A master key.

        Raises:
            NoKeys: It is not among these.
        """
        if name not in self._keys:
            raise NoKeys(f"master key {name} is not among those given: {', '.join(self._keys)}", hint=HINT)
        return self._keys[name]

    def _cipher(self, name: str) -> Any:
        if name not in self._ciphers:
            self._ciphers[name] = siv(self._keys[name])
        return self._ciphers[name]


def siv(key: bytes) -> Any:
    """The cipher, AES-SIV: the same text gives the same ciphertext, and a changed one does not open.

    Raises:
        NoKeys: The package that has it is not installed.
    """
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESSIV
    except ImportError:
        raise NoKeys(
            "personal data need a cipher that is not installed", hint="pip install 'provenet[personal]'"
        ) from None
    return AESSIV(key)


_WRAPS = b"provenet data key"


def _name(key: bytes) -> str:
    return sha256(b"provenet master key " + key).hexdigest()[:12]
