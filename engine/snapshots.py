"""Snapshots: now and then a case's log says all that a replay needs to go on from there.

A snapshot is an entry of the log like any other, in the hash chain and in the same commit as the firing that
it follows. It holds every token with its id and its arrival, the next id, and what else of the past a case
remembers. A replay that comes by holds it against the state that it has reached; one that begins with it
takes its word. That makes any moment of a long log quick to reach, and lets what came before be dropped
(``provenet.engine.retention``).
"""

from __future__ import annotations

import sys
from typing import Any

from provenet.engine.case import Book, LiveCase
from provenet.engine.codec import plain, quote
from provenet.engine.people import Said
from provenet.engine.personal import Seal
from provenet.engine.program import Program
from provenet.nets.marking import Marking
from provenet.nets.schema import Value

SNAPSHOT = "snapshot"
"""The kind of such an entry."""

EVERY = 256
"""Entries of a log from one snapshot to the next, unless said otherwise."""

NEVER = sys.maxsize
"""A number that no entry has."""


def first_due(case: LiveCase, every: int) -> int:
    """After which entry a case's next snapshot is due: it follows from the log's length alone."""
    return (case.seq // every + 1) * every if every else NEVER


def take(case: LiveCase, book: Book, at: int, every: int) -> None:
    """Write the snapshot that is due, unless it would weigh more than what it stands for.

    A case of many tokens has snapshots more seldom, so that they cost no more than a token's text for each
    entry.
    """
    count = len(case.arrived)
    step = every << max(0, (count - 1) // every).bit_length()
    last = case.seq // step * step
    if last >= case.snapshot_at:
        case.log(book, SNAPSHOT, "", at, text_of(case))
    case.snapshot_at = (case.seq // step + 1) * step


def text_of(case: LiveCase) -> str:
    """The state of a case, as the log says it: tokens by id, since their order in a place means nothing."""
    tokens = sorted(
        (token, place, value)
        for place, values in case.marking.items()
        for token, value in zip(case.ids[place], values, strict=True)
    )
    put = ",".join(
        f"[{token},{quote(place)},{case.encoder_at(place)(value)}]" for token, place, value in tokens
    )
    arrived = ",".join(str(case.arrived[token]) for token, _, _ in tokens)
    data = f'{{"net":{quote(case.program.hash)},"put":[{put}],"arrived":[{arrived}],"next":{case.next_token}'
    if case.killed:
        data += ',"killed":1'
    if case.tenant:
        data += f',"tenant":{quote(case.tenant)}'
    if case.known_by:
        data += f',"known_by":{plain(dict(case.known_by))}'
    said = [[*at, s.text()] for at, s in sorted(case.said.items()) if at[1] in case.arrived]
    if said:
        data += f',"said":{plain(said)}'
    if case.seal is not None:
        data += f',"key":{quote(case.seal.key)}'
    return data + "}"


def restored(
    start: tuple[int, str, int],
    entry: tuple[int, bytes],
    said: dict[str, Any],
    program: Program,
    book: Book,
    seal: Seal | None,
) -> LiveCase:
    """The case as it was when a snapshot was about to be written.

    Args:
        start: The case's number, its id, and when it was started.
        entry: The snapshot's number, and the hash before it.
        said: What it says.
        program: The net version that it names.
        book: Where the tokens are written.
        seal: What reads its personal values, where it has any.

    Raises:
        ProvenetError, KeyError, ValueError: It says what no case can be.
    """
    case = LiveCase(*start[:2], program, start[2], said.get("tenant", ""), seal=seal)
    case.seq, case.head = entry[0] - 1, entry[1]
    case.killed, case.known_by = said.get("killed", 0), said.get("known_by", {})
    marking: dict[str, tuple[Value, ...]] = {}
    for (token, place, data), at in zip(said["put"], said["arrived"], strict=True):
        value = case.read(data, program.types[place], place)
        marking[place] = (*marking.get(place, ()), value)
        case.ids.setdefault(place, []).append(token)
        case.arrived[token] = at
        book.put_token((case.no, token), place, value, case.encoder_at(place), at)
    case.marking, case.next_token = Marking(marking), said["next"]
    case.said = {(task, token): Said.of(text) for task, token, text in said.get("said", ())}
    return case
