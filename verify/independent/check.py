"""A certificate file, re-checked: the front of the separate checker.

The file is JSON: which net by its content hash, and for each property what is stated, what it rests on, and
the obligations as SMT-LIB text. The obligations that count are those that this checker works out of the net;
the file's must be the same ones, so that whoever runs them with a solver of his own knows what they show.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from provenet.nets.check import check_net
from provenet.nets.errors import FormatError, NetError, ProvenetError
from provenet.nets.formats.canonical import content_hash
from provenet.nets.formats.json_text import canonical_text, parse_json
from provenet.nets.formats.limits import read_bytes
from provenet.nets.net import Net
from provenet.verify.independent import runs
from provenet.verify.independent.claims import Claim, Stated, claim
from provenet.verify.independent.errors import NotHere, Refused
from provenet.verify.independent.solvers import Solver, refute

FORMAT = "provenet-certificate/1"
MAX_BYTES = 256 * 1024 * 1024
MAX_DEPTH = 64
_MALFORMED = (
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RecursionError,
)

Outcome: TypeAlias = Literal["re-checked", "refused", "not re-checked"]


@dataclass(frozen=True, slots=True)
class Entry:
    """What a certificate file states of one property.

    Attributes:
        stated: The property, and what it rests on.
        verdict: PROVED, REFUTED or UNKNOWN.
        trace: The run that shows a refutation, as JSON data.
        obligations: The file's obligations: name and SMT-LIB text; ``None`` where it leaves them out.
    """

    stated: Stated
    verdict: str
    trace: Mapping[str, Any] | None
    obligations: tuple[tuple[str, str], ...] | None


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one entry.

    Attributes:
        entry: The entry.
        outcome: ``re-checked`` where this checker alone shows it, ``refused`` where the evidence is wrong,
            ``not re-checked`` where this checker cannot tell.
        says: What was shown, or why not.
        obligations: How many obligations a solver refuted.
        seconds: How long it took.
    """

    entry: Entry
    outcome: Outcome
    says: str
    obligations: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Certificates:
    """A certificate file.

    Attributes:
        net: Name of the net.
        net_hash: Its content hash.
        entries: One for each verdict.
        versions: Of Provenet and the solvers that found the evidence.
        sealed: Whether the file's digest is that of what it holds.
    """

    net: str
    net_hash: str
    entries: tuple[Entry, ...]
    versions: Mapping[str, str]
    sealed: bool


def read(path: Path) -> Certificates:
    """A certificate file.

    Raises:
        FormatError: It is none.
    """
    return parsed(read_bytes(path, MAX_BYTES), source=path.name)


def parsed(data: bytes | str, *, source: str = "certificate") -> Certificates:
    """A certificate from its text; see ``read``."""
    found = parse_json(data, max_bytes=MAX_BYTES, max_depth=MAX_DEPTH, source=source)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        told = found.get("format") if isinstance(found, dict) else None
        raise FormatError(
            f"this is no certificate in the format {FORMAT}" + (f", but {str(told)[:60]!r}" if told else ""),
            where=source,
            hint="write one with: provenet verify TARGET --certificates DIR",
        )
    try:
        entries = tuple(_entry(each) for each in found["verdicts"])
        net, net_hash, versions = found["net"], found["net_hash"], found["versions"]
        texts = all(isinstance(text, str) for text in (net, net_hash, *versions, *versions.values()))
        if not texts or not isinstance(versions, dict):
            raise TypeError
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(
            "the certificate lacks a part, or a part is of another kind",
            where=source,
            hint="write it again with: provenet verify TARGET --certificates DIR",
        ) from error
    return Certificates(net, net_hash, entries, versions, sealed=found.get("digest") == digest(found))


def digest(data: Mapping[str, Any]) -> str:
    """SHA-256 of all of a certificate but its digest: it shows accidents, not malice."""
    body = {key: value for key, value in data.items() if key != "digest"}
    return hashlib.sha256(canonical_text(body).encode("ascii")).hexdigest()


def check(
    net: Net,
    certificates: Certificates,
    *,
    solvers: Sequence[Solver] = ("z3",),
    timeout: float = 60.0,
    told: Callable[[int], None] = lambda _: None,
) -> Iterator[Result]:
    """Re-check every entry, one after another.

    Args:
        net: The net that the certificate is to be about.
        certificates: The certificate.
        solvers: Who must find the obligations unsatisfiable; all of them.
        timeout: Seconds for each entry.
        told: Told before each entry how many are done.

    Raises:
        NetError: The net has mistakes.
        Refused: The certificate is about another net, or was changed after it was written.
        NotHere: A solver that is asked for is not installed.
    """
    mistakes = check_net(net)
    if mistakes:
        raise NetError(net.name, mistakes)
    if certificates.net_hash != content_hash(net):
        raise Refused(
            f"the certificate is about the net {certificates.net_hash[:8]}, this is {content_hash(net)[:8]}",
            hint="verify this net anew, or name the net that the certificate is about",
        )
    if certificates.net != net.name:
        raise Refused(f"the certificate is about {certificates.net!r}, this net is called {net.name!r}")
    if not certificates.sealed:
        raise Refused("the certificate was changed after it was written: its digest is another")
    for number, entry in enumerate(certificates.entries):
        told(number)
        began = time.monotonic()
        try:
            done = _checked(net, entry, solvers, began + timeout)
            outcome: Outcome = "re-checked"
            says, count = done.says, len(done.obligations)
        except Refused as error:
            outcome, says, count = "refused", error.message, 0
        except NotHere as error:
            outcome, says, count = "not re-checked", error.message, 0
        except ProvenetError as error:
            # The net's own package speaks up where, say, a condition does not fit what it is about.
            outcome, says, count = "not re-checked", error.message, 0
        except _MALFORMED as error:
            # A part that is of another kind than it should be shows nothing, wherever it is met first.
            outcome, says, count = "refused", f"the evidence is not well-formed: {type(error).__name__}", 0
        yield Result(entry, outcome, says, count, time.monotonic() - began)


def obligations_of(net: Net, entry: Entry, *, timeout: float = 60.0) -> tuple[tuple[str, str], ...]:
    """The obligations that an entry leaves for a solver; none where this checker cannot tell."""
    try:
        found = _claim(net, entry, time.monotonic() + timeout)
    except (ProvenetError, *_MALFORMED):
        return ()
    return tuple((o.name, o.text) for o in found.obligations)


def _claim(net: Net, entry: Entry, deadline: float) -> Claim:
    if entry.verdict == "UNKNOWN":
        raise NotHere("nothing is known of it, so there is nothing to check")
    if entry.verdict == "REFUTED":
        return runs.refuted(net, entry.stated, entry.trace, deadline=deadline)
    return claim(net, entry.stated, deadline=deadline)


def _checked(net: Net, entry: Entry, solvers: Sequence[Solver], deadline: float) -> Claim:
    found = _claim(net, entry, deadline)
    own = tuple((o.name, o.text) for o in found.obligations)
    if entry.obligations is not None and entry.obligations != own:
        raise Refused("the obligations in the certificate are not those that the net and its evidence give")
    for obligation in found.obligations:
        left = deadline - time.monotonic()
        if left <= 0:
            raise NotHere("the time is up")
        try:
            refute(obligation, solvers, timeout=left)
        except Refused as error:
            if found.otherwise == "open":
                raise NotHere(f"the guards alone do not show it: {obligation.name}") from error
            raise
    return found


def _entry(data: Any) -> Entry:
    texts = [data[key] for key in ("property", "subject", "title", "verdict")]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError
    if texts[3] not in ("PROVED", "REFUTED", "UNKNOWN"):
        raise ValueError
    evidence = []
    for each in data["evidence"]:
        if not isinstance(each["kind"], str) or not isinstance(each["data"], dict):
            raise TypeError
        evidence.append((each["kind"], each["data"]))
    trace = data["trace"]
    if trace is not None and not isinstance(trace, dict):
        raise TypeError
    given = data["obligations"]
    obligations = None if given is None else tuple((o["name"], o["smt2"]) for o in given)
    return Entry(Stated(texts[0], texts[1], texts[2], tuple(evidence)), texts[3], trace, obligations)
