"""Mends that are tried before they are proposed: the mended net is verified for the same property."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from provenet.nets.check import check_net
from provenet.nets.net import Net, Requirement
from provenet.verify.context import Context
from provenet.verify.verdict import Status, Verdict

_SECONDS = 5.0


def tried(
    ctx: Context,
    mended: Net,
    check: Callable[[Context, Requirement], Iterable[Verdict]],
    requirement: Requirement,
    *,
    subject: str = "",
) -> str:
    """What to say after a mend: that the mended net is proved, or nothing.

    Args:
        ctx: The broken net.
        mended: The net with the mend.
        check: The property.
        requirement: What is asked of it.
        subject: Whom the mend is for: only verdicts about it count. All of them, where there is none.
    """
    if ctx.hints is not None or ctx.memo.get("mending") or check_net(mended):
        return ""
    again = Context(mended, deadline=min(ctx.deadline, time.monotonic() + _SECONDS))
    again.memo["mending"] = "yes"  # or a mend that does not do would be mended in turn
    found = [v for v in check(again, requirement) if v.subject == subject or not subject]
    again.memo.clear()
    return " (tried: PROVED)" if found and all(v.status is Status.PROVED for v in found) else ""


def with_transition(net: Net, name: str, **changes: Any) -> Net:
    """The net with one transition changed."""
    return replace(
        net, transitions=tuple(replace(t, **changes) if t.name == name else t for t in net.transitions)
    )
