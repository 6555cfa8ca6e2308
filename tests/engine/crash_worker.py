"""Processes to be killed, forked from one that has everything imported.

Reads lines ``DATABASE LEDGER CASES AT_ONCE FAULT SECONDS`` (``-`` for no fault) and answers each, when the
process has ended, with what ended it: ``done``, ``fault`` (it killed itself at a fault point) or ``time``.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from provenet.engine import faults
from tests.engine.orders import orders, proofs, run
from tests.support.ledger import Ledger


def main() -> None:
    proofs(orders(Ledger(Path(sys.argv[1]))).net)
    for line in sys.stdin:
        database, ledger, cases, at_once, fault, seconds = line.split()
        child = os.fork()
        if child == 0:
            faults.plan(None if fault == "-" else fault)
            asyncio.run(run(database, Ledger(Path(ledger)), int(cases), at_once=int(at_once)))
            os._exit(0)
        print(ended(child, float(seconds)), flush=True)


def ended(child: int, seconds: float) -> str:
    """Wait for a process, and kill it when its time is over."""
    deadline, how = time.monotonic() + seconds, "fault"
    while True:
        if time.monotonic() >= deadline and how != "time":
            os.kill(child, signal.SIGKILL)
            how = "time"
        pid, status = os.waitpid(child, 0 if how == "time" else os.WNOHANG)
        if pid:
            code = os.waitstatus_to_exitcode(status)
            return "done" if code == 0 else how if code == -signal.SIGKILL else f"exit {code}"
        time.sleep(0.001)


if __name__ == "__main__":
    main()
