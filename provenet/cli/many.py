"""`provenet verify` on many nets: workers in processes, a row for each net and property.

A worker that crashes costs one row, with status ERROR; one that does not stop by itself a second after its
time is up is killed, with everything that it started, and its row is UNKNOWN. The others go on.
"""

from __future__ import annotations

import contextlib
import glob
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing import connection
from pathlib import Path
from typing import TYPE_CHECKING

from provenet.cli.checking import GRACE, LOADING, Row, row_of, serve
from provenet.cli.layout import Column
from provenet.cli.printing import ExitCode, Out, Unusable, counted, progress, visible
from provenet.cli.reports.outcome import Outcome, Steps, failed

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

_MAGIC = frozenset("*?[")
_STYLES = {"PROVED": "green", "REFUTED": "bold red", "UNKNOWN": "yellow", "ERROR": "bold magenta"}
_WORST = (ExitCode.BAD_INPUT, ExitCode.FAILED, ExitCode.UNKNOWN)
_CODES = {"ERROR": ExitCode.BAD_INPUT, "REFUTED": ExitCode.FAILED, "UNKNOWN": ExitCode.UNKNOWN}

Told = Callable[[Row, tuple[Outcome, ...]], None]


@dataclass(frozen=True, slots=True)
class Task:
    """A target, the properties to decide of it (``None``: what it requires), and whether steps are told."""

    target: str
    words: tuple[str, ...] | None
    steps: Steps = "told"


def is_pattern(target: str) -> bool:
    """Whether a target stands for several files."""
    return bool(_MAGIC & set(target)) and not Path(target).exists()


def expanded(targets: Sequence[str]) -> list[str]:
    """The targets with patterns (``nets/*.pnml``, ``**`` for any folders) replaced by the files they match.

    Raises:
        Unusable: A pattern matches nothing.
    """
    found: dict[str, None] = {}
    for target in targets:
        if not is_pattern(target):
            found[target] = None
            continue
        files = sorted(f for f in glob.glob(target, recursive=True) if Path(f).is_file())  # noqa: PTH207
        if not files:
            raise Unusable(
                "no file matches this pattern", where=target, hint="check the folder and the suffix"
            )
        found |= dict.fromkeys(files)
    return list(found)


def checked_words(targets: Sequence[str], words: Sequence[str]) -> None:
    """Refuse a word that no net can know, once and not for each net.

    Raises:
        PropertyError: No property is called so, and files without Python code can have none of their own.
    """
    from provenet.nets.errors import PropertyError, did_you_mean
    from provenet.verify.asked import WORDS
    from provenet.verify.pages import titles

    if any(Path(target).suffix not in {".pnml", ".xml"} for target in targets):
        return
    known = {*WORDS, *titles(), *(id_.partition("-")[0] for id_ in titles())}
    for word in words:
        if word not in known and word.lower() not in WORDS:
            raise PropertyError(f"unknown property {word!r}", hint=did_you_mean(word, sorted(known)))


def verify_many(
    out: Out,
    targets: Sequence[str],
    words: Sequence[str] | None,
    *,
    jobs: int,
    timeout: float,
    steps: Steps = "told",
) -> tuple[Outcome, ...]:
    """Decide, tell each row as it comes (JSON lines) or all in one table, and return every outcome."""
    began = time.perf_counter()
    order = {target: i for i, target in enumerate(targets)}
    rows: list[Row] = []
    outcomes: list[tuple[int, tuple[Outcome, ...]]] = []
    with progress(
        f"verifying {counted(len(targets), 'net')}", quiet=out.as_json and sys.stdout.isatty()
    ) as bar:
        if bar is not None:
            bar.update(bar.task_ids[0], total=len(targets))
        seen: set[str] = set()

        def told(row: Row, of: tuple[Outcome, ...]) -> None:
            rows.append(row)
            outcomes.append((order[row["target"]], of))
            seen.add(row["target"])
            if out.as_json:
                sys.stdout.write(visible(json.dumps(row, ensure_ascii=False, default=str)) + "\n")
                sys.stdout.flush()
            if bar is not None:
                bar.update(bar.task_ids[0], completed=len(seen) - 1, note=Path(row["target"]).name)

        tasks = [Task(t, None if words is None else tuple(words), steps) for t in targets]
        check_all(tasks, told, jobs=jobs, timeout=timeout)
    if not out.as_json:
        rows.sort(key=lambda row: order[row["target"]])
        _table(out, rows)
        out.line()
        out.line(_sum(rows, len(targets), time.perf_counter() - began), "bold")
    return tuple(o for _, of in sorted(outcomes, key=lambda pair: pair[0]) for o in of)


def exit_code(outcomes: Sequence[Outcome]) -> ExitCode:
    """The worst there is: a bad target, a refutation, an UNKNOWN; known findings aside."""
    found = {_CODES[o.status] for o in outcomes if o.status in _CODES and o.novelty != "known"}
    return next((code for code in _WORST if code in found), ExitCode.DONE)


def check_all(tasks: Sequence[Task], told: Told, *, jobs: int, timeout: float) -> None:
    """Decide every task in worker processes.

    Args:
        tasks: The tasks.
        told: Told each row with its outcomes, in the order in which they are decided.
        jobs: Most processes at a time.
        timeout: Seconds for each property.
    """
    waiting = deque(tasks)
    workers: list[_Worker] = []
    with _ended_in_order():
        try:
            _drive(waiting, workers, told, jobs=jobs, timeout=timeout)
        finally:
            for w in workers:
                w.kill()


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
    """A request to end (SIGTERM) is an exception meanwhile, so that the workers end, too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _drive(waiting: deque[Task], workers: list[_Worker], told: Told, *, jobs: int, timeout: float) -> None:
    while waiting or any(w.task is not None for w in workers):
        while waiting and len(workers) < jobs and all(w.task is not None for w in workers):
            workers.append(_Worker())
        for w in workers:
            if waiting and w.task is None:
                w.give(waiting.popleft(), timeout)
        soon = min((w.deadline for w in workers if w.task is not None), default=time.monotonic())
        connection.wait([w.end for w in workers], max(0.0, soon - time.monotonic()))
        for w in list(workers):
            for row, of in w.heard(timeout):
                told(row, of)
            again = w.over()
            if again is None:
                continue
            workers.remove(w)
            for row, of in again.lost:
                told(row, of)
            if again.rest is not None:
                waiting.appendleft(again.rest)


@dataclass(frozen=True, slots=True)
class _Again:
    """What a worker that is no more leaves behind: rows for what it worked on, and what is still to do."""

    lost: tuple[tuple[Row, tuple[Outcome, ...]], ...]
    rest: Task | None


class _Worker:
    """A process that works on one task at a time, seen from outside."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.end, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(target=serve, args=(theirs,))
        self._process.start()
        theirs.close()
        self.task: Task | None = None
        self.deadline = 0.0
        self._word: str | None = None
        self._left: list[str] = []
        self._loaded = False
        self._began = 0.0
        self._ended = False

    def give(self, task: Task, timeout: float) -> None:
        """Start on a task."""
        self.task, self._word, self._left, self._loaded = task, None, list(task.words or ()), False
        self._began = time.monotonic()
        self.deadline = self._began + timeout + LOADING
        with contextlib.suppress(OSError):  # a process that is gone is noticed when it is listened to
            self.end.send((task.target, task.words, timeout, task.steps))

    def heard(self, timeout: float) -> Iterator[tuple[Row, tuple[Outcome, ...]]]:
        """The rows that have come."""
        try:
            while self.end.poll():
                message = self.end.recv()
                match message:
                    case ("asked", names):
                        self._left, self._loaded = list(names), True
                    case ("began", word):
                        self._word, self._began, self._loaded = word, time.monotonic(), True
                        self.deadline = self._began + timeout + GRACE
                    case ("row", row, data):
                        if row["property"] in self._left:
                            self._left.remove(row["property"])
                        self._word = None
                        self.deadline = time.monotonic() + timeout + GRACE
                        yield row, tuple(Outcome.from_json(each) for each in data)
                    case _:
                        self.task = None
        except (EOFError, OSError):
            self._ended = True

    def over(self) -> _Again | None:
        """What is left where the process is no more, or had to be killed; ``None`` while it is well."""
        late = self.task is not None and time.monotonic() > self.deadline
        if not (late or self._ended):
            return None
        if self._ended:
            self._process.join(GRACE)  # its end of the pipe is closed before it has its exit code
        self.kill()
        task = self.task
        if task is None:
            return _Again((), None)
        seconds = time.monotonic() - self._began
        rest = replace(task, words=tuple(self._left)) if self._left else None
        if not self._loaded:
            said = f"{seconds:.0f} s were not enough to load it" if late else self._end_in_words()
            asked = task.words[0] if task.words is not None and len(task.words) == 1 else ""
            return _Again((_lost(failed(task.target, said, prop=asked, seconds=seconds), asked),), None)
        if task.words is None or self._word is None:
            # What was proved of a whole net is lost with the process: ask again, property by property.
            return _Again((), rest)
        said = f"time is up: stopped after {seconds:.1f} s" if late else self._end_in_words()
        outcome = failed(task.target, said, prop=self._word, seconds=seconds)
        if late:
            outcome = replace(outcome, status="UNKNOWN", title=self._word)
        left = tuple(word for word in self._left if word != self._word)
        return _Again((_lost(outcome, self._word),), replace(task, words=left) if left else None)

    def kill(self) -> None:
        """Stop the process and all that it has started."""
        pid = self._process.pid
        with contextlib.suppress(OSError):
            if pid is not None and hasattr(os, "killpg") and os.getpgid(pid) == pid:
                os.killpg(pid, signal.SIGKILL)
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        self.end.close()

    def _end_in_words(self) -> str:
        code = self._process.exitcode
        if code is None or code >= 0:
            return f"the checker's process ended with code {code}"
        name = signal.Signals(-code).name
        return f"the checker's process was ended by {name}" + (
            ", perhaps for want of memory" if name == "SIGKILL" else ""
        )


def _lost(outcome: Outcome, asked: str) -> tuple[Row, tuple[Outcome, ...]]:
    return row_of(outcome, asked), (outcome,)


def _table(out: Out, rows: Sequence[Row]) -> None:
    whole = Column(fit="whole")
    columns = [whole, Column(), Column(), Column(fit="whole", align="right", style="dim"), Column()]
    cells = [
        [
            row["verdict"],
            row["target"],
            row["property"],
            f"{row['seconds'] * 1000:,.0f} ms",
            " ".join((row["engine"] if row["verdict"] == "PROVED" else row["reason"]).split()),
        ]
        for row in rows
    ]
    out.table(columns, cells, styles=_STYLES)


def _sum(rows: Sequence[Row], nets: int, seconds: float) -> str:
    counts = {s: sum(row["verdict"] == s for row in rows) for s in _STYLES}
    words = {"ERROR": "could not be checked"}
    said = ", ".join(f"{n:,} {words.get(s, s.lower())}" for s, n in counts.items() if n)
    return f"{counted(nets, 'net')}: {said or 'nothing to prove'} in {seconds:.1f} s."
