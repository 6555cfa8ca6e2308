"""Compile a kernel with numba, kept on disk where there is a place for it; or run it as it is written.

Only modules that an engine loads while it runs import this one: numba itself takes 0.4 s to import, and to
compile all kernels takes a core 20 s on a new machine. So a process that has only a small net to look at
says ``interpret()`` before it loads them: the same functions then run in the interpreter, on numpy's integers
of the same widths.

numba would keep what it compiled beside the module, in the installed package, where an uninstall does not
find it: the folder that stays then shadows the next install. So it lies in a folder of the user's, one for
each version; ``NUMBA_CACHE_DIR`` names another.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from provenet import __version__

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

SMALL = "int32[::1]"
WHOLE = "int64[::1]"
WORDS = "uint64[::1]"
SLOTS = "uint32[::1]"
SHARE = "float32[::1]"


_NUMPY = {"int64": np.int64, "uint64": np.uint64, "float32": np.float32}


class _Mode:
    interpreted = False


def interpret() -> None:
    """From now on, and for the rest of this process, kernels that are loaded are not compiled."""
    _Mode.interpreted = True


def interpreted() -> bool:
    """Whether kernels are run as they are written."""
    return _Mode.interpreted


def kernel(result: str, *arguments: str) -> Callable[[Kernel], Kernel]:
    """Compile for one signature, at once; from the cache where an earlier process compiled the same code."""
    signature = f"{result}({', '.join(arguments)})"

    def as_written(function: Kernel) -> Kernel:
        # Compiled code turns numbers into the integers of the signature too, and lets them wrap around.
        types = [_NUMPY.get(name) for name in arguments]

        @wraps(function)
        def run(*given: Any) -> Any:
            with np.errstate(over="ignore"):
                pairs = zip(types, given, strict=True)
                return function(*(value if of is None else of(value) for of, value in pairs))

        return cast("Kernel", run)

    def compiled(function: Kernel) -> Kernel:
        import numba

        settings: Any = numba.config
        out: Any = None
        with _SETTING:
            own = settings.CACHE_DIR
            folder = _writable(Path(own).absolute() if own else cache_folder())
            if folder is not None:
                settings.CACHE_DIR = str(folder)
                try:
                    out = numba.njit(signature, cache=True, nogil=True)(function)
                except Exception:  # noqa: BLE001  a full disk or a broken file there; what else it is comes again
                    out = None
                finally:
                    settings.CACHE_DIR = own
        if out is None:
            out = numba.njit(signature, nogil=True)(function)
        return cast("Kernel", out)

    return as_written if interpreted() else compiled


def lowest_bit_instruction() -> Any:
    """For compiled kernels: the number of the lowest bit set in a word that is not zero."""
    from llvmlite import ir
    from numba.core import types
    from numba.extending import intrinsic

    @intrinsic
    def lowest_bit(typing_context: Any, word: Any) -> Any:
        del typing_context, word

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            del context, signature
            return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

        return types.int64(types.uint64), generate

    return lowest_bit


def cache_folder() -> Path:
    """Where compiled kernels of this version are kept: the user's cache folder by the rules of XDG."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        windows = os.environ.get("LOCALAPPDATA", "") if sys.platform == "win32" else ""
        base = Path(windows or os.path.expanduser("~/.cache"))  # noqa: PTH111  (Path's raises without a home)
    return base / "provenet" / __version__


def inlined(function: Kernel) -> Kernel:
    """Compile a helper into each kernel that calls it."""
    if interpreted():
        return function
    import numba

    return cast("Kernel", numba.njit(nogil=True)(function))


_SETTING = threading.Lock()
"""The folder is a setting of the whole process, and kernels may be loaded by several threads."""


@cache
def _writable(folder: Path) -> Path | None:
    """The folder, made where it was missing; ``None`` where nothing can be written in it."""
    if not folder.is_absolute():
        return None  # no home
    try:
        # What lies here is loaded as code: nobody else writes into a folder that is made here.
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return None
    return folder
