"""The table of attacks in docs/engine/security.md: `python -m tests.docs.attacks` makes it of markers."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "engine" / "security.md"
BEGIN, END = "<!-- attacks: begin -->\n", "<!-- attacks: end -->\n"


@dataclass(frozen=True, order=True)
class Attack:
    """A row.

    Attributes:
        name: What somebody tries.
        outcome: What becomes of it.
        test: The test that tries it: file and function.
    """

    name: str
    outcome: str
    test: str


def attacks() -> list[Attack]:
    """All that bears the marker, found without running anything."""
    found: list[Attack] = []
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for name, outcome in _marks(node):
                    where = f"{file.relative_to(ROOT).as_posix()}::{node.name}"
                    found.append(Attack(name, outcome, where))
    return sorted(found)


def _marks(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[str, str]]:
    for mark in node.decorator_list:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) in {"ATTACK", "pytest.mark.attack"}:
            name, outcome = (ast.literal_eval(argument) for argument in mark.args)
            yield name, outcome


def table() -> str:
    """The rows as the page has them."""
    lines = ["| what somebody tries | what becomes of it | test |", "|---|---|---|"]
    for attack in attacks():
        file, _, test = attack.test.partition("::")
        lines.append(f"| {attack.name} | {attack.outcome} | [{test}](../../{file}) |")
    return "\n".join(line.replace("<", "&lt;") for line in lines) + "\n"


def written() -> str:
    """What stands in the page."""
    return PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]


if __name__ == "__main__":
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    print(f"{len(attacks())} attacks")
