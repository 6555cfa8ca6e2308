"""A service outside, in a process of its own, that hangs and lies; what it has done, it has written down.

``python -m tests.support.world FOLDER SEED`` serves on a port of its own, which it prints. It performs an
effect once for a key, as it promised; all else depends on the weather, which is a function of the seed, the
effect and how often it was called, so that a storm can be repeated. After a few calls the weather is fine.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.ledger import Ledger

WEATHER = {
    "fine": 40,
    "away": 6,  # does nothing, and says 503
    "lies": 8,  # does it, and says 500
    "hangs": 6,  # does nothing, and never answers
    "does and hangs": 8,
    "late": 6,  # does it, and answers after everybody's time-out
    "breaks off": 6,  # does it, and closes the line
    "mistypes": 5,  # a receipt of another type
    "rambles": 3,  # megabytes
    "digs": 4,  # lists in lists in lists
    "confuses": 4,  # a receipt for another key
    "swears": 4,  # a receipt full of control characters, SQL and half characters
}
"""What a call may meet, and how often of a hundred."""

BAD = 4
"""Calls of one effect that may meet bad weather."""

HOSTILE = "\x00\x1b]0;owned\x07'; DROP TABLE provenet_case; --<script>alert(1)</script>\u202e{{7*7}}"
"""A text that nobody should take for anything but a text."""

ODD: list[Any] = [{"number": 7}, {"number": None}, ["number"], 1e400, "x", None, {"number": "\ud800"}]
"""What is no receipt."""


def weather(seed: int, name: str, subject: str, nth: int) -> str:
    """What the nth call of an effect meets."""
    if nth > BAD:
        return "fine"
    roll = zlib.crc32(f"{seed} {name} {subject} {nth}".encode()) % sum(WEATHER.values())
    for kind, share in WEATHER.items():
        roll -= share
        if roll < 0:
            return kind
    raise AssertionError(roll)


@dataclass(frozen=True)
class World:
    """Where the service is, and its books.

    Attributes:
        url: Where it listens.
        ledger: What it has done.
    """

    url: str
    ledger: Ledger


@contextmanager
def world(folder: Path, *, seed: int = 0) -> Iterator[World]:
    """A running service."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.world", str(folder), str(seed)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline())
        yield World(f"http://127.0.0.1:{port}", Ledger(folder / "world"))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def call(url: str, body: dict[str, Any], seconds: float) -> tuple[int, bytes]:
    """Call it, as a plain function does; gives up when nothing comes for so long."""
    asked = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=seconds) as answer:
        return answer.status, answer.read()


class _Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    ledger: Ledger
    seed: int
    counts: dict[tuple[str, str], int] = {}
    lock = threading.Lock()

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name, subject = asked["name"], asked["subject"]
        with self.lock:
            nth = self.counts[name, subject] = self.counts.get((name, subject), 0) + 1
        kind = weather(self.seed, name, subject, nth)
        if kind == "away":
            self._answer(503, b"come back later")
            return
        if kind == "hangs":
            time.sleep(60)
            return
        # Who knows no keys does it as often as it is told: each call is an effect of its own.
        key = asked.get("key") or f"{name}/{subject}/{nth}"
        self.ledger.write(key, name, subject, asked["detail"])
        number = f"{name[0]}-{zlib.crc32(key.encode()) % 10_000}"
        good = {"number": number} | ({"key": key} if asked.get("key") else {})
        match kind:
            case "lies":
                self._answer(500, HOSTILE.encode())
            case "does and hangs":
                time.sleep(60)
            case "late":
                time.sleep(3)
                self._answer(200, json.dumps(good).encode())
            case "breaks off":
                self.connection.close()
            case "mistypes":
                odd = random.Random(nth).choice(
                    [{"number": 7}, {"number": None}, ["number"], 1e400, "x", None]
                )
                self._answer(200, json.dumps(odd).encode())
            case "rambles":
                self._answer(200, json.dumps({**good, "number": "9" * 2_000_000}).encode())
            case "digs":
                self._answer(200, b'{"number":' + b"[" * 200_000 + b"]" * 200_000 + b"}")
            case "confuses":
                self._answer(200, json.dumps({**good, "key": "0" * 40}).encode())
            case "swears":
                self._answer(200, json.dumps({**good, "number": HOSTILE}).encode())
            case _:
                self._answer(200, json.dumps(good).encode())

    def _answer(self, code: int, body: bytes) -> None:
        try:
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            pass  # nobody listens any more

    def log_message(self, *said: object) -> None:
        """Say nothing."""


def _serve(folder: Path, seed: int) -> None:
    _Service.ledger, _Service.seed = Ledger(folder / "world"), seed
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Service)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), int(sys.argv[2]))
