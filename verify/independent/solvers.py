"""Bare solvers: SMT-LIB text in, ``unsat`` or not out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from provenet.verify.independent.errors import NotHere, Refused
from provenet.verify.independent.smtlib import Obligation

Solver: TypeAlias = Literal["z3", "cvc5"]
SOLVERS: tuple[Solver, ...] = ("z3", "cvc5")


def versions(solvers: Sequence[Solver]) -> dict[str, str]:
    """The versions of solvers.

    Raises:
        NotHere: One of them is not installed.
    """
    found: dict[str, str] = {}
    for name in solvers:
        if name == "z3":
            import z3

            found[name] = z3.get_version_string()
        else:
            found[name] = _cvc5().__version__
    return found


def refute(obligation: Obligation, solvers: Sequence[Solver], *, timeout: float) -> None:
    """Have every solver find an obligation unsatisfiable.

    Args:
        obligation: The obligation.
        solvers: Who is asked.
        timeout: Seconds for each.

    Raises:
        Refused: A solver satisfies it.
        NotHere: A solver does not know, or cannot read it.
    """
    for name in solvers:
        answer = (_by_z3 if name == "z3" else _by_cvc5)(obligation.text, timeout)
        if answer == "sat":
            raise Refused(f"an obligation can be satisfied, says {name}: {obligation.name}")
        if answer != "unsat":
            raise NotHere(f"{name} does not decide: {obligation.name} ({answer})")


def _by_z3(text: str, timeout: float) -> str:
    import z3

    context = z3.Context()
    solver = z3.Solver(ctx=context)
    solver.set("timeout", max(1, int(1000 * timeout)))
    try:
        solver.from_string(text)
        return str(solver.check())
    except z3.Z3Exception as error:
        return _said(error)


def _by_cvc5(text: str, timeout: float) -> str:
    cvc5 = _cvc5()
    solver = cvc5.Solver()
    solver.setOption("tlimit-per", str(max(1, int(1000 * timeout))))
    parser = cvc5.InputParser(solver)
    try:
        parser.setStringInput(cvc5.InputLanguage.SMT_LIB_2_6, text, "obligation")
        symbols, said = parser.getSymbolManager(), ""
        while not (command := parser.nextCommand()).isNull():
            said += command.invoke(solver, symbols)
    except RuntimeError as error:
        return _said(error)
    return said.strip()


def _cvc5() -> Any:
    try:
        import cvc5
    except ImportError as error:
        raise NotHere("cvc5 is not installed", hint="pip install 'provenet[cvc5]'") from error
    return cvc5


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
