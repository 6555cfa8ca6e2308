"""The policy in force: what the latest deployed version of a net lets pass, asked right before an effect.

A case stays on its version, and what that version's verifier has accepted may wait for long: for a person,
for a throttle, for an engine that runs. Deploying a stricter policy shall stop it all the same. So before the
effect of a contract is called for the first time, the verifier of the same contract in the latest deployed
version is asked about the very values that were accepted. What it refuses is not called: the effect has
failed, with the verifier's signal, and the net goes its own way from there (``OnFailure``), which is among
what was proved. A contract that has no such way is parked.

The same contract is the one of the same id with the same types of proposal and inputs; where the latest
version has none, the case's own verifier has spoken already. A verifier that is a function is asked where its
agent is at hand. An undo is never asked about, and neither is an effect that may have been called before:
that has to be repeated with its key, since it may have happened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from provenet.engine.program import Program, Step
from provenet.engine.versions import Versions
from provenet.nets.errors import ExprError
from provenet.nets.net import ContractInfo, Perform, Role
from provenet.nets.schema import RecordType, Value
from provenet.sdb.reject import Reject

Verifier: TypeAlias = Callable[[Value, Value], Reject | None]
"""What is wrong with a proposal and its inputs; ``None`` for nothing."""


class InForce:
    """The policies in force on one database, as far as this process has heard of what is deployed.

    Args:
        versions: The net versions.
    """

    def __init__(self, versions: Versions) -> None:
        self._versions = versions
        self._known: dict[tuple[str, str, str, int], Verifier | None] = {}

    def differs(self, program: Program, step: Step) -> bool:
        """Whether the policy in force has something to say about an effect that the case's own has not."""
        return self._verifier(program, step) is not None

    def refusal(
        self, program: Program, step: Step, binding: Mapping[str, Value], *, held: bool = False
    ) -> tuple[Reject, str] | None:
        """Why an effect may not be called any more, and the version that says so.

        Args:
            program: The case's own version.
            step: What performs the effect.
            binding: Values of its variables.
            held: It was held back before. Its case may have moved to the latest version since, whose own
                verifier has not seen it.
        """
        verify = self._verifier(program, step, held=held)
        if verify is None:
            return None
        values = accepted(program, step, binding)
        assert values is not None
        try:
            why = verify(*values)
        except ExprError as error:
            why = Reject(rule="policy", expected="a verdict", got=error.message, retryable=False)
        return None if why is None else (why, self._versions.latest(program.net.name))

    def _verifier(self, program: Program, step: Step, *, held: bool = False) -> Verifier | None:
        latest = self._versions.latest(program.net.name)
        if not latest or (latest == program.hash and not held):
            return None
        # Another agent of the same net may have come to hand, with another function.
        at = (latest, program.hash, step.name, id(self._versions.programs.get(latest)))
        if at not in self._known:
            self._known[at] = self._find(program, step, latest)
        return self._known[at]

    def _find(self, program: Program, step: Step, latest: str) -> Verifier | None:
        own = contract_of(program, step)
        if own is None:
            return None
        other = self._versions.rules(latest)
        info = next((c for c in other.net.contracts if c.id == own.id), None)
        if info is None or (info.proposal, info.inputs) != (own.proposal, own.inputs):
            return None
        if info.opaque == "function":
            return other.function_of(info) if latest in self._versions.programs else None
        stricter = {r.expr for r in info.rules} - {r.expr for r in own.rules}
        if latest != program.hash and own.opaque == "no" and not stricter:
            return None  # its own policy has said as much
        return lambda proposal, inputs: other.refusal(info.id, proposal, inputs)


def contract_of(program: Program, step: Step) -> ContractInfo | None:
    """The contract whose commit performs an effect on what was accepted; ``None`` where there is none."""
    t = step.transition
    if t.role is not Role.COMMIT or not isinstance(t.trigger, Perform):
        return None
    info = next((c for c in program.net.contracts if c.id == t.contract), None)
    of = program.types.get(step.anchor)
    if info is None or step.anchor_var is None or not isinstance(of, RecordType):
        return None
    proposal, inputs = of.field("proposal"), of.field("inputs")
    if proposal is None or inputs is None or (proposal.type, inputs.type) != (info.proposal, info.inputs):
        return None
    return info


def accepted(program: Program, step: Step, binding: Mapping[str, Value]) -> tuple[Value, Value] | None:
    """What a contract's verifier has accepted: proposal and inputs, in the token that its commit takes."""
    var = step.anchor_var
    if contract_of(program, step) is None or var is None or var not in binding:
        return None
    of, token = program.types[step.anchor], binding[var]
    assert isinstance(of, RecordType)
    p, i = of.index("proposal"), of.index("inputs")
    assert p is not None
    assert i is not None
    return token[p], token[i]


def not_called(effect: str, why: Reject, by: str) -> str:
    """In words, that an effect was not called."""
    return (
        f"effect {effect!r} was not called: the policy in force, of net {by[:12]}, refuses it: "
        f"{why.rule}: expected {why.expected}, got {why.got}"
    )
