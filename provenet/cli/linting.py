"""`provenet lint`: functions that serve as verifiers, looked at and run for hidden randomness.

A function is opaque to every proof (SDB-3). Lint makes up proposals and inputs of the declared types and asks
each function about them in a few fresh processes with different hash seeds, in every other one from the last
to the first, so that what depends on hashes, chance, time or earlier calls shows up as another answer.
And it reads the code for what could give other answers on another day. It finds mistakes and proves nothing.
"""

from __future__ import annotations

import builtins
import contextlib
import dis
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provenet.cli.loading import Loaded, Target, load
from provenet.cli.printing import ExitCode, JsonFlag, Out, Unusable, counted, progress, stop

if TYPE_CHECKING:
    from provenet.nets.schema import Value

_PATIENCE = 120
_SEEDS = ("1", "2", "3", "4")
_SHOWN = 3

_ELSEWHERE = {
    **dict.fromkeys(("random", "secrets", "uuid"), "is random"),
    **dict.fromkeys(("time", "threading", "asyncio", "multiprocessing"), "depends on time"),
    **dict.fromkeys(("socket", "ssl", "http", "urllib", "requests", "httpx", "aiohttp"), "asks the network"),
    **dict.fromkeys(("litellm", "openai", "anthropic", "google", "transformers", "torch"), "asks a model"),
    **dict.fromkeys(("subprocess", "sqlite3", "sqlalchemy", "sqlmodel", "psycopg"), "asks another process"),
}
_ATTRIBUTES = {
    "datetime": {"now": "depends on time", "utcnow": "depends on time", "today": "depends on time"},
    "os": {"environ": "depends on the machine", "getenv": "depends on the machine", "urandom": "is random"},
    "numpy": {"random": "is random"},
}
_BUILTINS = {
    "open": "reads files",
    "input": "asks at the terminal",
    "hash": "differs from process to process",
    "id": "differs from process to process",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that lint has found of one verifier.

    Attributes:
        contract: The contract.
        kind: ``answers`` where two runs differ, ``code`` for what its code uses.
        text: For people.
        examples: For ``answers``: what was asked, and both answers.
    """

    contract: str
    kind: str
    text: str
    examples: tuple[str, ...] = field(default=())


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("lint")(lint_command)


def lint_command(
    *,
    target: Target,
    samples: Annotated[int, typer.Option(min=1, help="Made-up proposals for each verifier.")] = 200,
    as_json: JsonFlag = False,
) -> None:
    """Look for hidden randomness in verifiers that are functions.

    Proofs do not look into them: each is run on made-up proposals in processes with different hash
    seeds, and its code is searched for clocks, chance, networks and models.
    """
    out = Out(as_json=as_json)
    loaded = load(target)
    names = opaque_contracts(loaded)
    findings: list[Finding] = []
    for name in names:
        findings += _reads(name, loaded.agent.verifier(_handler(loaded, name)))
    if names:
        with progress(f"linting {counted(len(names), 'verifier')}", quiet=as_json):
            findings += _differences(target, samples)
    accepted = {n for r in loaded.net.requirements if r.kind == "SDB-3" for n in r.arg("opaque", ())}
    _tell(out, names, findings, accepted, samples)
    out.data(
        {
            "verifiers": names,
            "samples": samples,
            "accepted": sorted(accepted),
            "findings": [asdict(f) for f in findings],
        }
    )
    stop(ExitCode.FAILED if findings else ExitCode.DONE)


def opaque_contracts(loaded: Loaded) -> list[str]:
    """Contracts whose verifier is a function."""
    return [c.id for c in loaded.net.contracts if c.opaque != "no" and _handler(loaded, c.id)]


def _handler(loaded: Loaded, contract: str) -> str:
    from provenet.nets.net import Judge

    judges = (t.trigger for t in loaded.net.transitions if t.contract == contract)
    return next((j.handler for j in judges if isinstance(j, Judge)), "")


def _tell(out: Out, names: list[str], findings: list[Finding], accepted: set[str], samples: int) -> None:
    if not names:
        out.line("Every verifier is a policy: there is nothing to lint.")
        return
    for name in names:
        mine = [f for f in findings if f.contract == name]
        said = "accepted as opaque" if name in accepted else "not accepted: SDB-3 is UNKNOWN"
        out.line(f"  {'FOUND' if mine else 'ok':<6} {name}   {counted(samples, 'proposal')}, {said}")
        for f in mine:
            out.line(f"         {f.text}")
            for example in f.examples:
                out.line(f"           {example}")
    out.line()
    if findings:
        out.line("Make it a policy, or take what it depends on out of it and into its inputs.")
    else:
        out.line("Nothing found, which is no proof. What only a function can say is accepted by name:")
        missing = [n for n in names if n not in accepted] or names[:1]
        out.line(f"  net.require(opaque({', '.join(json.dumps(n) for n in missing)}, because=...))")


# what the code says


def _reads(contract: str, verify: Callable[..., Any]) -> Iterator[Finding]:
    """What a function's code uses that may answer otherwise another time."""
    found: dict[str, str] = {}
    _read(_function(verify), found, set())
    for name, why in found.items():
        yield Finding(contract, "code", f"its code uses {name}, which {why}")
    if inspect.iscoroutinefunction(verify):
        yield Finding(contract, "code", "it is an async function: a verifier answers at once")


def _function(verify: Callable[..., Any]) -> FunctionType | None:
    plain = inspect.unwrap(verify)
    plain = getattr(plain, "__func__", plain)
    if not isinstance(plain, FunctionType):
        plain = type(plain).__dict__.get("__call__")
    return plain if isinstance(plain, FunctionType) else None


def _read(function: FunctionType | None, found: dict[str, str], seen: set[CodeType]) -> None:
    if function is None or function.__code__ in seen:
        return
    for code in _codes(function.__code__):
        seen.add(code)
        names = [i.argval for i in dis.get_instructions(code) if isinstance(i.argval, str)]
        for i in dis.get_instructions(code):
            if i.opname == "IMPORT_NAME":
                _module(str(i.argval).split(".", maxsplit=1)[0], names, found)
            elif i.opname in {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF"}:
                value = _value(function, str(i.argval))
                if isinstance(value, ModuleType):
                    _module(value.__name__.split(".", maxsplit=1)[0], names, found)
                elif isinstance(value, FunctionType):
                    home = value.__module__.split(".", maxsplit=1)[0]
                    _module(home, names, found)
                    if home not in sys.stdlib_module_names and home != "provenet":
                        _read(value, found, seen)
                elif value is not None and value is getattr(builtins, str(i.argval), None):
                    if i.argval in _BUILTINS:
                        found[f"{i.argval}()"] = _BUILTINS[i.argval]
                elif (where := getattr(value, "__module__", None)) is not None:
                    _module(str(where).split(".", maxsplit=1)[0], names, found)


def _value(function: FunctionType, name: str) -> Any:
    """What a name means in a function, where that is known."""
    if name in function.__code__.co_freevars and function.__closure__:
        with contextlib.suppress(ValueError):  # a cell that nothing was put into yet
            return function.__closure__[function.__code__.co_freevars.index(name)].cell_contents
    return function.__globals__.get(name, getattr(builtins, name, None))


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _module(name: str, names: list[str], found: dict[str, str]) -> None:
    if name in _ELSEWHERE:
        found[name] = _ELSEWHERE[name]
    for attribute, why in _ATTRIBUTES.get(name, {}).items():
        if attribute in names:
            found[f"{name}.{attribute}"] = why


# what it answers


def _differences(target: str, samples: int) -> Iterator[Finding]:
    """Where processes with different hash seeds get different answers."""
    first, *others = (_asked(target, samples, seed) for seed in _SEEDS)
    if any(first["net"] != other["net"] for other in others):
        yield Finding("", "answers", "the net itself is another one in another process: its code is random")
        return
    for contract, answers in first["answers"].items():
        odd = []
        for number, a in enumerate(answers):
            again = (other["answers"][contract][number]["answer"] for other in others)
            differs = next((b for b in again if b != a["answer"]), None)
            if differs is not None:
                odd.append(f"{a['asked']}: {a['answer']}, then {differs}")
        if odd:
            yield Finding(
                contract,
                "answers",
                f"its answer to {len(odd)} of {counted(samples, 'proposal')} depends on the process",
                tuple(odd[:_SHOWN]),
            )
        unusable = next((a["answer"] for a in answers if a["answer"].startswith("no verdict")), "")
        if unusable:
            yield Finding(contract, "answers", f"it gives {unusable}: expected True, None, False or a Reject")


def _asked(target: str, samples: int, seed: str) -> Any:
    """The answers of one fresh process."""
    command = [sys.executable, "-m", "provenet.cli.linting", target, str(samples), seed]
    try:
        ended = subprocess.run(  # noqa: S603 - this very program, on the target that it was given
            command,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
    except subprocess.TimeoutExpired:
        raise Unusable(
            f"the verifiers took more than {_PATIENCE} s", where=target, hint="ask for fewer: --samples 20"
        ) from None
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise Unusable(f"the verifiers could not be run: {last}", where=target)
    return json.loads(ended.stdout.splitlines()[-1])


def answers_of(loaded: Loaded, samples: int, *, order: str = "forwards") -> dict[str, list[dict[str, str]]]:
    """What each opaque verifier answers to made-up proposals.

    Args:
        loaded: The agent.
        samples: How many proposals.
        order: ``forwards``, or ``backwards`` from the last to the first.
    """
    import random

    from provenet.cli.sampling import Sampler

    found = {}
    for name in opaque_contracts(loaded):
        info = loaded.net.contract(name)
        verify = loaded.agent.verifier(_handler(loaded, name))
        sampler = Sampler(loaded.net, random.Random(name))  # noqa: S311 - the same samples every time
        made = [(sampler.value(info.proposal, []), sampler.value(info.inputs, [])) for _ in range(samples)]
        told: dict[int, dict[str, str]] = {}
        for number in range(samples) if order == "forwards" else reversed(range(samples)):
            proposal, inputs = made[number]
            told[number] = {
                "asked": _shown(proposal),
                "answer": _answer(verify, info.proposal, proposal, info.inputs, inputs),
            }
        found[name] = [told[n] for n in range(samples)]
    return found


def _shown(value: Value) -> str:
    from provenet.nets.schema import shorten

    return shorten(value)


def _answer(verify: Callable[..., Any], of: Any, proposal: Value, inputs_of: Any, inputs: Value) -> str:
    from provenet.nets.models import from_value
    from provenet.sdb.reject import Reject

    try:
        with contextlib.redirect_stdout(sys.stderr):
            said = verify(from_value(proposal, of), from_value(inputs, inputs_of))
    except Exception as error:  # noqa: BLE001 - a verifier may raise anything, and the engine takes it as a reject
        return f"raises {type(error).__name__}"
    if inspect.iscoroutine(said):
        said.close()  # or Python warns at some later time that nobody awaited it
        return "no verdict but a coroutine"
    if said is None or said is True:
        return "accept"
    if said is False:
        return "reject"
    return f"reject {said}" if isinstance(said, Reject) else f"no verdict but {type(said).__name__}"


def _child(arguments: list[str]) -> None:
    from provenet.nets.formats.canonical import content_hash

    target, samples, seed = arguments
    loaded = load(target)
    told = answers_of(loaded, int(samples), order="forwards" if _SEEDS.index(seed) % 2 == 0 else "backwards")
    sys.stdout.write(json.dumps({"net": content_hash(loaded.net), "answers": told}) + "\n")


if __name__ == "__main__":
    _child(sys.argv[1:])
