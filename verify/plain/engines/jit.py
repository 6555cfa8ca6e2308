"""Compile a kernel with numba, kept on disk where there is a place for it.

Only modules that an engine loads while it runs import this one: numba itself takes 0.4 s to import.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

SMALL = "int32[::1]"
WHOLE = "int64[::1]"
WORDS = "uint64[::1]"
SLOTS = "uint32[::1]"
SHARE = "float32[::1]"


def kernel(result: str, *arguments: str) -> Callable[[Kernel], Kernel]:
    """Compile for one signature, at once; from the cache where an earlier process compiled the same code."""
    signature = f"{result}({', '.join(arguments)})"

    def compiled(function: Kernel) -> Kernel:
        out: Any
        try:
            out = numba.njit(signature, cache=True, nogil=True)(function)
        except RuntimeError as why:
            if "cannot cache" not in str(why):
                raise
            # Neither the package's folder nor the user's cache can be written.
            out = numba.njit(signature, nogil=True)(function)
        return cast("Kernel", out)

    return compiled


def inlined(function: Kernel) -> Kernel:
    """Compile a helper into each kernel that calls it."""
    return cast("Kernel", numba.njit(nogil=True)(function))
