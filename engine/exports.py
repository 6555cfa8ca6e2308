"""Logs in files of their own: what retention drops from the database can be kept, and checked, elsewhere.

A file holds one case: a line that says which, then its entries as they were, each with its hash. Files are
added to, never rewritten, and are on disk before the database lets go of what is in them. ``check_export``
recomputes the chain, and holds it against the database's archive where there is one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from provenet.engine.archive import Archived
from provenet.engine.case import GENESIS, chain
from provenet.engine.codec import plain
from provenet.engine.errors import ExportRefused
from provenet.engine.history import Entry, Replay
from provenet.engine.reader import Reader
from provenet.nets.errors import ProvenetError

FORMAT = "provenet log 1"
"""What the first line of a file says that it is."""


def append(
    folder: Path,
    database: str,
    no: int,
    case: str,
    *,
    first: int,
    entries: Iterable[Sequence[Any]],
    mode: int = 0o666,
) -> int:
    """Add entries to a case's file, durably; those that it has already are left out. No link is followed.

    Args:
        folder: Where files are; made where it is missing.
        database: The database's own id.
        no: The case's number.
        case: Its id.
        first: Number of the first of the entries.
        entries: Rows of the log, without gaps.
        mode: Who may read a new file, as far as the process lets them.

    Returns:
        How many were added.

    Raises:
        ExportRefused: The file cannot be written, is another case's, or ends before the entries begin.
    """
    path = path_of(folder, no, case)
    added = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, _FLAGS, mode), "a+b") as file:
            head = {"format": FORMAT, "database": database, "case": case, "number": no}
            begins = plain(head).encode() + b"\n"
            file.seek(0)
            there = file.readline()
            # What a crash left of the first line is cut off; any other file stays as it is.
            if not begins.startswith(there) or there.endswith(b"\n"):
                _header(path, there, database, case)
            last = _last_line(file)
            if last is None:
                file.write(begins)
                have = first - 1
            else:
                have = int(json.loads(last).get("seq", first - 1))
                file.seek(0, os.SEEK_END)
            if have < first - 1:
                raise ExportRefused(
                    f"it ends with entry {have}, and the log begins with entry {first} by now",
                    where=str(path),
                    hint="entries in between were dropped without an export: name another folder",
                )
            for seq, kind, transition, at, data, prev, digest in entries:
                if seq > have:
                    entry = {
                        "seq": seq,
                        "kind": kind,
                        "transition": transition,
                        "at": at,
                        "data": data,
                        "prev": bytes(prev).hex(),
                        "hash": bytes(digest).hex(),
                    }
                    file.write(plain(entry).encode() + b"\n")
                    added += 1
            file.flush()
            os.fsync(file.fileno())
        if last is None:
            _sync_folder(folder)
    except OSError as error:
        raise ExportRefused(
            f"it cannot be written: {error.strerror or error}",
            where=str(path),
            hint="nothing was pruned; mend this and prune again",
        ) from None
    return added


_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def path_of(folder: Path, no: int, case: str) -> Path:
    """The file of a case: its number tells it from all others, whatever the file system makes of names."""
    return folder / f"{no}-{quote(case, safe='')[:120]}.jsonl"


@dataclass(frozen=True, slots=True)
class Exported:
    """What a check of a file found.

    Attributes:
        path: The file.
        case: Id of its case.
        first: Number of its first entry.
        last: Number of its last entry.
        head: That entry's hash, in hexadecimal.
        archived: What it was held against: ``pruned`` or ``trimmed``; empty for no archive.
        replayed: How many entries were fired again, by the nets of the database.
        problems: Every discrepancy.
    """

    path: str
    case: str
    first: int
    last: int
    head: str
    archived: str
    replayed: int
    problems: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """The result as JSON data."""
        return {name: getattr(self, name) for name in self.__slots__} | {
            "clean": self.clean,
            "problems": list(self.problems),
        }


def check_export(path: str | Path, source: str | Path | None = None) -> Exported:
    """Check the file of a case's log.

    Args:
        path: The file.
        source: The database that it comes from: its archive says how the log ended, and its nets fire the
            entries again. Without it only the chain is recomputed.

    Raises:
        ExportRefused: It is no such file.
        StoreError: The database cannot be read.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = _header(path, file.readline())
            entries = list(_entries(path, file))
    except OSError as error:
        raise ExportRefused(
            f"it cannot be read: {error.strerror or error}", where=str(path), hint="name a file of an export"
        ) from error
    case, problems = str(head["case"]), []
    last = GENESIS if entries and entries[0][0] == 1 else entries[0][5] if entries else GENESIS
    for i, (seq, kind, transition, at, data, prev, digest) in enumerate(entries, start=1):
        if seq != entries[0][0] + i - 1:
            problems.append(f"entry {entries[0][0] + i - 1} is missing")
            break
        if prev != last or digest != chain(prev, case, seq, kind, transition=transition, at=at, data=data):
            problems.append(f"entry {seq}: the hash chain is broken here: it, or one before it, was changed")
            break
        last = digest
    if not entries:
        problems.append("it has no entries")
    held, replayed = "", 0
    if source is not None and not problems:
        reader = Reader(source)
        held, replayed = _against(reader, head, entries, problems)
    return Exported(
        str(path),
        case,
        entries[0][0] if entries else 0,
        entries[-1][0] if entries else 0,
        entries[-1][6].hex() if entries else "",
        held,
        replayed,
        tuple(problems),
    )


def _against(
    reader: Reader, head: dict[str, Any], entries: Sequence[Entry], problems: list[str]
) -> tuple[str, int]:
    """Hold a file against its database; by what, and how many entries were fired again."""
    if reader.uid != head["database"]:
        problems.append("it is from another database")
        return "", 0
    rows: list[Archived] = reader.archive(str(head["case"]))
    digests = {e[0]: e[6] for e in entries}
    problems += [
        f"entry {row.version} has another hash than the archive says"
        for row in rows
        if digests.get(row.version, row.head) != row.head
    ]
    held = rows[-1].kind if rows else ""
    if not rows:
        problems.append("the archive knows nothing of this case")
    elif rows[-1].version > entries[-1][0]:
        problems.append(
            f"it ends with entry {entries[-1][0]}, the archive says {rows[-1].version}: entries are missing"
        )
    elif held == "pruned" and rows[-1].version < entries[-1][0]:
        problems.append(f"it has entries after {rows[-1].version}, which was the last one")
    replay, done = Replay(reader.program, 0, str(head["case"]), 0), 0
    for entry in entries:
        try:
            replay.follow(entry)
        except (ProvenetError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            said = error.message if isinstance(error, ProvenetError) else f"{type(error).__name__}: {error}"
            problems.append(f"entry {entry[0]}, {entry[2] or entry[1]}, does not replay: {said}")
            break
        done += 1
    return held, done


def _header(path: Path, line: bytes, database: str = "", case: str = "") -> dict[str, Any]:
    try:
        head = json.loads(line)
        if head["format"] != FORMAT or not isinstance(head["case"], str):
            raise ValueError(head["format"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ExportRefused(
            "it is no log of a case", where=str(path), hint="`provenet prune --export FOLDER` writes such"
        ) from None
    if database and (head["database"], head["case"]) != (database, case):
        raise ExportRefused(
            f"it is the log of case {head['case']!r} of another database",
            where=str(path),
            hint="give each database a folder of its own",
        )
    return dict(head)


def _entries(path: Path, lines: Iterable[bytes]) -> Iterator[Entry]:
    for number, line in enumerate(lines, start=2):
        try:
            e = json.loads(line)
            yield (
                int(e["seq"]),
                str(e["kind"]),
                str(e["transition"]),
                int(e["at"]),
                str(e["data"]),
                bytes.fromhex(e["prev"]),
                bytes.fromhex(e["hash"]),
            )
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ExportRefused(
                f"line {number} is no entry of a log",
                where=str(path),
                hint="the file is damaged: fetch a copy; where a crash cut its last line, prune once more",
            ) from None


def _last_line(file: BinaryIO) -> bytes | None:
    """The last whole line; what a crash left of another one after it is cut off."""
    end = file.seek(0, os.SEEK_END)
    tail, at = b"", end
    while at and tail.count(b"\n") < 2:
        step = min(at, 65536)
        at -= step
        file.seek(at)
        tail = file.read(step) + tail
    whole = tail.rfind(b"\n") + 1
    if whole < len(tail):
        file.truncate(end - (len(tail) - whole))
    file.seek(0, os.SEEK_END)
    if not whole:
        return None
    return tail[:whole].rstrip(b"\n").rpartition(b"\n")[2]


def _sync_folder(folder: Path) -> None:
    """Let the name of a new file be durable as well."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
