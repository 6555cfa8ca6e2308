"""`provenet diff`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provenet.cli.loading import load
from provenet.cli.printing import ExitCode, JsonFlag, Out, stop

if TYPE_CHECKING:
    from provenet.verify.policy_diff import PolicyDiff

_SAID = {
    "equal": "the same values pass",
    "stricter": "nothing passes that did not",
    "looser": "passes more than it did",
    "incomparable": "passes some values more and some less",
    "added": "a contract that the old net does not have",
    "removed": "a contract that the new net does not have",
}
_STYLES = {"looser": "bold red", "incomparable": "bold red", "unknown": "yellow", "stricter": "green"}


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("diff")(diff_command)


def diff_command(
    *,
    old: Annotated[str, typer.Argument(metavar="OLD", help="The net as it was.", show_default=False)],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The net as it is.", show_default=False)],
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for each question to the solver.")] = 10.0,
    as_json: JsonFlag = False,
) -> None:
    """What the policies of NEW let pass that those of OLD did not, contract by contract.

    Ends with 1 where a policy is not at least as strict as it was, and with 3 where that is not known.
    """
    from provenet.verify.policy_diff import policy_diff

    out = Out(as_json=as_json)
    found = policy_diff(load(old).net, load(new).net, timeout=timeout)
    for d in found:
        _show(out, d)
    worse = [d for d in found if str(d.relation) in ("looser", "incomparable")]
    unknown = [d for d in found if str(d.relation) == "unknown"]
    if not found:
        out.line("Neither net has a contract.")
    elif worse:
        out.line(f"{len(worse)} of {len(found)} policies let pass what they refused before.", "bold red")
    elif unknown:
        out.line(f"{len(unknown)} of {len(found)} policies cannot be compared.", "yellow")
    else:
        out.line("No policy lets pass what it refused before.", "green")
    out.data({"old": old, "new": new, "policies": [d.to_json() for d in found]})
    stop(ExitCode.FAILED if worse else ExitCode.UNKNOWN if unknown else ExitCode.DONE)


def _show(out: Out, d: PolicyDiff) -> None:
    relation = str(d.relation)
    names = " -> ".join(dict.fromkeys(n or "(none)" for n in (d.old, d.new)))
    said = d.reason or _SAID[relation]
    out.line(f"{relation:<12}  {d.contract}  ({names}): {said}", _STYLES.get(relation, ""))
    if d.passes_now is not None:
        out.line(f"    passes now:  {_read(d, d.passes_now)}")
        out.line(f"                 the old policy refuses it: {', '.join(d.loosened)}")
    if d.refused_now is not None:
        out.line(f"    refused now: {_read(d, d.refused_now)}")
        out.line(f"                 by: {', '.join(d.tightened)}")


def _read(d: PolicyDiff, value: Mapping[str, Any]) -> str:
    """The fields of a value that the policies read."""
    leaves = _leaves(value)
    shown = {k: v for k, v in leaves.items() if any(k == r or k.startswith(f"{r}.") for r in d.reads)}
    return ", ".join(f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in (shown or leaves).items())


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {path: value}
    parts = ((f"{path}.{k}" if path else k, v) for k, v in value.items())
    return {k: leaf for name, part in parts for k, leaf in _leaves(part, name).items()}
