"""A process to be killed: ``python -m tests.engine.crash_worker DATABASE LEDGER CASES``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.engine.orders import run
from tests.support.ledger import Ledger

if __name__ == "__main__":
    database, ledger, cases = sys.argv[1:]
    print(asyncio.run(run(database, Ledger(Path(ledger)), int(cases))))
