"""Make the pictures of the documentation again: `.venv/bin/python docs/pictures/make.py`.

The renewal net and its part that makes an offer come from the example, the refund agent from the tutorial's
own blocks, and its counterexample from the break that the tutorial makes; each pattern's from its page.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from provenet.cli.reliability import drawing  # noqa: E402  the repository's root is not on the path before
from provenet.engine.diagnosis.reliability import Work, estimate  # noqa: E402
from provenet.engine.diagnosis.work import Record  # noqa: E402
from provenet.examples.contract_renewal import agent  # noqa: E402
from provenet.nets.net import Net  # noqa: E402
from provenet.visualize import render_net  # noqa: E402
from provenet.visualize.structure import structure  # noqa: E402
from tests.docs.pages import Runner, blocks  # noqa: E402


def main() -> None:
    """Write every picture."""
    provenet("render", "provenet.examples.contract_renewal:agent", "-o", str(HERE / "renewal.svg"))
    (HERE / "offer.svg").write_bytes(render_net(offer_part(agent().net), direction="LR"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        refunds = refund_agent(folder)
        provenet("render", str(refunds), "-o", str(HERE / "refunds.svg"))
        broken = folder / "broken.py"
        broken.write_text(refunds.read_text(encoding="utf-8").replace("<= 5_000)", "<= 50_000)"))
        provenet("verify", str(broken), "--only", "never", "--out", str(folder), code=1)
        (strip,) = folder.glob("*never*.svg")
        (HERE / "counterexample.svg").write_bytes(strip.read_bytes())
    (HERE / "reliability.svg").write_text(drifting(), encoding="utf-8")
    for page in sorted((ROOT / "docs" / "patterns").glob("*.md")):
        pattern(page)
    for picture in sorted(HERE.glob("*.svg")):
        print(f"{picture.relative_to(ROOT)}  {picture.stat().st_size:,} bytes")


def drifting() -> str:
    """A hundred simulated cases of a few calls each, of which one in five strays."""
    dice = random.Random(5)
    work = tuple(
        Work(str(i), dice.randint(1, 4), float((dice.random() < 0.2) + (dice.random() < 0.05)))
        for i in range(100)
    )
    return drawing(Record("simulated", "", "calls", work, (), 0), estimate(work))


def offer_part(net: Net) -> Net:
    """How an offer of the renewal agent reaches billing: two contracts, and the person between them."""
    shape = structure(net)
    shown = ("make offer", "approve offer", "publish approved offer")
    kept = [
        t
        for t in net.transitions
        if t.name in shape.of_transition and shape.of_transition[t.name].id in shown
    ]
    scope = {p for t in kept for p, group in shape.of_place.items() if group.kind == "saga"} | {"case.void"}
    parts = tuple(
        replace(
            t,
            takes=tuple(a for a in t.takes if a.place not in scope),
            reads=tuple(a for a in t.reads if a.place not in scope),
            puts=tuple(a for a in t.puts if a.place not in scope),
        )
        for t in kept
    )
    touched = {a.place for t in parts for a in (*t.takes, *t.reads, *t.puts)}
    return Net(
        "how an offer reaches billing",
        tuple(p for p in net.places if p.name in touched),
        parts,
        contracts=tuple(c for c in net.contracts if c.id in shown),
    )


def pattern(page: Path) -> None:
    """The first program of a pattern's page, where the page shows its picture."""
    picture = f"pattern-{page.stem}.svg"
    programs = [block for block in blocks(page) if block.language == "python" and block.value("file")]
    if not programs or f"pictures/{picture}" not in page.read_text(encoding="utf-8"):
        return
    with tempfile.TemporaryDirectory() as name:
        program = Path(name) / programs[0].value("file")
        program.write_text(programs[0].text, encoding="utf-8")
        provenet("render", str(program), "-o", str(HERE / picture))


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
