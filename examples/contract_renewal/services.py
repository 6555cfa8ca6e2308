"""CRM, billing and e-mail: the outside world that the agent acts on.

One loopback HTTP service with a database of its own, which the agent's engine never opens. So effects
that were lost, or done twice, can be counted from outside (see ``ledger``).

Three ways to run it::

    with OutsideWorld("outside.db", faults=Faults(seed=7, fail_after=0.05)) as world:   # a thread
        world.url
    with OutsideProcess("outside.db") as world:                                         # a process
        world.url
    $ python -m provenet.examples.contract_renewal.services --db outside.db --port 0    # prints the URL
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Self

from provenet import ProvenetError
from provenet.examples.contract_renewal.faults import NO_FAULTS, Faults
from provenet.examples.contract_renewal.outside_http import World
from provenet.examples.contract_renewal.outside_store import OutsideStore, OutsideWorldError

__all__ = ["Faults", "OutsideProcess", "OutsideWorld", "OutsideWorldError", "main"]

_HOST = "127.0.0.1"
_MODULE = "provenet.examples.contract_renewal.services"


class OutsideWorld:
    """The outside world in a thread of this process.

    Args:
        db_path: The outside ledger's file; created where absent, continued where present.
        faults: How often, and how, the world misbehaves.
        port: 0 takes any free port.
    """

    def __init__(self, db_path: str | Path, *, faults: Faults = NO_FAULTS, port: int = 0) -> None:
        self.db_path = Path(db_path)
        self.url = ""
        self._faults = faults
        self._port = port
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._failure: BaseException | None = None

    def start(self) -> str:
        """Start serving; returns the URL.

        Raises:
            OutsideWorldError: The ledger or the port cannot be had.
        """
        if self._thread is not None:
            return self.url
        ready = threading.Event()
        self.url, self._failure = "", None
        self._thread = threading.Thread(target=self._run, args=(ready,), name="outside-world", daemon=True)
        self._thread.start()
        ready.wait()
        if not self.url:
            self._thread.join()
            self._thread = None
            raise self._failure or OutsideWorldError("the outside world ended before it served")
        return self.url

    def stop(self) -> None:
        """Stop serving; requests that still hang are dropped undone. Safe to call twice."""
        thread, self._thread = self._thread, None
        if thread is not None and self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self, ready: threading.Event) -> None:
        try:
            asyncio.run(self._serve(ready))
        except (ProvenetError, OSError) as error:
            self._failure = error
        finally:
            ready.set()

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()

        def announce(url: str) -> None:
            self.url = url
            ready.set()

        await serve(self.db_path, self._faults, self._port, announce=announce, stop=self._stop)


class OutsideProcess:
    """The outside world in a process of its own, which outlives a killed engine.

    It ends when :meth:`stop` is called, or with the process that started it (its standard input closes).

    Args:
        db_path: The outside ledger's file.
        faults: How often, and how, the world misbehaves.
        port: 0 takes any free port.
    """

    def __init__(self, db_path: str | Path, *, faults: Faults = NO_FAULTS, port: int = 0) -> None:
        self.db_path = Path(db_path)
        self.url = ""
        self._faults = faults
        self._port = port
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        """The process id, 0 while it does not run."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> str:
        """Start the process and wait for its URL.

        Raises:
            OutsideWorldError: It ended before it served.
        """
        if self._process is not None:
            return self.url
        # -P: the working directory may hold a folder called provenet, as this project's own checkout does.
        command = [sys.executable, "-P", "-m", _MODULE, "--db", str(self.db_path)]
        command += ["--port", str(self._port), "--until-stdin-closes", *self._faults.arguments()]
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self.url = self._process.stdout.readline().strip()
        if not self.url:
            said = self._process.stderr.read().strip()
            self.stop()
            raise OutsideWorldError(
                said or "the outside world ended before it served", where=str(self.db_path)
            )
        return self.url

    def kill(self) -> None:
        """SIGKILL: no goodbye, no flush. What was acknowledged is in the ledger all the same."""
        if self._process is not None:
            self._process.kill()
            self._reap()

    def stop(self) -> None:
        """End the process and wait for it. Safe to call twice."""
        if self._process is not None:
            self._process.terminate()
            self._reap()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _reap(self) -> None:
        assert self._process is not None
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        self._process = None


async def serve(
    db_path: Path, faults: Faults, port: int, *, announce: Callable[[str], None], stop: asyncio.Event
) -> None:
    """Serve on loopback until ``stop`` is set.

    Args:
        db_path: The outside ledger's file.
        faults: How often, and how, the world misbehaves.
        port: 0 takes any free port.
        announce: Called with the URL once connections are accepted.
        stop: Ends the service.

    Raises:
        OutsideWorldError: The ledger or the port cannot be had.
    """
    store = OutsideStore(db_path)
    try:
        world = World(store, faults)
        try:
            server = await asyncio.get_running_loop().create_server(world.protocol, _HOST, port, backlog=1024)
        except (OSError, OverflowError) as error:
            raise OutsideWorldError(
                f"port {port} cannot be had: {error}",
                where=_HOST,
                hint="port 0 takes any free port",
            ) from error
        announce(f"http://{_HOST}:{server.sockets[0].getsockname()[1]}")
        await stop.wait()
        server.close()
        for connection in list(world.connections):
            connection.abort()
        await server.wait_closed()
    finally:
        store.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the outside world from the command line; prints its URL, ends on SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m provenet.examples.contract_renewal.services",
        description="CRM, billing and e-mail of the contract-renewal example.",
    )
    parser.add_argument("--db", required=True, metavar="FILE", help="the outside ledger")
    parser.add_argument("--port", type=int, default=0, help="0 takes any free port (default)")
    parser.add_argument(
        "--until-stdin-closes", action="store_true", help="end with the process that started this"
    )
    for field in fields(Faults):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=type(field.default),
            default=field.default,
            help="see Faults (default %(default)s)",
        )
    options = parser.parse_args(arguments)
    try:
        faults = Faults(**{f.name: getattr(options, f.name) for f in fields(Faults)})
        asyncio.run(_serve_process(Path(options.db), faults, options))
    except ProvenetError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


async def _serve_process(db_path: Path, faults: Faults, options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signal.signal(signal.SIGTERM, lambda *_: loop.call_soon_threadsafe(stop.set))
    if options.until_stdin_closes:

        def watch() -> None:
            sys.stdin.read()
            loop.call_soon_threadsafe(stop.set)

        threading.Thread(target=watch, daemon=True).start()

    def announce(url: str) -> None:
        # Whoever started this process waits for the line, so it must not stay in a buffer.
        sys.stdout.write(f"{url}\n")
        sys.stdout.flush()

    await serve(db_path, faults, options.port, announce=announce, stop=stop)


if __name__ == "__main__":
    sys.exit(main())
