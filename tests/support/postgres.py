"""A real PostgreSQL, from a wheel: one server for a test process, one fresh database for each test."""

from __future__ import annotations

import os
import resource
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest


class Server:
    """A running server.

    Args:
        folder: Where its data lies.
    """

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
        self._folder, self._numbers = folder, count(1)
        self._server = _start(folder)
        self.url = f"postgresql://postgres@/postgres?host={folder}"
        # A killed process, even a killed server, loses nothing that reached the operating system.
        self._run("ALTER SYSTEM SET fsync = off")
        self._run("SELECT pg_reload_conf()")

    def database(self) -> str:
        """The URL of a fresh database."""
        name = f"test_{next(self._numbers)}"
        self._run(f"CREATE DATABASE {name}")
        return self.url.replace("/postgres?", f"/{name}?")

    def kill(self) -> None:
        """SIGKILL the whole server, as a power cut would."""
        pid = int((self._folder / "postmaster.pid").read_text().split()[0])
        for process in (pid, *_children(pid)):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def start(self, *, largest: int | None = None) -> None:
        """Start it again.

        Args:
            largest: No file may grow beyond that, as if the disk were full. The log of transactions is
                written in files of 16 MiB: with less room the server would not start at all.
        """
        with suppress(Exception):
            self._server.cleanup()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        if largest is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (max(largest, 16 * 2**20), hard))
        try:
            self._server = _start(self._folder)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    def stop(self) -> None:
        """Stop it."""
        self._server.cleanup()

    def _run(self, statement: LiteralString) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)


def _start(folder: Path) -> Any:
    import pgserver

    return pgserver.postgres_server.get_server(folder, cleanup_mode="stop")


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in found.read_text().split()] if found.exists() else []


@contextmanager
def serving() -> Iterator[Server]:
    """A server in a folder of its own; skips the test where there can be none."""
    pytest.importorskip("pgserver", reason="the wheel with PostgreSQL is not installed")
    # The path of a socket is short, whatever the test's own folder is called.
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        server = Server(Path(folder))
        try:
            yield server
        finally:
            server.stop()
