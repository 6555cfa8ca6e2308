"""Make the pictures of the documentation again: `.venv/bin/python docs/pictures/make.py`.

The renewal net comes from the example, the refund agent from the tutorial's own blocks, and its
counterexample from the break that the tutorial makes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from tests.docs.pages import Runner, blocks  # noqa: E402  the repository's root is not on the path before


def main() -> None:
    """Write every picture."""
    provenet("render", "provenet.examples.contract_renewal:agent", "-o", str(HERE / "renewal.svg"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        refunds = refund_agent(folder)
        provenet("render", str(refunds), "-o", str(HERE / "refunds.svg"))
        broken = folder / "broken.py"
        broken.write_text(refunds.read_text(encoding="utf-8").replace("<= 5_000)", "<= 50_000)"))
        provenet("verify", str(broken), "--only", "never", "--out", str(folder), code=1)
        (strip,) = folder.glob("*never*.svg")
        (HERE / "counterexample.svg").write_bytes(strip.read_bytes())
    for picture in sorted(HERE.glob("*.svg")):
        print(f"{picture.relative_to(ROOT)}  {picture.stat().st_size:,} bytes")


def refund_agent(folder: Path) -> Path:
    """The tutorial's agent, written by the tutorial's blocks."""
    runner = Runner(folder)
    for block in blocks(ROOT / "docs" / "tutorial.md"):
        if "refunds.py" in {block.value(mark) for mark in ("file", "append", "patch")}:
            runner.run(block)
    return folder / "refunds.py"


def provenet(*words: str, code: int = 0) -> None:
    """Run a command."""
    command = [sys.executable, "-P", "-m", "provenet", *words]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "NO_COLOR": "1"}
    )
    if done.returncode != code:
        sys.exit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()
