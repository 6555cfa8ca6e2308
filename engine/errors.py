"""What the engine refuses, and what goes wrong below it.

::

    ProvenetError
    └── EngineError             EN400
        ├── StoreError          EN401  the database cannot be read or written
        │   ├── StoreFull       EN402  no room left on the device
        │   ├── StoreLocked     EN403  another process runs cases on it
        │   ├── StoreCorrupt    EN404  not a database, or damaged
        │   ├── StoreVersion    EN405  written by another schema version
        │   └── StoreDenied     EN406  the database role may not do this
        ├── DeployRefused       EN410  the gate: not proved, not checked, or not bound
        ├── NotDeployed         EN411  no such net version
        ├── CaseExists          EN420  a case id is used twice
        ├── NoSuchCase          EN421
        ├── InputRefused        EN422  the input does not fit the net's entries
        ├── CaseClosed          EN423  the case is over, killed or parked
        ├── CaseElsewhere       EN424  another process runs the case
        ├── NotAnswered         EN425  the process that runs it does not answer
        ├── NoSuchEntry         EN426  a case's log has no such entry
        ├── MigrationRefused    EN427  a case, or a marking map, cannot go to another net version
        ├── NotSimulation       EN428  a fork goes into a simulation, never into a database of real cases
        ├── NotDispatched       EN429  Temporal, or DBOS, does not take a wake
        ├── DecisionRefused     EN430  wrong role, past the deadline, another proposal, no such task or choice
        ├── SignalRefused       EN431  nothing waits for the event, or its payload does not fit
        │   ├── DuplicateSignal EN432  the key was accepted before
        │   └── LateSignal      EN434  it is older than the net lets it be
        ├── KillSwitchOn        EN440  the net, or everything, was killed
        ├── AccessRefused       EN441  the token does not allow it, or there is none
        ├── RulesRefused        EN442  an access file, or a key, that says nothing of sense
        ├── NotSettled          EN433  no effect of that name waits to be settled, or its receipt does not fit
        ├── NoKeys              EN460  personal data, and no key at hand that opens them
        ├── ErasureRefused      EN461  a case still runs, or there is nothing to erase
        ├── RetentionRefused    EN470  a retention that makes no sense
        │   └── ExportRefused   EN471  a log cannot be written to its file, or a file is none
        └── WorkersFailed       EN450  a worker process died too often
"""

from __future__ import annotations

from provenet.nets.errors import ProvenetError


class EngineError(ProvenetError):
    """Anything that the engine refuses or that fails below it."""

    code = "EN400"


class StoreError(EngineError):
    """The database cannot be opened, read or written."""

    code = "EN401"


class StoreFull(StoreError):
    """There is no room left for the database; what was committed is safe."""

    code = "EN402"


class StoreLocked(StoreError):
    """Another process runs cases on this database."""

    code = "EN403"


class StoreCorrupt(StoreError):
    """The file is no database of ours, or it is damaged."""

    code = "EN404"


class StoreVersion(StoreError):
    """The database has another schema version."""

    code = "EN405"


class StoreDenied(StoreError):
    """The database role that the URL names was not granted this."""

    code = "EN406"


class DeployRefused(EngineError):
    """A net version may not start cases: something is not proved, not checked, or not bound.

    Attributes:
        reasons: One line for each thing that is missing.
    """

    code = "EN410"

    def __init__(self, net: str, reasons: tuple[str, ...]) -> None:
        self.reasons = reasons
        super().__init__(
            f"net {net!r} is not deployed:\n" + "\n".join(f"    {r}" for r in reasons),
            hint="mend the net or its handlers, verify again, and deploy with the new report",
        )


class NotDeployed(EngineError):
    """No version of that net was deployed to this database."""

    code = "EN411"


class CaseExists(EngineError):
    """The database has a case of that id already."""

    code = "EN420"


class NoSuchCase(EngineError):
    """The database has no case of that id."""

    code = "EN421"


class InputRefused(EngineError):
    """A case's input does not fit the net's entry places."""

    code = "EN422"


class CaseClosed(EngineError):
    """The case cannot move: it is over, killed, parked, or its net's agent was not given to the engine."""

    code = "EN423"


class CaseElsewhere(EngineError):
    """Another process runs the case; ``provenet.engine.requests.ask`` asks that one."""

    code = "EN424"


class NotDispatched(EngineError):
    """Temporal, or DBOS, does not take a wake; the store knows what is to be done, and it is tried again."""

    code = "EN429"


class NotAnswered(EngineError):
    """The process that runs the case did not answer a request in time."""

    code = "EN425"


class NoSuchEntry(EngineError):
    """A case's log has no entry of that number."""

    code = "EN426"


class MigrationRefused(EngineError):
    """A marking map cannot be used, or a case cannot go where it leads."""

    code = "EN427"


class NotSimulation(EngineError):
    """A fork goes into a simulation, and never into a database of real cases."""

    code = "EN428"


class DecisionRefused(EngineError):
    """A person's decision is not accepted: role, deadline, another proposal, or no such open task."""

    code = "EN430"


class SignalRefused(EngineError):
    """An event is not accepted; it stays in the inbox with the reason."""

    code = "EN431"


class DuplicateSignal(SignalRefused):
    """An event with that key was accepted before."""

    code = "EN432"


class LateSignal(SignalRefused):
    """An event is older than the newest one taken by more than the net allows."""

    code = "EN434"


class NotSettled(EngineError):
    """No effect of that name waits for somebody to say what became of it, or its receipt does not fit."""

    code = "EN433"


class AccessRefused(EngineError):
    """A token does not allow what is asked for, is none of ours, or is missing where one is needed.

    Attributes:
        name: Whom the token names, where its signature counts.
        token: That token's own id.
    """

    code = "EN441"
    name = ""
    token = ""


class RulesRefused(EngineError):
    """Rules of who may do what, or a key of theirs, cannot be used."""

    code = "EN442"


class KillSwitchOn(EngineError):
    """The net, or everything, was killed: no new case starts until the switch is released."""

    code = "EN440"


class RetentionRefused(EngineError):
    """What is to be kept, and for how long, makes no sense."""

    code = "EN470"


class ExportRefused(RetentionRefused):
    """A log cannot be written to a file before it is dropped, or a file is no log."""

    code = "EN471"


class WorkersFailed(EngineError):
    """A worker process died more often than restarts can mend."""

    code = "EN450"


class NoKeys(EngineError):
    """There are personal data, and no master key was given that opens them."""

    code = "EN460"


class ErasureRefused(EngineError):
    """Personal data cannot be erased now, or there are none of that name."""

    code = "EN461"
