"""Processes to be killed, forked from one that has everything imported.

Reads lines ``DATABASE LEDGER CASES FAULT`` (``-`` for no fault), answers each with the child's process id
and, when it has ended, with its
exit status.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from provenet.engine import faults
from tests.engine.orders import orders, proofs, run
from tests.support.ledger import Ledger


def main() -> None:
    proofs(orders(Ledger(Path(sys.argv[1]))).net)
    for line in sys.stdin:
        database, ledger, cases, fault = line.split()
        child = os.fork()
        if child == 0:
            faults.plan(None if fault == "-" else fault)
            asyncio.run(run(database, Ledger(Path(ledger)), int(cases)))
            os._exit(0)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
