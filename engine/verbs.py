"""The verbs of an engine: what people, the outside and operators may ask of it.

Each goes the same way: the gate says who asks and whether they may, the case is found, the one thing is done,
and it is durable when the verb returns.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from provenet.engine.access.gate import Gate
from provenet.engine.access.sealing import Posted
from provenet.engine.codec import clean
from provenet.engine.faults import fault_point
from provenet.engine.holding import Holding
from provenet.engine.inbox import Inbox, Taken
from provenet.engine.outside import Killed, Outside
from provenet.engine.people import Ruling, open_task
from provenet.engine.pruning import Schedule
from provenet.engine.publishing import Published, Publishing
from provenet.engine.retention import Pruned, Retention
from provenet.engine.runner import Runner
from provenet.engine.store.store import Store
from provenet.engine.vault import Erasure, Vault
from provenet.engine.versions import Versions
from provenet.engine.watching.events import Event, Pulled
from provenet.engine.watching.watch import Watch
from provenet.engine.workers import Workers

if TYPE_CHECKING:
    from provenet.engine.marking_map import MarkingMap
    from provenet.engine.migrate import Migration
    from provenet.engine.reaching import Evidence

KillScope: TypeAlias = Literal["case", "net", "all"]


class Verbs:
    """The part of an engine that is asked to do something; its own part sets these up."""

    _store: Store
    _runner: Runner
    _workers: Workers
    _versions: Versions
    _outside: Outside
    _inbox: Inbox
    _publishing: Publishing
    _holding: Holding
    _gate: Gate
    _schedule: Schedule
    _vault: Vault
    _watch: Watch | None

    # people and events

    async def decide(
        self,
        case: str,
        task: str,
        choice: str,
        who: str = "",
        *,
        about_hash: str | None = None,
        note: Any = None,
        token: str | Posted | None = None,
    ) -> Ruling:
        """Decide an open task.

        Args:
            case: Id of the case.
            task: Name of the task.
            choice: One of its choices.
            who: The person with role, ``dana@pricing``.
            about_hash: Hash of what the person was shown; the decision is refused if the task is about
                something else.
            note: Payload for a choice that brings one.
            token: Who it is, where the database is guarded; ``who`` may then be left out.

        Returns:
            Who has decided, and how many more people have to decide the same.

        Raises:
            AccessRefused: The token does not allow it.
            DecisionRefused: Wrong role, past the deadline, about something else, or no such open task or
            choice.
            CaseClosed: The case does not move.
        """
        asked = {"do": "decide", "case": case, "task": task, "choice": choice}
        who = await self._gate.admit(asked | {"about_hash": about_hash, "note": note}, token, who)
        live = self._holding.live(case)
        found = open_task(live, task, about_hash)
        missing = self._outside.decide(live, found, choice, who, about_hash=about_hash, note=note)
        await self._store.durable()
        return Ruling(who, missing)

    async def approve(
        self, case: str, task: str, who: str = "", *, about_hash: str | None = None, token: str | None = None
    ) -> Ruling:
        """Decide ``approve``; see ``decide``."""
        return await self.decide(case, task, "approve", who, about_hash=about_hash, token=token)

    async def deny(
        self, case: str, task: str, who: str = "", *, about_hash: str | None = None, token: str | None = None
    ) -> None:
        """Decide ``deny``; see ``decide``."""
        await self.decide(case, task, "deny", who, about_hash=about_hash, token=token)

    async def delegate(
        self, case: str, task: str, *, to: str | None, who: str = "", token: str | Posted | None = None
    ) -> str:
        """Let somebody else decide an open task in one's place; whoever may decide it still may.

        Args:
            case: Id of the case.
            task: Name of the task.
            to: Who, with role, whatever that is; ``None`` to take it back.
            who: Who may decide by their own role.
            token: Who it is, where the database is guarded; ``who`` may then be left out.

        Returns:
            Who has delegated it, with role.

        Raises:
            AccessRefused: The token does not allow it.
            DecisionRefused: Who delegates may not decide it, the deadline has passed, or there is no such
            task.
            CaseClosed: The case does not move.
        """
        asked = {"do": "delegate", "case": case, "task": task, "to": to}
        who = await self._gate.admit(asked, token, who)
        live = self._holding.live(case)
        self._outside.delegate(live, open_task(live, task, None), who, to)
        await self._store.durable()
        return who

    async def signal(
        self,
        case: str,
        event: str,
        payload: Any = None,
        *,
        key: str | None = None,
        at: datetime | None = None,
        token: str | Posted | None = None,
    ) -> Taken:
        """Tell a case that something happened outside; every event is noted in the inbox, accepted or not.

        Args:
            case: Id of the case.
            event: Name of the event.
            payload: Its payload, where the net wants one.
            key: What tells this event from others; a key that was accepted before is refused.
            at: When it happened; now, where the net asks how late events are and nobody says.
            token: Who says so, where the database is guarded.

        Returns:
            Whether the case has taken it, or keeps it until something does.

        Raises:
            AccessRefused: The token does not allow it; such an event is not noted.
            DuplicateSignal: The key was accepted before, also where the case has ended since.
            LateSignal: It is older than the net lets it be.
            SignalRefused: The net has no such event, nothing waits for it now, or the payload does not fit.
            CaseClosed: The case does not move any more, and has not accepted this event while it did.
            NoSuchCase: There is no such case.
        """
        if self._gate.is_guarded:
            asked: dict[str, Any] = {"do": "signal", "case": case, "event": event, "payload": payload}
            asked["key"] = key
            await self._gate.admit(asked | ({} if at is None else {"at": at.isoformat()}), token, "")
        fault_point("signal")
        self._holding.check()
        try:
            return self._inbox.signal(case, event, payload, key, at)
        finally:
            await self._store.durable()

    async def publish(
        self,
        event: str,
        payload: Any = None,
        *,
        about: Mapping[str, str],
        key: str | None = None,
        at: datetime | None = None,
        to: Literal["all", "one"] = "all",
        token: str | Posted | None = None,
    ) -> Published:
        """Tell the unfinished cases that are known by some keys that something happened outside.

        Args:
            event: Name of the event.
            payload: Its payload, where the net wants one.
            about: The keys, all of them: ``{"order": "17"}``.
            key: What tells this event from others: each case takes it once.
            at: When it happened.
            to: Whether every such case is told, or it is refused where there are several.
            token: Who says so, where the database is guarded.

        Returns:
            What became of it in each case. Where there is none, it waits for one if a net here keeps it.

        Raises:
            AccessRefused: The token does not allow it.
            DuplicateSignal: Every such case had its key before.
            SignalRefused: No case takes it, and none that is still to start will.
        """
        if self._gate.is_guarded:
            asked: dict[str, Any] = {"do": "signal", "event": event, "payload": payload, "key": key}
            asked |= {"about": dict(about)} | ({} if at is None else {"at": at.isoformat()})
            await self._gate.admit(asked | ({} if to == "all" else {"to": to}), token, "")
        fault_point("signal")
        self._holding.check()
        try:
            passed = self._gate.clear(token)
            return self._publishing.publish(event, payload, about, key, at, to=to, token=passed)
        finally:
            await self._store.durable()

    # operators

    async def kill(
        self,
        scope: KillScope,
        target: str = "",
        *,
        who: str = "",
        reason: str = "",
        token: str | Posted | None = None,
    ) -> int:
        """Pull the kill switch: no commit begins any more.

        Where the net has a kill transition (``scope.kill``), what was committed is compensated; where it has
        none, the case is stopped where it stands, and nothing is taken back.
        A net or everything stays killed, and starts no new case, until ``release``.

        Args:
            scope: One case, all cases of a net, or all.
            target: Id of the case, or name of the net.
            who: Who pulls it.
            reason: Why.
            token: Who it is, where the database is guarded.

        Returns:
            How many cases it reached.

        Raises:
            AccessRefused: The token does not allow it.
            NoSuchCase: There is no such case.
            CaseClosed: The case is over already.
        """
        return (await self.pull(scope, target, who=who, reason=reason, token=token)).cases

    async def pull(
        self,
        scope: KillScope,
        target: str = "",
        *,
        who: str = "",
        reason: str = "",
        token: str | Posted | None = None,
    ) -> Killed:
        """Do what ``kill`` does, and say as well what is left undone."""
        asked = {"do": "kill", "scope": scope, "target": target, "reason": reason}
        who = await self._gate.admit(asked, token, who)
        self._holding.check()
        target, who, reason = clean(target), clean(who), clean(reason)
        if scope == "case":
            stopped = self._holding.unless_elsewhere(target)
            reached = [
                stopped if stopped is not None and stopped.status == "parked" else self._holding.live(target)
            ]
        else:
            reached = [
                c
                for c in tuple(self._runner.cases.values())
                if scope == "all" or c.program.net.name == target
            ]
            self._outside.kills[scope, target] = self._runner.now(), who
        self._store.append("provenet_kill", (scope, target, who, reason, self._runner.now(), None))
        for case in reached:
            self._store.flush_if_large()
            self._outside.kill(case, who, reason)
        self._tell(Pulled(scope, target, who, reason, len(reached), "no", self._runner.now()))
        found = Killed.of(reached)
        await self._store.durable()
        return found

    async def release(
        self, scope: Literal["net", "all"], target: str = "", *, token: str | Posted | None = None
    ) -> None:
        """Let a killed net, or everything, start new cases again."""
        await self._gate.admit({"do": "release", "scope": scope, "target": target}, token, "")
        target = clean(target)
        self._store.flush()
        self._outside.kills.pop((scope, target), None)
        self._store.run(
            "UPDATE provenet_kill SET released = ? WHERE scope = ? AND target = ? AND released IS NULL",
            (self._runner.now(), scope, target),
        )
        self._tell(Pulled(scope, target, "", "", 0, "yes", self._runner.now()))
        await self._store.durable()

    async def resume(self, case: str, *, token: str | Posted | None = None) -> None:
        """Let a parked case go on, after what stopped it was mended.

        Raises:
            AccessRefused: The token does not allow it.
            CaseClosed: The case is not parked.
        """
        await self._gate.admit({"do": "resume", "case": case}, token, "")
        live = self._holding.parked(case)
        self._outside.unpark(live)
        await self._holding.go_on(live)

    async def settle(
        self,
        case: str,
        effect: str,
        *,
        who: str = "",
        receipt: Any = None,
        failed: str | None = None,
        token: str | Posted | None = None,
    ) -> None:
        """Say what became of an effect whose fate is unknown, and let its case go on.

        Args:
            case: Id of the parked case.
            effect: Name of the effect.
            who: Who found out.
            receipt: What the effect gave; it was performed.
            failed: Why it was not performed, where it was not.
            token: Who it is, where the database is guarded.

        Raises:
            AccessRefused: The token does not allow it.
            NotSettled: No effect of that name waits for this, or the receipt does not fit.
            CaseClosed: The case is not parked.
        """
        asked = {"do": "settle", "case": case, "effect": effect, "receipt": receipt, "failed": failed}
        who = await self._gate.admit(asked, token, who)
        live = self._holding.parked(case)
        job = self._outside.unsettled(live, effect)
        if failed is None:
            self._outside.settle(job, receipt, who)
        self._outside.unpark(live)
        if failed is not None:
            live.receipts.pop((job.step.index, job.token))
            self._workers.settle_failed(job, f"{who}: {failed}")
        await self._holding.go_on(live)

    async def erase(
        self,
        *,
        case: str = "",
        subject: str = "",
        who: str = "",
        reason: str = "",
        token: str | Posted | None = None,
    ) -> Erasure:
        """Throw away the key of personal data, so that nobody can read them any more.

        Args:
            case: The case whose data they are.
            subject: Whom they are about, where cases were started with a subject.
            who: Who has them erased.
            reason: Why.
            token: Who it is, where the database is guarded.

        Raises:
            AccessRefused: The token does not allow it.
            ErasureRefused: One of the cases has not ended, or there is nothing to erase.
            NoSuchCase: There is no such case.
        """
        self._holding.check()
        asked = {"do": "erase", "case": case, "subject": subject, "reason": reason}
        who = await self._gate.admit(asked, token, who)
        found = self._vault.erase(case=case, subject=subject, who=who, reason=reason, now=self._runner.now())
        await self._store.durable()
        self._vault.erased()
        return found

    async def migrate(
        self,
        old: str,
        new: str,
        marking_map: MarkingMap,
        *,
        accept: Evidence = "history",
        dry_run: Literal["no", "yes"] = "no",
        token: str | Posted | None = None,
        cases: Collection[str] | None = None,
    ) -> Migration:
        """Move unfinished cases of a net version to another one, which is deployed here.

        Both agents are at hand. Every case is looked at by itself: one that cannot go stays as it is.

        Args:
            old: The version that they leave: its content hash, or the beginning of it.
            new: The version that they go to, likewise, or the net's name for its latest one.
            marking_map: Where their tokens go.
            accept: The least that has to show that the new version's proofs cover a case there; see
                ``provenet.engine.reaching``.
            dry_run: ``yes`` to look only.
            token: Who asks, where the database is guarded; a look is free.
            cases: Only these.

        Raises:
            AccessRefused: The token does not allow it.
            MigrationRefused: There are no such versions, or the map does not fit them.
            NotDeployed: The agent of one of them was not given.
        """
        from provenet.engine.migrate import migrate

        if dry_run == "no":
            asked = {"do": "migrate", "old": old, "new": new, "map": marking_map.to_json(), "accept": accept}
            await self._gate.admit(asked, token, "", net=self._versions.common_name(old, new))
        self._holding.check()
        found = migrate(
            self._store,
            self._runner,
            self._versions.programs,
            (old, new),
            marking_map,
            accept=accept,
            dry_run=dry_run,
            cases=cases,
            lift=self._holding.unless_elsewhere,
        )
        await self._store.durable()
        return found

    async def prune(
        self,
        retention: Retention | None = None,
        *,
        seconds: float = 5.0,
        token: str | Posted | None = None,
    ) -> Pruned:
        """Drop now what may go; see ``provenet.engine.retention``.

        Args:
            retention: What may go; what the engine was opened with unless said otherwise.
            seconds: What takes longer is left for another time.
            token: Who asks, where the database is guarded.

        Raises:
            AccessRefused: The token does not allow it.
            RetentionRefused: There is none.
            ExportRefused: A log cannot be written to its file; nothing more was dropped.
        """
        asked = {"do": "prune", "retention": None if retention is None else retention.to_json()}
        await self._gate.admit(asked, token, "")
        self._holding.check()
        return await self._schedule.run(retention, seconds)

    async def move_found(self, command: dict[str, Any]) -> dict[str, Any]:
        """Move cases that another process has looked at; see ``provenet.engine.migrate``."""
        from provenet.engine.migrate import move_found

        versions = self._versions.common_name(str(command["old"]), str(command["new"]))
        await self._gate.admit(command | {"do": "migrate"}, command.get("token"), "", net=versions)
        self._holding.check()
        return await move_found(self._store, self._runner, self._versions.programs, command)

    # inside

    def _tell(self, event: Event) -> None:
        if self._watch is not None:
            self._watch.later(event)
