"""Pages of the documentation as programs: their fenced blocks, and a runner for them.

A page is run from top to bottom in an empty folder. Its ``python`` blocks share one namespace, its
``console`` blocks one shell folder; a comment in front of a block says more::

    <!-- test: file=refunds.py -->   the block is a file: written, then run as that module
    <!-- test: append=refunds.py --> ... added to the end of that file, and the whole file run
    <!-- test: patch=refunds.py -->  a diff: its lines with '-' are replaced by those with '+'
    <!-- test: raises=NetError -->   the block must raise that
    <!-- test: output -->            the block is what the block before it printed
    <!-- test: run -->               each `$ command` must succeed, and print what is shown below it
    <!-- test: run exit=1 -->        ... must end with that exit code
    <!-- test: run witness -->       ... texts and numbers in braces are the solver's choice
    <!-- test: show -->              the block is shown only

``<!-- test: follows=../engine.md -->`` below a page's title has the blocks of that page run first.

``...`` stands for anything; times and the breaks of lines in tables are not compared. When the output of a
command has changed for the better, ``python -m tests.docs.pages`` writes the new one into the pages, wherever
a block shows it without ``...``.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

ROOT = Path(__file__).resolve().parents[2]

_FENCE = re.compile(r"^(?P<indent> {0,3})```(?P<language>[\w-]*)\s*$")
_MARK = re.compile(r"^\s*<!--\s*test:\s*(?P<words>.*?)\s*-->\s*$")
_TIME = re.compile(r"(?<![\w.])\d[\d,.]* ?(?:ms|s|µs)(?![\w])")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block.

    Attributes:
        page: The page.
        line: Number of its first line of text.
        language: What stands after the fence.
        text: Its text.
        marks: What the comment before it says: ``run``, ``file=refunds.py``.
    """

    page: Path
    line: int
    language: str
    text: str
    marks: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """The block, for messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def value(self, name: str, default: str = "") -> str:
        """The value of a mark ``name=value``."""
        return next((m.partition("=")[2] for m in self.marks if m.partition("=")[0] == name), default)


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    lines = page.read_text(encoding="utf-8").splitlines()
    at = 0
    marks: tuple[str, ...] = ()
    while at < len(lines):
        mark, fence = _MARK.match(lines[at]), _FENCE.match(lines[at])
        at += 1
        if mark:
            marks = tuple(mark["words"].split())
        elif fence:
            start = at
            while lines[at].strip() != "```":
                at += 1
            indent = len(fence["indent"])
            text = "\n".join(line[indent:] for line in lines[start:at]) + "\n"
            yield Block(page, start + 1, fence["language"], text, marks)
            marks = ()
            at += 1
        elif lines[at - 1].strip():
            marks = ()


def story(page: Path) -> Iterator[Block]:
    """The blocks of a page, after those of the page that it follows."""
    text = page.read_text(encoding="utf-8")
    for before in re.findall(r"^<!-- test: follows=(\S+) -->$", text, re.MULTILINE):
        yield from story((page.parent / before).resolve())
    yield from blocks(page)


class Runner:
    """Runs the blocks of one page in order.

    Args:
        folder: An empty folder.
        differing: ``refuse`` raises where a page shows something else than was printed; ``note`` keeps
            what it should show in ``changes``.
    """

    def __init__(self, folder: Path, *, differing: Literal["refuse", "note"] = "refuse") -> None:
        self.folder, self.differing = folder, differing
        self.changes: list[tuple[Block, str]] = []
        self.namespace = ModuleType("page")
        self.printed = ""
        self.ran = 0

    def run(self, block: Block) -> None:
        """Run one block; ``AssertionError`` where it does not do what the page says."""
        if "show" in block.marks:
            return
        if "output" in block.marks:
            self._compare(block, block.text, self.printed, block.where, self.printed)
        elif block.language == "python" or block.value("patch"):
            self._python(block)
        elif block.language == "console" and "run" in block.marks:
            self._console(block)
        elif block.value("file"):
            (self.folder / block.value("file")).write_text(block.text, encoding="utf-8")

    def _python(self, block: Block) -> None:
        self.ran += 1
        name = block.value("file") or block.value("append") or block.value("patch")
        if name:
            module, filename = ModuleType(Path(name).stem), str(self.folder / name)
            source = self._written(block, self.folder / name)
        else:
            module, filename = self.namespace, f"{block.page.name}:{block.line}"
            # The block keeps its line numbers, so that a failure points into the page.
            source = "\n" * (block.line - 1) + block.text
        sys.modules[module.__name__] = module
        out = io.StringIO()
        wanted = block.value("raises")
        with contextlib.redirect_stdout(out):
            try:
                exec(compile(source, filename, "exec", dont_inherit=True), module.__dict__)
            except Exception as error:
                if type(error).__name__ != wanted:
                    raise
                out.write(f"{error}\n")
            else:
                assert not wanted, f"{block.where}: raises no {wanted}"
        self.printed = out.getvalue()

    def _written(self, block: Block, file: Path) -> str:
        """The text of a file after a block has written it, added to it, or patched it."""
        text = block.text
        if block.value("append"):
            text = file.read_text(encoding="utf-8") + text
        elif block.value("patch"):
            lines = block.text.splitlines()
            old = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("+"))
            new = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("-"))
            before = file.read_text(encoding="utf-8")
            assert before.count(old) == 1, f"{block.where}: the patch does not fit {file.name}"
            text = before.replace(old, new)
        file.write_text(text, encoding="utf-8")
        return text

    def _console(self, block: Block) -> None:
        self.ran += 1
        environment = {
            **os.environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            "COLUMNS": "120",
            "NO_COLOR": "1",
            "TERM": "dumb",
            "PYTHONIOENCODING": "utf-8",
        }
        printed: list[str] = []
        page: list[str] = []
        shown = list(commands(block.text))
        for command, output in shown:
            done = subprocess.run(
                ["/bin/sh", "-c", command],
                cwd=self.folder,
                env=environment,
                capture_output=True,
                text=True,
                encoding="utf-8",
                timeout=120,
                check=False,
            )
            code = int(block.value("exit", "0"))
            printed.append(done.stdout + done.stderr)
            assert done.returncode == code, (
                f"{block.where}: `{command}` ended with {done.returncode}, the page says {code}:\n"
                f"{printed[-1]}"
            )
            page += [f"$ {command}", *(printed[-1].rstrip().splitlines() if output.strip() else [])]
        self.printed = "".join(printed)
        whole = "".join(f"{line.rstrip()}\n" for line in page)
        for (command, output), got in zip(shown, printed, strict=True):
            if output.strip():
                self._compare(block, output, got, f"{block.where}: `{command}`", whole)

    def _compare(self, block: Block, wanted: str, got: str, where: str, whole: str) -> None:
        if "witness" in block.marks:
            wanted, got = _any_witness(wanted), _any_witness(got)
        try:
            same(wanted, got, where)
        except AssertionError:
            if self.differing == "refuse" or "..." in block.text:
                raise
            self.changes.append((block, whole))


def commands(text: str) -> Iterator[tuple[str, str]]:
    """The commands of a console block, each with what is shown below it."""
    command, output = "", list[str]()
    for line in text.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, "\n".join(output)
            command, output = line[2:], []
        elif command.endswith("\\"):
            command = f"{command[:-1]}{line.strip()}"
        else:
            output.append(line)
    if command:
        yield command, "\n".join(output)


def same(wanted: str, got: str, where: str) -> None:
    """Hold what a page shows equal to what was printed."""
    tidy_wanted, tidy_got = _tidy(wanted), _tidy(got)
    # A column is as wide as its widest time, so a slow machine breaks the lines of a table elsewhere.
    if "..." not in wanted and Counter(tidy_wanted.split()) == Counter(tidy_got.split()):
        return
    checker = doctest.OutputChecker()
    assert checker.check_output(tidy_wanted, tidy_got, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE), (
        f"{where}: the page shows\n{tidy_wanted}\nand this was printed\n{tidy_got}"
    )


def _tidy(text: str) -> str:
    text = _TIME.sub("TIME", text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines()) + "\n"


def _any_witness(text: str) -> str:
    """The text without the values that the solver is free to choose."""

    def values(found: re.Match[str]) -> str:
        return re.sub(r"-?\b\d+\b", "N", re.sub(r'"[^"]*"', "TEXT", found[0]))

    return re.sub(r"\{[^{}]*\}", values, text)


def words(command: str) -> list[str]:
    """The words of a command."""
    return shlex.split(command, comments=True)


def refresh(page: Path) -> int:
    """Write into a page what its blocks print now; returns how many blocks have changed."""
    with tempfile.TemporaryDirectory() as name:
        runner = Runner(Path(name), differing="note")
        with contextlib.chdir(name):
            sys.path.insert(0, name)
            for block in story(page):
                runner.run(block)
            sys.path.remove(name)
    lines = page.read_text(encoding="utf-8").splitlines(keepends=True)
    changes = [(block, text) for block, text in runner.changes if block.page == page]
    for block, text in reversed(changes):
        lines[block.line - 1 : block.line - 1 + len(block.text.splitlines())] = [text]
    page.write_text("".join(lines), encoding="utf-8")
    return len(changes)


if __name__ == "__main__":
    for each in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")):
        print(each.relative_to(ROOT), refresh(each))
