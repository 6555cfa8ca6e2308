"""A case under test: what a test reads of it and asserts about it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NoReturn, Protocol

from provenet.engine.reader import Reader
from provenet.engine.testing.failures import BenchError, NotAsExpected
from provenet.engine.testing.histories import History
from provenet.engine.testing.scripts import Call, EffectScript
from provenet.engine.testing.stories import standing, story
from provenet.engine.testing.targets import tasks_of
from provenet.engine.views import CaseDetail, TaskView
from provenet.nets.errors import did_you_mean
from provenet.nets.models import from_value
from provenet.nets.net import Net, Perform
from provenet.nets.schema import from_json


class Bench(Protocol):
    """What a case needs of its bench."""

    @property
    def reader(self) -> Reader:
        """The read side."""
        ...

    def effect(self, name: str) -> EffectScript:
        """The script of an effect."""
        ...


class CaseView:
    """What a test sees of a case, and says about it. Everything read is what is durable.

    Args:
        bench: Its bench.
        case_id: Its id.

    Attributes:
        id: Its id.
    """

    def __init__(self, bench: Bench, case_id: str) -> None:
        self._bench, self.id = bench, case_id

    def __repr__(self) -> str:
        return f"<case {self.id!r}>"

    # reading

    @property
    def detail(self) -> CaseDetail:
        """Everything about it, as the read side tells it."""
        return self._bench.reader.case(self.id)

    @property
    def net(self) -> Net:
        """Its net version."""
        found = self._bench.reader.net(self.detail.case.net_hash)
        assert found is not None
        return found

    @property
    def status(self) -> str:
        """``running``, ``waiting``, ``done``, ``killed``, ``parked`` or ``failed``."""
        return self.detail.case.status

    @property
    def marking(self) -> dict[str, list[Any]]:
        """The marked places with their tokens, as handlers get them: a model instance for a record."""
        detail = self.detail
        net = self._bench.reader.net(detail.case.net_hash)
        assert net is not None
        return {
            place: [from_value(from_json(t, net.place(place).type), net.place(place).type) for t in tokens]
            for place, tokens in detail.marking.items()
        }

    @property
    def outcome(self) -> Any:
        """The token that it ended with; ``None`` where it has not ended."""
        case = self.detail.case
        if case.outcome_place is None:
            return None
        of = self.net.place(case.outcome_place).type
        return from_value(from_json(case.outcome, of), of)

    @property
    def tasks(self) -> tuple[TaskView, ...]:
        """Its open tasks."""
        return tuple(t for t in self.detail.tasks if t.status == "open")

    @property
    def timers(self) -> dict[str, datetime]:
        """When its timers are due, by transition."""
        return dict(self.detail.timers)

    @property
    def history(self) -> History:
        """Its log with its net, to look at, to keep, and to replay."""
        return History.of(self._bench.reader, self.id)

    @property
    def fired(self) -> tuple[str, ...]:
        """The transitions that fired, in order."""
        return tuple(e.transition for e in self.detail.log if e.kind == "fire")

    def story(self) -> str:
        """The case in a few lines, as failure messages show it."""
        return story(self.detail)

    # asserting

    def assert_status(self, status: str) -> None:
        """It has this status."""
        __tracebackhide__ = True
        if self.status != status:
            self._fail(f"is {standing(self.detail)}, expected {status}")

    def assert_ended(self, place: str) -> None:
        """It ended in this final place."""
        __tracebackhide__ = True
        self._known(place, [p.name for p in self.net.places], "place")
        if self.detail.case.outcome_place != place:
            self._fail(f"has not ended in {place!r}")

    def assert_in(self, place: str, *tokens: Any) -> None:
        """A place is marked; with tokens, by these very ones."""
        __tracebackhide__ = True
        self._known(place, [p.name for p in self.net.places], "place")
        held = self.marking.get(place, [])
        if not held or (tokens and sorted(map(repr, held)) != sorted(map(repr, tokens))):
            expected = " and ".join(map(repr, tokens)) or "a token"
            self._fail(f"holds {held or 'nothing'} in {place!r}, expected {expected}")

    def assert_fired(self, transition: str, *, times: int | None = None) -> None:
        """A transition fired; with ``times``, so often. ``times=0``: it did not."""
        __tracebackhide__ = True
        self._known(transition, [t.name for t in self.net.transitions], "transition")
        found = self.fired.count(transition)
        if (times is None and not found) or (times is not None and found != times):
            self._fail(f"fired {transition!r} {_times(found)}, expected {_wanted(times)}")

    def assert_performed(self, effect: str, *, times: int | None = None) -> None:
        """An effect was performed for it; with ``times``, so often, whatever was repeated on the way."""
        __tracebackhide__ = True
        found = len(self.performed(effect))
        if (times is None and not found) or (times is not None and found != times):
            self._fail(f"had {effect!r} performed {_times(found)}, expected {_wanted(times)}")

    def performed(self, effect: str) -> Sequence[Call | str]:
        """What an effect did for it: calls with different keys, or of one in the database, its firings."""
        script = self._bench.effect(effect)
        if script.is_external:
            return [call for call in script.performed.values() if call.case == self.id]
        commits = {
            t.name
            for t in self.net.transitions
            if isinstance(t.trigger, Perform) and t.trigger.handler == script.name
        }
        return [t for t in self.fired if t in commits]

    # inside

    def the_task(self, name: str | None) -> TaskView:
        """The open task of a name, or the only one.

        Raises:
            BenchError: There is no such task.
            NotAsExpected: It is not open.
        """
        __tracebackhide__ = True
        if name is not None:
            self._known(name, tasks_of(self.net), "task")
        found = [t for t in self.tasks if name in {None, t.task}]
        if not found:
            self._fail("waits for nobody's decision" + (f" on {name!r}" if name else ""))
        if name is None and len({t.task for t in found}) > 1:
            raise BenchError(
                f"case {self.id!r} has {len(found)} open tasks",
                hint="name one: " + ", ".join(sorted({repr(t.task) for t in found})),
            )
        return found[0]

    def _known(self, name: str, names: Any, what: str) -> None:
        names = list(names)
        if name not in names:
            raise BenchError(f"net {self.net.name!r} has no {what} {name!r}", hint=did_you_mean(name, names))

    def _fail(self, what: str) -> NoReturn:
        __tracebackhide__ = True
        raise NotAsExpected(f"case {self.id!r} {what}\n{self.story()}")


def _times(n: int) -> str:
    return {0: "never", 1: "once"}.get(n, f"{n} times")


def _wanted(n: int | None) -> str:
    return "at least once" if n is None else _times(n)
