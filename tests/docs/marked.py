"""Tables in pages that are made of the tests' markers: who tries what, and what becomes of it.

A marker ``@pytest.mark.NAME("what", "what becomes of it")`` is a row: nothing is run to find it. The table
stands in its page between ``<!-- NAMEs: begin -->`` and ``<!-- NAMEs: end -->``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from os.path import relpath
from pathlib import Path

from tests.docs.pages import ROOT


@dataclass(frozen=True, order=True)
class Row:
    """A row.

    Attributes:
        name: What it is about: a marker's first argument.
        outcome: What becomes of it: the second.
        test: The test that shows it: file and function.
    """

    name: str
    outcome: str
    test: str


@dataclass(frozen=True)
class Table:
    """A table of a page.

    Attributes:
        marker: Name of the markers that its rows are made of.
        page: The page.
        heads: Heads of its columns; the last is the test.
        names: What a row's name is in words; itself where nothing stands here.
    """

    marker: str
    page: Path
    heads: tuple[str, str, str]
    names: tuple[tuple[str, str], ...] = ()

    @property
    def _ends(self) -> tuple[str, str]:
        return f"<!-- {self.marker}s: begin -->\n", f"<!-- {self.marker}s: end -->\n"

    def rows(self) -> list[Row]:
        """All that bears the marker, found without running anything."""
        found: list[Row] = []
        for file in sorted((ROOT / "tests").rglob("test_*.py")):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    for name, outcome in self._marks(node):
                        where = f"{file.relative_to(ROOT).as_posix()}::{node.name}"
                        found.append(Row(name, outcome, where))
        return sorted(found)

    def made(self) -> str:
        """The rows as the page has them."""
        names = dict(self.names)
        lines = [f"| {' | '.join(self.heads)} |", "|---|---|---|"]
        for row in self.rows():
            file, _, test = row.test.partition("::")
            link = Path(relpath(ROOT / file, self.page.parent)).as_posix()
            lines.append(f"| {names.get(row.name, row.name)} | {row.outcome} | [{test}]({link}) |")
        return "\n".join(line.replace("<", "&lt;") for line in lines) + "\n"

    def written(self) -> str:
        """What stands in the page."""
        begin, end = self._ends
        return self.page.read_text(encoding="utf-8").partition(begin)[2].partition(end)[0]

    def write(self) -> None:
        """Write the table into the page."""
        begin, end = self._ends
        before, _, rest = self.page.read_text(encoding="utf-8").partition(begin)
        text = f"{before}{begin}\n{self.made()}\n{end}{rest.partition(end)[2]}"
        self.page.write_text(text, encoding="utf-8")

    def _marks(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[str, str]]:
        for mark in node.decorator_list:
            called = ast.unparse(mark.func) if isinstance(mark, ast.Call) else ""
            if called in {self.marker.upper(), f"pytest.mark.{self.marker}"}:
                assert isinstance(mark, ast.Call)
                name, outcome = (ast.literal_eval(argument) for argument in mark.args)
                yield name, outcome
