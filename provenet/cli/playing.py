"""`provenet simulate`: play a trace, or a random run, step by step through the firing rule."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provenet.cli.loading import Loaded, Target, load
from provenet.cli.printing import ExitCode, JsonFlag, Out, Unusable, counted, stop

if TYPE_CHECKING:
    from provenet.nets.marking import Marking
    from provenet.nets.net import Net
    from provenet.verify.verdict import Trace


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("simulate")(simulate_command)


def simulate_command(
    *,
    target: Target,
    trace_file: Annotated[
        Path | None,
        typer.Option("--trace", help="Play this trace, as `verify --out` or `simulate --out` wrote it."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed, another random run.")] = 0,
    steps: Annotated[int, typer.Option(min=0, help="Most steps of a random run.")] = 60,
    given: Annotated[
        str | None,
        typer.Option("--input", help="JSON: a token for each entry place; made up where not given."),
    ] = None,
    pause: Annotated[bool, typer.Option("--pause", help="Wait for Enter before each step.")] = False,
    save_to: Annotated[Path | None, typer.Option("--out", help="Write the run as a trace file.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Play a trace or a random run."""
    out = Out(as_json=as_json)
    loaded = load(target)
    if trace_file is not None:
        trace, about = _read_trace(loaded, trace_file)
        ended = ""
    else:
        from provenet.nets.check import check_net
        from provenet.nets.errors import NetError

        mistakes = check_net(loaded.net)
        if mistakes:
            raise NetError(loaded.net.name, mistakes)
        trace, ended = _random_run(loaded.net, seed=seed, steps=steps, given=given)
        about = f"a random run, seed {seed}"
    _play(out, loaded.net, trace, about, pause=pause)
    out.line()
    out.line(f"{counted(len(trace.steps), 'step')}{': ' + ended if ended else ''}", "bold")
    if save_to is not None:
        from provenet.cli.proving import write
        from provenet.nets.formats.canonical import content_hash

        content = {
            "net": loaded.net.name,
            "net_hash": content_hash(loaded.net),
            "trace": trace.to_json(loaded.net),
        }
        write(save_to, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
        out.line(f"wrote {save_to}")
    out.data({"net": loaded.net.name, "about": about, "ended": ended, **_told(loaded.net, trace)})
    stop(ExitCode.DONE)


def _read_trace(loaded: Loaded, path: Path) -> tuple[Trace, str]:
    from provenet.nets.errors import FiringError, ProvenetError
    from provenet.nets.formats.canonical import content_hash
    from provenet.verify.verdict import Trace

    net = loaded.net
    if not path.is_file():
        raise Unusable(
            "there is no such trace file",
            where=str(path),
            hint="`provenet verify TARGET --out DIR` writes them",
        )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise Unusable(f"this is no JSON: {error}", where=str(path), hint="name a trace file") from error
    if not isinstance(data, dict) or not isinstance(data.get("trace"), dict):
        raise Unusable(
            'this JSON is no trace: expected an object with a "trace" in it',
            where=str(path),
            hint="`provenet verify TARGET --out DIR` and `provenet simulate TARGET --out FILE` write traces",
        )
    try:
        trace = Trace.from_json(data["trace"], net)
    except (LookupError, ValueError, TypeError, AttributeError, ProvenetError) as error:
        said = error.message if isinstance(error, ProvenetError) else "its steps have another shape"
        said = f"it has no {error}" if isinstance(error, KeyError) else said
        raise Unusable(
            f"this is no trace of net {net.name!r}: {said}",
            where=str(path),
            hint=_other_version(data, content_hash(net)),
        ) from error
    try:
        trace.replay(net)
    except (FiringError, KeyError) as error:
        raise Unusable(
            f"the trace does not fire on net {net.name!r}: {error}",
            where=str(path),
            hint=_other_version(data, content_hash(net)),
        ) from error
    return trace, "  ".join(str(data[k]) for k in ("property", "title") if data.get(k)) or path.name


def _other_version(data: dict[str, Any], found: str) -> str:
    said = str(data.get("net_hash", ""))
    if said and said != found:
        return f"the trace is of net {said[:8]}, this is {found[:8]}: verify this one again"
    return "the file was changed; write it again with `provenet verify TARGET --out DIR`"


def _random_run(net: Net, *, seed: int, steps: int, given: str | None) -> tuple[Trace, str]:
    from provenet.cli.sampling import Sampler
    from provenet.nets.marking import initial_marking, is_final
    from provenet.verify.verdict import Trace, TraceStep

    sampler = Sampler(net, random.Random(seed))  # noqa: S311 - a simulation, no secret
    start = initial_marking(net, _inputs(net, given, sampler))
    marking: Marking = start
    taken: list[TraceStep] = []
    for _ in range(steps):
        if is_final(net, marking):
            return Trace(start, tuple(taken)), "a final marking"
        step = sampler.step(marking)
        if step is None:
            return Trace(start, tuple(taken)), "nothing is enabled"
        taken.append(TraceStep(step[0].transition, step[0].binding))
        marking = step[1]
    return Trace(start, tuple(taken)), "a final marking" if is_final(net, marking) else "the step limit"


def _inputs(net: Net, given: str | None, sampler: Any) -> dict[str, Any]:
    from provenet.nets.errors import TypeMismatch, did_you_mean
    from provenet.nets.schema import from_json

    said: dict[str, Any] = {}
    if given is not None:
        try:
            said = json.loads(given)
            if not isinstance(said, dict):
                raise TypeError("expected an object with a token for each entry place")
        except (ValueError, TypeError) as error:
            raise Unusable(f"the input is no JSON object: {error}", where="--input") from error
    entries = {e.place: e for e in net.entries}
    for name in said:
        if name not in entries:
            raise Unusable(f"there is no entry {name!r}", where="--input", hint=did_you_mean(name, entries))
    values = {}
    for name, entry in entries.items():
        try:
            values[name] = (
                from_json(said[name], net.place(name).type, name) if name in said else sampler.entry(entry)
            )
        except TypeMismatch as error:
            raise Unusable(
                error.message, where="--input", hint="give the token as the place's type has it"
            ) from error
    return values


def _play(out: Out, net: Net, trace: Trace, about: str, *, pause: bool) -> None:
    from provenet.cli.proving import show_steps
    from provenet.cli.traces import start_text, steps_of

    if out.as_json:
        return
    out.line(f"{net.name}: {about}", "bold")
    for line in start_text(net, trace.start):
        out.line(f"      0  starts with {line}", "dim")
    told = list(steps_of(net, trace))
    if not pause:
        show_steps(out, told, most=len(told))
        return
    for step in told:
        out.console.input("", markup=False)
        show_steps(out, [step])


def _told(net: Net, trace: Trace) -> dict[str, Any]:
    from provenet.cli.traces import steps_of

    lines = [
        {"number": s.number, "role": s.role, "name": s.name, "changes": list(s.changes)}
        for s in steps_of(net, trace)
    ]
    return {"trace": trace.to_json(net), "steps": lines}
