"""Nets: places, transitions, typed tokens, the firing rule, expressions, composition and file formats.

The names below are the public face; they are imported when they are first asked for, so that a command pays
for what it uses.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from provenet.nets.build import NetBuilder, PlaceRef
    from provenet.nets.check import check_net
    from provenet.nets.compose import fuse, prefixed
    from provenet.nets.errors import (
        Breach,
        ExprError,
        FiringError,
        FormatError,
        Mistake,
        NetError,
        NotEnabled,
        ProvenetError,
        TypeMismatch,
    )
    from provenet.nets.expr.build import choose, make
    from provenet.nets.expr.parse import parse
    from provenet.nets.expr.show import show
    from provenet.nets.firing import Firing, NetRule, enabled, fire
    from provenet.nets.formats.canonical import (
        content_hash,
        dumps,
        loads,
        net_from_json,
        net_to_json,
        pretty,
        read_net,
        short_hash,
        write_net,
    )
    from provenet.nets.formats.graph import Skeleton, incidence, postset, preset, to_networkx
    from provenet.nets.formats.pnml import parse_pnml, pnml_text, read_pnml, write_pnml
    from provenet.nets.formats.snakes_bridge import from_snakes, to_snakes
    from provenet.nets.marking import Marking, initial_marking, is_final, marking_from_json, marking_to_json
    from provenet.nets.models import Token
    from provenet.nets.net import (
        After,
        Ask,
        Auto,
        CaseKey,
        Choice,
        ContractInfo,
        Delivery,
        Entry,
        Explain,
        Fresh,
        Ignored,
        Judge,
        Label,
        Net,
        OnFailure,
        PatternInfo,
        Perform,
        Place,
        Put,
        Read,
        Requirement,
        Role,
        Rule,
        SagaInfo,
        Signal,
        Take,
        Transition,
        Trigger,
    )

_HOMES = {
    "build": ("NetBuilder", "PlaceRef"),
    "check": ("check_net",),
    "compose": ("fuse", "prefixed"),
    "errors": (
        *("Breach", "ExprError", "FiringError", "FormatError", "Mistake", "NetError", "NotEnabled"),
        *("ProvenetError", "TypeMismatch"),
    ),
    "expr.build": ("choose", "make"),
    "expr.parse": ("parse",),
    "expr.show": ("show",),
    "firing": ("Firing", "NetRule", "enabled", "fire"),
    "formats.canonical": (
        *("content_hash", "dumps", "loads", "net_from_json", "net_to_json", "pretty", "read_net"),
        *("short_hash", "write_net"),
    ),
    "formats.graph": ("Skeleton", "incidence", "postset", "preset", "to_networkx"),
    "formats.pnml": ("parse_pnml", "pnml_text", "read_pnml", "write_pnml"),
    "formats.snakes_bridge": ("from_snakes", "to_snakes"),
    "marking": ("Marking", "initial_marking", "is_final", "marking_from_json", "marking_to_json"),
    "models": ("Token",),
    "net": (
        *("After", "Ask", "Auto", "CaseKey", "Choice", "ContractInfo", "Delivery", "Entry", "Explain"),
        *("Fresh", "Ignored", "Judge", "Label", "Net", "OnFailure", "PatternInfo", "Perform", "Place"),
        *("Put", "Read", "Requirement", "Role", "Rule", "SagaInfo", "Signal", "Take", "Transition"),
        "Trigger",
    ),
}
_WHERE = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})


__all__ = [
    "After",
    "Ask",
    "Auto",
    "Breach",
    "CaseKey",
    "Choice",
    "ContractInfo",
    "Delivery",
    "Entry",
    "Explain",
    "ExprError",
    "Firing",
    "FiringError",
    "FormatError",
    "Fresh",
    "Ignored",
    "Judge",
    "Label",
    "Marking",
    "Mistake",
    "Net",
    "NetBuilder",
    "NetError",
    "NetRule",
    "NotEnabled",
    "OnFailure",
    "PatternInfo",
    "Perform",
    "Place",
    "PlaceRef",
    "ProvenetError",
    "Put",
    "Read",
    "Requirement",
    "Role",
    "Rule",
    "SagaInfo",
    "Signal",
    "Skeleton",
    "Take",
    "Token",
    "Transition",
    "Trigger",
    "TypeMismatch",
    "check_net",
    "choose",
    "content_hash",
    "dumps",
    "enabled",
    "fire",
    "from_snakes",
    "fuse",
    "incidence",
    "initial_marking",
    "is_final",
    "loads",
    "make",
    "marking_from_json",
    "marking_to_json",
    "net_from_json",
    "net_to_json",
    "parse",
    "parse_pnml",
    "pnml_text",
    "postset",
    "prefixed",
    "preset",
    "pretty",
    "read_net",
    "read_pnml",
    "short_hash",
    "show",
    "to_networkx",
    "to_snakes",
    "write_net",
    "write_pnml",
]
