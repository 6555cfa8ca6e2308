"""The net versions of a database: what may start cases, and with which inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from provenet.engine.codec import plain
from provenet.engine.deploy import gate
from provenet.engine.early import MOST_KEYS
from provenet.engine.errors import InputRefused, NotDeployed, StoreCorrupt
from provenet.engine.program import Program
from provenet.engine.store.store import Store
from provenet.nets.errors import ProvenetError, TypeMismatch, did_you_mean
from provenet.nets.expr.show import show
from provenet.nets.formats.canonical import content_hash, dumps, loads
from provenet.nets.models import to_value
from provenet.nets.schema import Value
from provenet.sdb.handlers import Agent
from provenet.verify.verdict import Report


class Versions:
    """The deployed net versions of one database.

    Args:
        store: The database.
        dress: What becomes of an agent before its cases run.

    Attributes:
        programs: Versions whose agent is at hand, by content hash.
    """

    def __init__(self, store: Store, dress: Callable[[Agent], Agent] = lambda agent: agent) -> None:
        self.programs: dict[str, Program] = {}
        self._store, self._dress = store, dress
        self._bound: dict[str, Agent] = {}
        self._current: dict[str, str] = {}
        self._given: dict[str, Agent] = {}
        self._seen: dict[str, int] = {}
        self._deployed = 0
        self._read: dict[str, Program] = {}

    def load(self, agents: Iterable[Agent] = ()) -> None:
        """Read what was deployed since the last look, and bind the agents that are at hand.

        Raises:
            StoreCorrupt: A stored net is not the one that was deployed.
        """
        self._given |= {content_hash(a.net): a for a in agents}
        for found, name, deployed in self._store.rows(
            "SELECT hash, name, deployed FROM provenet_net ORDER BY deployed"
        ):
            self._current[name] = found
            if self._seen.get(found) == deployed:
                continue
            self._seen[found] = deployed
            self._deployed = max(deployed, self._deployed)
            ((content,),) = self._store.rows("SELECT content FROM provenet_net WHERE hash = ?", (found,))
            try:
                sound = content_hash(loads(content)) == found
            except ProvenetError:
                sound = False
            if not sound:
                raise StoreCorrupt(
                    f"the stored net {name!r} is not the one that was deployed as {found[:12]}",
                    where=str(self._store.location),
                    hint="somebody changed the database; run `provenet audit` and restore a copy",
                )
            if found in self._given:
                self._bind(self._given[found], found)

    def deploy(self, agent: Agent, report: Report, now: int) -> str:
        """Let a version through the gate and make it the current one; its content hash.

        Raises:
            DeployRefused: With everything that is missing.
        """
        found = gate(agent, report)
        self._bind(agent, found)
        # The order of deployments tells the current version, and a virtual clock may stand still between two.
        self._deployed = max(now, self._deployed + 1)
        row = (found, agent.net.name, dumps(agent.net), plain(report.to_json(agent.net)), self._deployed)
        self._store.put("provenet_net", found, row)
        self._store.flush()
        self._current[agent.net.name], self._seen[found] = found, self._deployed
        return found

    def program(self, net: str) -> Program:
        """The version of a net that starts cases now.

        Raises:
            NotDeployed: There is none, or its agent was not given.
        """
        if net not in self._current:
            raise NotDeployed(
                f"net {net!r} is not deployed here",
                hint=did_you_mean(net, self._current) if self._current else "verify it and deploy it first",
            )
        found = self._current[net]
        if found not in self.programs:
            raise NotDeployed(
                f"net {net!r} {found[:12]} is deployed, but its agent was not given",
                hint="open the engine with agents=[...]: the net as it was deployed, with its handlers",
            )
        return self.programs[found]

    def common_name(self, *asked: str) -> str | None:
        """The one net that versions are of, by hash or by name; ``None`` where they are of several."""
        names = {p.net.name for h, p in self.programs.items() if p.net.name in asked or h.startswith(asked)}
        return names.pop() if len(names) == 1 else None

    def latest(self, net: str) -> str:
        """The content hash of a net's latest version; empty where there is none."""
        return self._current.get(net, "")

    def rules(self, digest: str) -> Program:
        """A deployed version, without the code of its handlers where its agent is not at hand."""
        if digest in self.programs:
            return self.programs[digest]
        if digest not in self._read:
            ((content,),) = self._store.rows("SELECT content FROM provenet_net WHERE hash = ?", (digest,))
            self._read[digest] = Program(Agent(loads(content)), digest)
        return self._read[digest]

    def _bind(self, agent: Agent, found: str) -> None:
        if self._bound.get(found) is not agent:
            self._bound[found] = agent
            self.programs[found] = Program(self._dress(agent), found)


def first_state(
    program: Program, case_id: str, inputs: Mapping[str, Any], known_by: Mapping[str, str]
) -> tuple[dict[str, Value], dict[str, str]]:
    """What a case starts with: the tokens in its entries, and the keys that it is known by.

    Raises:
        InputRefused: No such case can start, whatever the database has.
    """
    if not case_id or len(case_id) > 200 or not case_id.isprintable():
        raise InputRefused(f"a case id is 1 to 200 printable characters, not {case_id!r:.80}")
    values = entry_values(program, inputs)
    return values, keys_of(program, values, known_by)


def case_keys(keys: Mapping[str, str]) -> dict[str, str]:
    """Keys that the outside knows a case by, where they can be stored.

    Raises:
        InputRefused: They cannot.
    """
    if len(keys) > MOST_KEYS:
        raise InputRefused(f"a case has up to {MOST_KEYS} keys, not {len(keys)}")
    for name, key in keys.items():
        for what, text in (("key", key), ("key's name", name)):
            if not isinstance(text, str) or not 0 < len(text) <= 200 or not text.isprintable():
                raise InputRefused(f"a {what} is 1 to 200 printable characters, not {text!r:.80}")
    return dict(sorted(keys.items()))


def keys_of(program: Program, values: Mapping[str, Value], given: Mapping[str, str]) -> dict[str, str]:
    """All keys of a case that is about to start: those given, and those that its net reads off its input.

    Raises:
        InputRefused: They cannot be stored, or differ.
    """
    found = {name: str(key({"it": values[place]})) for name, (place, key) in program.keys.items()}
    for name in found.keys() & given.keys():
        if found[name] != given[name]:
            raise InputRefused(
                f"the key {name!r} is {given[name]!r:.80}, and its input says {found[name]!r:.80}",
                where=f"net {program.net.name!r}",
                hint="leave it out: the net reads it off the input",
            )
    return case_keys({**given, **found}) if found or given else {}


def entry_values(program: Program, inputs: Mapping[str, Any]) -> dict[str, Value]:
    """The tokens that a case starts with.

    Raises:
        InputRefused: An input is missing, unknown, of another type, or outside what the net was proved for.
    """
    where = f"net {program.net.name!r}"
    unknown = [name for name in inputs if name not in program.entries]
    missing = [name for name in program.entries if name not in inputs]
    if unknown:
        raise InputRefused(
            f"there is no entry {unknown[0]!r}",
            where=where,
            hint=did_you_mean(unknown[0], program.entries),
        )
    if missing:
        raise InputRefused(
            f"no input for entry {missing[0]!r}", where=where, hint="give one value for each entry"
        )
    values: dict[str, Value] = {}
    for name, condition in program.entries.items():
        try:
            values[name] = to_value(inputs[name], program.types[name])
        except TypeMismatch as error:
            raise InputRefused(error.message, where=f"{where}, entry {name!r}") from None
        if condition is not None and not condition({"it": values[name]}):
            (asked,) = (e.where for e in program.net.entries if e.place == name and e.where is not None)
            raise InputRefused(
                f"the input is outside what the net was proved for: {show(asked)}",
                where=f"{where}, entry {name!r}",
                hint="mend the input; or widen the where= of that entry, and prove the net again",
            )
    return values
