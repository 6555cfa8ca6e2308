"""Compile a kernel with numba, kept on disk where there is a place for it.

Only modules that an engine loads while it runs import this one: numba itself takes 0.4 s to import.

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
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

from provenet import __version__

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
        own = numba.config.CACHE_DIR
        folder = _writable(Path(own).absolute() if own else cache_folder())
        out: Any = None
        if folder is not None:
            with _SETTING:
                before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(folder)
                try:
                    out = numba.njit(signature, cache=True, nogil=True)(function)
                except Exception:  # noqa: BLE001  a full disk or a broken file there; what else it is comes again
                    out = None
                finally:
                    numba.config.CACHE_DIR = before
        if out is None:
            out = numba.njit(signature, nogil=True)(function)
        return cast("Kernel", out)

    return compiled


def cache_folder() -> Path:
    """Where compiled kernels of this version are kept: the user's cache folder by the rules of XDG."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        windows = os.environ.get("LOCALAPPDATA", "") if sys.platform == "win32" else ""
        base = Path(windows or os.path.expanduser("~/.cache"))  # noqa: PTH111  (Path's raises without a home)
    return base / "provenet" / __version__


def inlined(function: Kernel) -> Kernel:
    """Compile a helper into each kernel that calls it."""
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
