"""What people see of a case whose tokens have marked fields: ``***`` in their place.

The store holds the values, since the net needs them, personal ones as ciphertext; the read side shows them to
nobody unless it is told to.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from copy import copy
from typing import Any

from provenet.engine.codec import plain
from provenet.engine.personal import MARK, PAYLOAD
from provenet.nets.expr.typing import type_of
from provenet.nets.net import Choice, Net, Perform, Signal, Transition
from provenet.nets.schema import HIDDEN, STR, Field, Type
from provenet.nets.secrets import Shown, hide, is_personal, keeps_secrets


class Veil:
    """Hides the marked fields of one net's cases, in JSON data of every kind that the store holds.

    Args:
        net: The net; where it cannot be read, nothing is known to be marked.
    """

    def __init__(self, net: Net | None) -> None:
        self._shown: Shown | None = lambda _, __: HIDDEN
        places = () if net is None else net.places
        self._places = {p.name: p.type for p in places if keeps_secrets(p.type)}
        self._scopes: dict[str, dict[str, Type]] = {}
        self._tasks: dict[str, list[Type]] = {}
        self._events: dict[str, Type] = {}
        self._effects: dict[str, dict[tuple[Type | None, Type | None], None]] = {}
        for t in () if net is None else net.transitions:
            scope = net.scope(t) if net is not None else {}
            if not any(map(keeps_secrets, scope.values())):
                continue
            self._scopes[t.name] = scope
            match t.trigger:
                case Perform(handler=handler, payload=given):
                    payload = None if given is None else type_of(given, scope)
                    receipt = t.fresh[0].type if t.fresh else None
                    self._effects.setdefault(handler, {})[payload, receipt] = None
                case Choice(task=task):
                    self._tasks.setdefault(task, []).append(_about(t, t.trigger, scope))
                case Signal(event=event) if any(keeps_secrets(f.type) for f in t.fresh):
                    self._events[event] = next(f.type for f in t.fresh if keeps_secrets(f.type))

    def showing(self, shown: Shown | None) -> Veil:
        """The same with something else in the place of a marked field; ``None`` to hide nothing."""
        made = copy(self)
        made._shown = shown  # noqa: SLF001  a veil of its own, just made
        return made

    def token(self, place: str | None, data: Any) -> Any:
        """A token's value."""
        return self._hide(data, self._places[place]) if place in self._places else data

    def entry(self, transition: str, data: dict[str, Any]) -> dict[str, Any]:
        """The data of an entry of the log."""
        if self._shown is None or not (self._places or self._scopes):
            return data
        shown = dict(data)
        for name in ("put", "moved"):
            if isinstance(data.get(name), list):
                shown[name] = [
                    [part[0], part[1], self.token(part[1], part[2])]
                    if isinstance(part, list) and len(part) == 3
                    else part
                    for part in data[name]
                ]
        if isinstance(data.get("map"), dict) and isinstance(data["map"].get("add"), dict):
            added = {p: [self.token(p, t) for t in tokens] for p, tokens in data["map"]["add"].items()}
            shown["map"] = data["map"] | {"add": added}
        scope = self._scopes.get(transition)
        if scope is not None and isinstance(data.get("bring"), dict):
            shown["bring"] = {
                v: self._hide(d, scope[v]) if v in scope else HIDDEN for v, d in data["bring"].items()
            }
        return shown

    def brought(self, transition: str, fresh: Iterable[str], data: Any) -> Any:
        """What came from outside for a transition: an answer or a receipt."""
        scope = self._scopes.get(transition, {})
        for var in fresh:
            if var in scope:
                return self._hide(data, scope[var])
        return data

    def about(self, task: str, data: Any) -> Any:
        """What a task is about."""
        for of in dict.fromkeys(self._tasks.get(task, ())):
            data = self._hide(data, of)
        return data

    def payload(self, event: str, text: str | None) -> str | None:
        """The payload of an event from outside, as text; it may be of any shape, so it is hidden whole."""
        if text is None or self._shown is None:
            return text
        if text.startswith(f'{{"{MARK}":'):
            found = self._shown(WHOLE, json.loads(text))
            return found if isinstance(found, str) else plain(found)
        of = self._events.get(event)
        if of is not None and is_personal(of):
            found = self._hide(json.loads(text), of)
            return found if isinstance(found, str) else plain(found)
        return text if of is None else str(self._shown(_SECRET, text))

    def played(self, effect: dict[str, Any]) -> dict[str, Any]:
        """What a stand-in played in a simulation; what is of no type that the net has is hidden whole."""
        if self._shown is None or effect.get("effect") not in self._effects:
            return effect
        found = dict(effect)
        for name, types in zip(
            ("payload", "receipt"), zip(*self._effects[effect["effect"]], strict=True), strict=True
        ):
            # In a receipt's place may stand why there is none.
            is_other = name == "receipt" and str(effect.get("how")).startswith("refused")
            for of in dict.fromkeys(types) if effect.get(name) is not None else ():
                found[name] = HIDDEN if of is None or is_other else self._hide(found[name], of)
        return found

    def _hide(self, data: Any, of: Type) -> Any:
        return data if self._shown is None else hide(data, of, self._shown)


WHOLE = Field(PAYLOAD, STR, "personal")
"""Stands for a whole payload of an event."""

_SECRET = Field(PAYLOAD, STR, "secret")


def _about(t: Transition, trigger: Choice, scope: dict[str, Type]) -> Type:
    if trigger.about is not None:
        return type_of(trigger.about, scope)
    first = next((take.var for take in t.takes if take.var is not None), None)
    return scope[first] if first is not None else next(iter(scope.values()))
