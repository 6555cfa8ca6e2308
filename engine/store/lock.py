"""One process runs cases on a database: an operating-system lock that dies with its process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from provenet.engine.errors import StoreError, StoreLocked


class ProcessLock:
    """An exclusive lock on a file beside the database.

    Args:
        database: The database file.

    Raises:
        StoreLocked: Another process, or another engine of this one, holds it.
        StoreError: The lock file cannot be written.
    """

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + ".lock")
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StoreError(
                f"cannot write beside the database: {error.strerror}",
                where=str(self.path),
                hint="the engine needs to write to the database's folder; check its permissions",
            ) from None
        try:
            _lock(self._file)
        except OSError:
            holder = (
                os.pread(self._file, 32, 0).decode(errors="replace").strip() if hasattr(os, "pread") else ""
            )
            os.close(self._file)
            raise StoreLocked(
                "another process runs cases on this database" + (f": process {holder}" if holder else ""),
                where=str(database),
                hint="wait until it ends, or stop it; reading (cases, log, audit) works meanwhile",
            ) from None
        os.ftruncate(self._file, 0)
        os.write(self._file, str(os.getpid()).encode())

    def release(self) -> None:
        """Give the lock back; the file stays, since removing it would race with a newcomer."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        os.lseek(file, 1_000, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
