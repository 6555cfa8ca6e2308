"""Provenet: LLM agents as Petri nets whose every effect passes a proof and a deterministic check.

Public names are loaded on first use, so that ``import provenet`` costs milliseconds and a command
pays only for what it runs. To publish a name, add it in three places below: the ``TYPE_CHECKING``
imports (for checkers and editors), ``_EXPORTS`` (for Python) and ``__all__`` (for readers).
``tests/test_packaging.py`` holds the three equal.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provenet.nets.errors import ProvenetError

__version__ = "0.1.0.dev0"

__all__ = ["ProvenetError", "__version__"]

# Public name -> the module that defines or re-exports it.
_EXPORTS: dict[str, str] = {
    "ProvenetError": "provenet.nets.errors",
}


def __getattr__(name: str) -> object:
    """Load a public name from the module that holds it, once."""
    module = _EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module 'provenet' has no attribute {name!r}; it has: {', '.join(__all__)}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
