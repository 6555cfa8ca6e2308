"""What a user's property means by a name; one that matches nothing is an error that lists what there is."""

from __future__ import annotations

from collections.abc import Iterable

from provenet.nets.errors import PropertyError, did_you_mean
from provenet.nets.net import Net, Perform, Requirement, Role


def named(net: Net, name: str) -> set[str]:
    """The transitions that a name means: itself, a contract's commits, a task's approvals, an effect's.

    Raises:
        PropertyError: It means none.
    """
    if net.has_transition(name):
        return {name}
    found = {t.name for t in net.transitions if isinstance(t.trigger, Perform) and t.trigger.handler == name}
    found |= {t.name for t in net.by_role(Role.COMMIT, Role.APPROVE, contract=name)}
    if not found:
        known = [t.name for t in net.transitions]
        known += [t.contract for t in net.by_role(Role.COMMIT, Role.APPROVE)]
        known += [t.trigger.handler for t in net.transitions if isinstance(t.trigger, Perform)]
        raise unknown(name, "transition, contract, task or effect", known)
    return found


def approvers(requirement: Requirement) -> tuple[str, ...]:
    """The human tasks of ``unless=``: one, several, or none."""
    given = requirement.arg("unless") or ()
    return tuple(map(str, given if isinstance(given, tuple | list) else (given,)))


def known_place(net: Net, name: str) -> str:
    """The name of a place.

    Raises:
        PropertyError: There is no such place.
    """
    if not net.has_place(name):
        raise unknown(name, "place", (p.name for p in net.places))
    return name


def unknown(name: str, what: str, known: Iterable[str]) -> PropertyError:
    """The error about a name that matches nothing, with the names that there are."""
    return PropertyError(f"{name!r} names no {what} of the net", hint=did_you_mean(name, known))
