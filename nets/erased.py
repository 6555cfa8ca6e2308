"""What stands for a personal value that nobody here can read: erased, or locked away.

Only a log that is read again without its key has such values. They can be copied, and two with the same
ciphertext are equal; whatever would have to look at one raises ``Unreadable``, so that nothing is ever
concluded from a value that is not known.
"""

from __future__ import annotations

from typing import Any, NoReturn

from provenet.nets.errors import ExprError


class Unreadable(ExprError):
    """Something depends on a personal value that cannot be read."""


class Erased:
    """A personal value that cannot be read.

    Args:
        text: Its ciphertext as it is stored; empty where a value is not even known that far.
    """

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        if self is other or (isinstance(other, Erased) and self.text and self.text == other.text):
            return True
        raise _unreadable()  # different ciphertexts may stand for equal values, such as 1.0 and 1.00

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return "[erased]"

    def _refuse(self, *_: Any) -> NoReturn:
        raise _unreadable()

    __ne__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = _refuse
    __bool__ = __len__ = __iter__ = __contains__ = __getitem__ = __index__ = _refuse

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise _unreadable()


def _unreadable() -> Unreadable:
    return Unreadable("it depends on a personal value that cannot be read")
