"""Errors of the checker; see ``provenet.nets.errors`` for the tree that they hang in."""

from __future__ import annotations

from provenet.nets.errors import ProvenetError


class PropertyError(ProvenetError):
    """A property that cannot be asked: its kind is unknown, or it names what the net does not have."""

    code = "VE100"
