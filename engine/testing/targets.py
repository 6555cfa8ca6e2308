"""What ``run_until`` waits for: a place, a task, a transition, a status, or a condition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, get_args

from provenet.engine.case import Status
from provenet.engine.testing.failures import BenchError
from provenet.engine.views import CaseDetail, TaskView
from provenet.nets.errors import did_you_mean
from provenet.nets.net import Choice, Net
from provenet.nets.quick import dataclass

HUMAN_REQUIRED = "human_required"
"""The target that stands for any open task that no script decides."""

Reached: TypeAlias = Callable[[CaseDetail], bool]
"""Whether a case, as it stands, is where a test wants it."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a run is to stop.

    Attributes:
        text: In words, for messages.
        reached: Whether a case is there.
    """

    text: str
    reached: Reached


def target(name: str, net: Net, *, since: int, left_alone: Callable[[TaskView], bool]) -> Target:
    """What a name means in a net.

    Args:
        name: A place, task, transition or status; ``kind:name`` where one name is several of them.
        net: The net.
        since: Log entries up to this one do not count for places that were passed and transitions.
        left_alone: Whether no script decides an open task.

    Raises:
        BenchError: The name means nothing, or several things.
    """
    kinds = _kinds(net)
    kind, colon, rest = name.partition(":")
    if colon and kind in kinds:
        found = [k for k in (kind,) if rest in kinds[k]]
        name = rest
    else:
        found = [k for k, names in kinds.items() if name in names]
    if len(found) > 1:
        raise BenchError(
            f"{name!r} is a {' and a '.join(found)} of net {net.name!r}",
            hint="say which: " + " or ".join(f'"{k}:{name}"' for k in found),
        )
    if not found:
        raise BenchError(
            f"net {net.name!r} has nothing called {name!r} to run until",
            hint=did_you_mean(name, [n for names in kinds.values() for n in names]),
        )
    match found[0]:
        case "place":
            return Target(f"place {name!r}", lambda case: name in case.marking or _passed(case, name, since))
        case "transition":
            return Target(
                f"transition {name!r}",
                lambda case: any(e.seq > since and e.transition == name for e in case.log),
            )
        case "task":
            return Target(
                f"task {name!r}", lambda case: any(t.status == "open" and t.task == name for t in case.tasks)
            )
        case _ if name == HUMAN_REQUIRED:
            return Target(
                "a person being required",
                lambda case: any(t.status == "open" and left_alone(t) for t in case.tasks),
            )
        case _:
            return Target(f"status {name!r}", lambda case: case.case.status == name)


def _kinds(net: Net) -> Mapping[str, frozenset[str]]:
    return {
        "place": frozenset(p.name for p in net.places),
        "task": tasks_of(net),
        "transition": frozenset(t.name for t in net.transitions),
        "status": frozenset((*get_args(Status), HUMAN_REQUIRED)),
    }


def tasks_of(net: Net) -> frozenset[str]:
    """The names of a net's tasks."""
    return frozenset(t.trigger.task for t in net.transitions if isinstance(t.trigger, Choice))


def _passed(case: CaseDetail, place: str, since: int) -> bool:
    return any(place == put[1] for e in case.log if e.seq > since for put in _put(e.data))


def _put(data: Mapping[str, Any]) -> list[Any]:
    found: list[Any] = data.get("put", [])
    return found
