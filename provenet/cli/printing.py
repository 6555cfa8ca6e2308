"""What people and programs see: text, JSON, progress on the terminal, and errors that mend themselves."""

from __future__ import annotations

import contextlib
import enum
import errno
import json
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from provenet.cli.layout import GAP, Column, lines
from provenet.nets.errors import NetError, ProvenetError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

ISSUES = "the project's issue tracker"

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for programs in place of text.")]


class ExitCode(enum.IntEnum):
    """What the process ends with."""

    DONE = 0
    FAILED = 1
    BAD_INPUT = 2
    UNKNOWN = 3


class Failed(ProvenetError):
    """A command that was understood and did not succeed: exit code 1."""


class Unusable(ProvenetError):
    """Something that the user gave cannot be used: exit code 2."""


class Out:
    """Where a command's output goes: text for people, or one JSON document for programs.

    Args:
        as_json: Whether programs read it; text for people is then left out.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        # A pipe or a file gets plain text. Rich, which takes a while to load, is for terminals and for those
        # who ask for its colours.
        self.plain = not sys.stdout.isatty() and not os.environ.get("FORCE_COLOR")
        self._console: Console | None = None

    @property
    def console(self) -> Console:
        """The terminal, for text."""
        if self._console is None:
            self._console = _console(stderr=False)
        return self._console

    @property
    def width(self) -> int:
        """How long a line may be."""
        return _plain_width() if self.plain else self.console.width

    def line(self, text: str = "", style: str = "") -> None:
        """A line for people; it is never cut."""
        if self.as_json:
            return
        text = visible(text)
        if self.plain:
            sys.stdout.write(f"{text}\n")
        else:
            self.console.print(text, style=style or None, markup=False, soft_wrap=True)

    def show(self, renderable: Any) -> None:
        """Anything that rich can print, for people."""
        if not self.as_json:
            self.console.print(renderable, markup=False)

    def rows(self, rows: Sequence[Sequence[str]], *, head: Sequence[str] = (), indent: int = 2) -> None:
        """A table without lines, for people."""
        if rows:
            names = head or [""] * len(rows[0])
            self.table([Column(head=name) for name in names], rows, indent=indent)

    def table(
        self,
        columns: Sequence[Column],
        rows: Sequence[Sequence[str]],
        *,
        indent: int = 2,
        styles: Mapping[str, str] | None = None,
    ) -> None:
        """A table without lines, for people.

        Args:
            columns: How each column is set.
            rows: The cells.
            indent: How far from the left.
            styles: How a first cell is shown, by its text.
        """
        if self.as_json:
            return
        if self.plain:
            for line in lines(columns, rows, width=self.width - indent):
                self.line(" " * indent + line if line else "")
            return
        from rich.padding import Padding
        from rich.table import Table
        from rich.text import Text

        table = Table(
            box=None, padding=(0, GAP, 0, 0), show_header=any(c.head for c in columns), pad_edge=False
        )
        for column in columns:
            table.add_column(
                Text(column.head),
                justify=column.align,
                no_wrap=column.fit == "whole",
                overflow="fold",
                style=column.style,
                header_style="dim",
            )
        for first, *others in rows:
            cells = [Text(visible(cell)) for cell in others]
            table.add_row(Text(visible(first), style=(styles or {}).get(first, "")), *cells)
        self.show(Padding(table, (0, 0, 0, indent), expand=False))

    def data(self, data: Any) -> None:
        """The document for programs."""
        if self.as_json:
            sys.stdout.write(visible(json.dumps(data, indent=2, ensure_ascii=False, default=str)) + "\n")


@contextlib.contextmanager
def progress(what: str, *, quiet: bool = False) -> Iterator[Progress | None]:
    """A progress display on the terminal; ``None`` where nobody watches."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
        console=_console(stderr=True),
        transient=True,
    ) as shown:
        shown.add_task(what, total=None, note="")
        yield shown


def explain(error: Exception, *, as_json: bool) -> int:
    """Tell the user what went wrong.

    Returns:
        The exit code.
    """
    if os.environ.get("PROVENET_DEBUG"):
        traceback.print_exception(error)
    if isinstance(error, ProvenetError):
        code = _exit_code(error)
        if as_json:
            said = json.dumps({"error": error_data(error), "exit_code": int(code)}, indent=2) + "\n"
            try:
                sys.stdout.write(said)
                sys.stdout.flush()
            except OSError:  # where the output itself has no room left
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                sys.stderr.write(said)
        else:
            sys.stderr.write(visible(error_text(error)) + "\n")
        return code
    if isinstance(error, OSError):
        unusable = Unusable(
            f"{error.strerror or error}",
            where=str(error.filename or ""),
            hint="check the name, the permissions and the free space",
        )
        unusable.__cause__ = error
        return explain(unusable, as_json=as_json)
    # Bytes in a damaged database that are no text reach us bare, or wrapped by the layer that reads them.
    frames = traceback.extract_tb(error.__traceback__) if isinstance(error, UnicodeDecodeError) else []
    if type(error).__module__.split(".")[0] in {"psycopg", "sqlite3", "sqlalchemy"} or any(
        "sqlalchemy" in frame.filename for frame in frames
    ):
        from provenet.engine.store.database import Location, translated

        # Only PostgreSQL's errors come by another way than SQLAlchemy's; the words fit both.
        kind: Literal["file", "server"] = (
            "server" if "psycopg" in type(getattr(error, "orig", error)).__module__ else "file"
        )
        found = translated(error, Location(kind))
        found.where = "the database"
        return explain(found, as_json=as_json)
    said = f"{type(error).__name__}: {error}"
    if as_json:
        sys.stdout.write(json.dumps({"error": {"message": said, "code": "BUG"}, "exit_code": 1}) + "\n")
    sys.stderr.write(
        f"provenet has a bug: {visible(said)}\n"
        f"  please report it on {ISSUES}, with the command and what it prints under PROVENET_DEBUG=1\n"
    )
    return ExitCode.FAILED


def visible(text: str) -> str:
    """A text from anywhere for a terminal, without what a terminal obeys instead of showing it.

    Control characters and those that turn the direction of a text are written as JSON writes them, so JSON
    stays JSON of the same data.
    """
    if text.isascii() and text.isprintable():
        return text
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def error_text(error: ProvenetError) -> str:
    """An error as people read it."""
    if not isinstance(error, NetError):
        return str(error)
    lines = []
    for m in error.mistakes:
        lines.append(f"{m.where}  {m.code}  {m.message}")
        lines += [f"    {hint}" for hint in m.hint.splitlines() if hint]
    count = len(error.mistakes)
    lines.append(f"{count} mistake{'' if count == 1 else 's'}; nothing was verified.")
    return "\n".join(lines)


def error_data(error: ProvenetError) -> dict[str, Any]:
    """An error as programs read it."""
    data: dict[str, Any] = {
        "code": error.code,
        "message": error.message,
        "where": error.where,
        "hint": error.hint,
    }
    if isinstance(error, NetError):
        data["mistakes"] = [
            {"code": m.code, "where": m.where, "message": m.message, "hint": m.hint} for m in error.mistakes
        ]
    reasons = getattr(error, "reasons", None)
    if reasons is not None:
        data["reasons"] = list(reasons)
    return data


def stop(code: ExitCode) -> NoReturn:
    """End the command with a code, when all is printed."""
    raise typer.Exit(int(code))


def short_value(data: Any, limit: int = 100) -> str:
    """JSON data as people write it: ``{discount_pct: 31, term_months: 12}``."""
    text = _plain(data)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def counted(number: int, noun: str) -> str:
    """``1 case``, ``2,345 cases``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _plain(data: Any) -> str:
    match data:
        case Mapping():
            return "{" + ", ".join(f"{k}: {_plain(v)}" for k, v in data.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(_plain, data)) + "]"
        case _:
            return json.dumps(data, ensure_ascii=False, default=str)


def _exit_code(error: ProvenetError) -> ExitCode:
    number = getattr(error.__cause__, "errno", None)
    if number in _NO_ROOM:  # whatever was to be written
        return ExitCode.FAILED
    if number in _NO_FILE:  # whoever was to read it
        return ExitCode.BAD_INPUT
    # What a running system refuses, or what fails there, is an answer and no misuse.
    failed = isinstance(error, Failed) or (error.code.startswith("EN4") and error.code not in _MISUSE)
    return ExitCode.FAILED if failed else ExitCode.BAD_INPUT


_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
_NO_FILE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES}
_MISUSE = {"EN401", "EN404", "EN405", "EN411", "EN421", "EN422", "EN442", "EN470"}


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _plain_width()
    return Console(file=stream, highlight=False, emoji=False, width=width)


def _plain_width() -> int:
    given = os.environ.get("COLUMNS", "")
    return int(given) if given.isdigit() and int(given) else 150
