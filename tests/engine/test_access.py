"""Signed tokens: who may do what, and that nobody else may, by any way in."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import sqlite3
import sys
from collections.abc import Callable, Coroutine
from contextlib import closing, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenet.engine import Engine, Reader, audit
from provenet.engine.access import Access, Key, Role, digest, issue, new_key
from provenet.engine.access.policy import VERBS, WORDS, Holder
from provenet.engine.access.sealing import Posted, Seal, sealed
from provenet.engine.access.tokens import LONGEST_TOKEN, read_token
from provenet.engine.clock import RealClock, VirtualClock
from provenet.engine.errors import (
    AccessRefused,
    DecisionRefused,
    EngineError,
    KillSwitchOn,
    StoreDenied,
)
from provenet.engine.exports import check_export
from provenet.engine.faults import FaultInjected, plan
from provenet.engine.marking_map import MarkingMap
from provenet.engine.requests import ask, post
from provenet.engine.retention import Retention
from provenet.engine.store.grants import grants
from provenet.nets.build import NetBuilder
from provenet.sdb.handlers import Agent
from provenet.sdb.human import Human
from tests.engine.kit import START, Item, built, deployed, opened
from tests.engine.test_control import waiting

T = TypeVar("T")

PRIVATE, PUBLIC = new_key()
OTHER, _ = new_key()
SECRET = b"a secret that is as long as it has to be, and longer"
ATTACK = pytest.mark.attack

ROLES = {
    "pricing": Role(may=frozenset({"decide"})),
    "shop": Role(may=frozenset({"start", "signal"})),
    "operator": Role(may=frozenset({"kill", "release", "resume", "settle", "migrate", "start", "signal"})),
    "stopper": Role(may=frozenset({"kill:case"}), nets=frozenset({"small"})),
    "elsewhere": Role(may=frozenset({"kill", "decide"}), nets=frozenset({"other"})),
    "left": Role(may_not=frozenset({"*"})),
}


def rules(now: Callable[[], datetime] = lambda: START, **parts: Any) -> Access:
    """The rules of these tests; time stands still."""
    keys = (Key.public("ops", PUBLIC), Key.shared("small", SECRET, roles=["shop"]))
    said: dict[str, Any] = {"keys": keys, "roles": ROLES, "now": now}
    return Access(**said | parts)


def token(engine_or_uid: Engine | str, *roles: str, key: bytes = PRIVATE, **parts: Any) -> str:
    """A token of Dana's, good for an hour."""
    uid = engine_or_uid if isinstance(engine_or_uid, str) else engine_or_uid._store.uid
    options: dict[str, Any] = {"name": "dana", "lasts": timedelta(hours=1), "now": START} | parts
    return issue(key, options.pop("kid", "ops"), roles=roles, database=uid, **options)


def forged(claims: dict[str, Any], header: dict[str, Any], sign: Callable[[bytes], bytes]) -> str:
    """A token as an attacker makes it, without a library that means well."""
    parts = [_part(header), _part(claims)]
    return b".".join([*parts, _base64(sign(b".".join(parts)))]).decode()


def _part(data: Any) -> bytes:
    return _base64(json.dumps(data).encode())


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


CLAIMS = {"sub": "dana", "roles": ["pricing"], "aud": "db", "jti": "j", "exp": START.timestamp() + 3600}


def claimed(**changes: Any) -> str:
    """A well signed token of odd claims; a claim that is ``...`` is left out."""
    said = {k: v for k, v in (CLAIMS | changes).items() if v is not ...}
    return jwt.encode(said, PRIVATE, algorithm="EdDSA", headers={"kid": "ops"})


async def begun(engine: Engine, case: str = "c") -> None:
    """A case that waits for a person."""
    deployed(engine, waiting())
    await engine.start_case(
        "small", inputs={"start": Item(id="a", n=1)}, case_id=case, token=token(engine, "operator")
    )


# what a token says


def test_a_good_token_is_read() -> None:
    found = read_token(rules(), claimed(do=["decide"], cmd="00"), "db", START, verb="decide")
    assert found == Holder("dana", frozenset({"pricing"}), "j", frozenset({"decide"}), "00")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sub": ...}, "names nobody"),
        ({"sub": 5}, "names nobody"),
        ({"sub": ""}, "names nobody"),
        ({"sub": "dana\n"}, "names nobody"),
        ({"sub": "d" * 201}, "names nobody"),
        ({"jti": ...}, "no id of its own"),
        ({"jti": ["j"]}, "no id of its own"),
        ({"exp": ...}, "no time that it ends at"),
        ({"exp": "tomorrow"}, "no time that it ends at"),
        ({"exp": True}, "no time that it ends at"),
        ({"exp": float("nan")}, "no time that it ends at"),
        ({"exp": 1e400}, "no time that it ends at"),
        ({"exp": -1e11}, "it is over"),
        ({"nbf": "now"}, "no time that it ends at"),
        ({"exp": START.timestamp() + 91 * 86400}, "too long"),
        ({"aud": ...}, "another database"),
        ({"aud": "other"}, "another database"),
        ({"aud": ["other", 5, None]}, "another database"),
        ({"aud": {"db": 1}}, "another database"),
        ({"roles": "pricing"}, "no list of texts"),
        ({"roles": [["pricing"]]}, "no list of texts"),
        ({"roles": ["pricing"] * 101}, "no list of texts"),
        ({"do": "decide"}, "no list of texts"),
        ({"cmd": 5}, "no text"),
    ],
)
def test_claims_that_are_none(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(AccessRefused, match=said) as refused:
        read_token(rules(), claimed(**changes), "db", START, verb="decide")
    assert refused.value.hint
    assert claimed(**changes)[:60] not in str(refused.value)


@pytest.mark.parametrize(("late", "fine"), [(29, True), (31, False)])
def test_clocks_may_differ_a_little(late: int, fine: bool) -> None:
    for claim, sign in (("exp", -1), ("nbf", 1)):
        made = claimed(**{claim: START.timestamp() + sign * late})
        if fine:
            read_token(rules(), made, "db", START, verb="decide")
        else:
            with pytest.raises(AccessRefused, match=r"over|not good yet"):
                read_token(rules(), made, "db", START, verb="decide")


@ATTACK("expired token", "refused: it is over, but for the declared kill switch")
@pytest.mark.parametrize(
    ("verb", "name", "days", "fine"),
    [
        ("kill", "dana", 1, True),  # whoever is declared may stop everything, also when nobody signs any more
        ("kill", "dana", 8, False),
        ("kill", "erin", 1, False),
        ("decide", "dana", 1, False),
        ("release", "dana", 1, False),
    ],
)
def test_a_token_that_is_over(verb: str, name: str, days: int, fine: bool) -> None:
    access = rules(emergency=frozenset({"dana"}))
    made, now = claimed(sub=name), START + timedelta(hours=1, days=days)
    if fine:
        assert read_token(access, made, "db", now, verb=verb).late > timedelta(hours=23)
    else:
        with pytest.raises(AccessRefused, match="over"):
            read_token(access, made, "db", now, verb=verb)


@ATTACK("token without a signature", "refused: `none` is no algorithm of any key")
@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None], ids=repr)
def test_a_token_that_nobody_signed(algorithm: Any) -> None:
    made = forged(CLAIMS, {"alg": algorithm, "kid": "ops"}, lambda _: b"")
    with pytest.raises(AccessRefused):
        read_token(rules(), made, "db", START, verb="decide")


@ATTACK("algorithm confusion", "refused: a key has one algorithm, whatever the token's header says")
def test_a_public_key_is_no_secret() -> None:
    for material in (PUBLIC, PUBLIC.strip(), rules().keys[0].material):
        sign = partial(hmac.digest, material, digest="sha256")
        for kid in ("ops", "small"):
            made = forged(CLAIMS, {"alg": "HS256", "kid": kid}, sign)
            with pytest.raises(AccessRefused):
                read_token(rules(), made, "db", START, verb="decide")


@ATTACK("forged signature", "refused: the signature is not that of the key")
def test_a_key_of_somebody_else() -> None:
    ours = claimed().split(".")
    for made in (
        token("db", "pricing", key=OTHER),
        ".".join([*ours[:2], _base64(bytes(64)).decode()]),
        ".".join([ours[0], _part(CLAIMS | {"roles": ["operator"]}).decode(), ours[2]]),
    ):
        with pytest.raises(AccessRefused, match="signature"):
            read_token(rules(), made, "db", START, verb="decide")


@ATTACK("unknown key", "refused: only keys of the access file count, whatever a header brings along")
@pytest.mark.parametrize(
    "header",
    [
        {"alg": "EdDSA"},
        {"alg": "EdDSA", "kid": "other"},
        {"alg": "EdDSA", "kid": ["ops"]},
        {"alg": "EdDSA", "kid": "../../dev/null"},
        {"alg": "EdDSA", "kid": "ops", "jwk": {"kty": "OKP"}},
        {"alg": "EdDSA", "kid": "ops", "jku": "https://example.org/keys"},
        {"alg": "EdDSA", "kid": "ops", "crit": ["exp"]},
        {"alg": "EdDSA", "kid": "ops", "b64": False},
    ],
)
def test_a_header_is_not_believed(header: dict[str, Any]) -> None:
    made = jwt.encode(CLAIMS, PRIVATE, algorithm="EdDSA", headers={"kid": "ops"})
    body = made.split(".")[1].encode()
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    signer: Any = load_pem_private_key(PRIVATE, None)
    text = _part(header) + b"." + body
    with pytest.raises(AccessRefused):
        read_token(rules(), (text + b"." + _base64(signer.sign(text))).decode(), "db", START, verb="decide")


@ATTACK("revoked token, revoked key", "refused: also while an engine runs, as soon as the file says so")
def test_what_is_revoked_counts_no_more(tmp_path: Path) -> None:
    with pytest.raises(AccessRefused, match="it is revoked"):
        read_token(rules(revoked=frozenset({"j"})), claimed(), "db", START, verb="kill")
    gone = replace(rules().keys[0], revoked="yes")
    with pytest.raises(AccessRefused, match="key is revoked"):
        read_token(rules(keys=(gone,), emergency=frozenset({"dana"})), claimed(), "db", START, verb="kill")


@ATTACK("oversized or deeply nested token", "refused before it is parsed, or where it cannot be")
@pytest.mark.parametrize(
    "made",
    [
        "a" * (LONGEST_TOKEN + 1),
        ".." + "a" * 100_000,
        "",
        "a.b",
        "a.b.c.d.e",
        "\0",
        "é.é.é",
        "\ud800",
        (_base64(b"[" * 4000) + b".e30.e30").decode(),
        (_part({"alg": "EdDSA", "kid": "ops"}) + b"." + _base64(b"[" * 4000) + b".e30").decode(),
        (_part([1]) + b".e30.e30").decode(),
        (_part("text") + b".e30.e30").decode(),
    ],
)
def test_what_is_no_token(made: str) -> None:
    with pytest.raises(AccessRefused):
        read_token(rules(), made, "db", START, verb="decide")


@given(st.text() | st.binary().map(lambda b: b.decode("latin-1")))
@settings(max_examples=200)
def test_any_text_is_refused(made: str) -> None:
    with pytest.raises(AccessRefused):
        read_token(rules(), made, "db", START, verb="decide")


def test_a_key_may_give_its_own_roles_only() -> None:
    access = rules()
    small = partial(token, "db", key=SECRET, kid="small", algorithm="HS256")
    assert read_token(access, small("shop"), "db", START, verb="signal").roles == {"shop"}
    with pytest.raises(AccessRefused, match="may not give the role operator"):
        read_token(access, small("shop", "operator"), "db", START, verb="signal")


# what a role may do

NETS = st.sampled_from(["small", "other"])
A_ROLE = st.builds(
    Role,
    may=st.frozensets(st.sampled_from(sorted(WORDS)), max_size=4),
    may_not=st.frozensets(st.sampled_from([*sorted(WORDS), "*"]), max_size=2),
    nets=st.frozensets(NETS, max_size=1),
)


@given(
    st.dictionaries(st.sampled_from("abc"), A_ROLE),
    st.frozensets(st.sampled_from("abcd")),
    st.sampled_from(VERBS),
    st.sampled_from(["case", "net", "all"]),
    st.none() | NETS,
    st.none() | st.frozensets(st.sampled_from(VERBS)),
)
def test_nothing_is_allowed_by_default_and_deny_goes_first(
    roles: dict[str, Role],
    held: frozenset[str],
    verb: str,
    scope: str,
    net: str | None,
    do: frozenset[str] | None,
) -> None:
    """By a second reading of the rules: who may is who has a role that says so, and none that says no."""
    scope = scope if verb == "kill" or (verb == "release" and scope != "case") else ""
    words = {verb, f"{verb}:{scope}"}
    mine = [roles[r] for r in held if r in roles]
    allow = any(words & r.may and (not r.nets or net in r.nets) for r in mine)
    deny = any(r.may_not & (words | {"*"}) and (not r.nets or net is None or net in r.nets) for r in mine)
    limited = do is not None and not do & words
    access = Access(keys=(), roles=roles)
    holder = Holder("dana", held, "j", do)
    if allow and not deny and not limited:
        assert all(roles[r].may & words for r in access.role_for(holder, verb, scope, net))
    else:
        with pytest.raises(AccessRefused):
            access.role_for(holder, verb, scope, net)


# on an engine


async def test_who_decides_is_what_the_token_says(tmp_path: Path) -> None:
    async with opened(waiting(), tmp_path / "x.db", access=rules()) as engine:
        for case in ("c", "d", "e"):
            await begun(engine, case)
        made = await engine.decide("c", "look", "approve", token=token(engine, "pricing", "shop"))
        assert made.who == "dana@pricing"
        await engine.approve("d", "look", "dana@pricing", token=token(engine, "pricing"))
        await engine.deny("e", "look", "dana", token=token(engine, "pricing"))
        assert {t.who for t in engine.read.tasks(status=None)} == {"dana@pricing"}
    assert audit(tmp_path / "x.db").clean


@ATTACK("forged approval", "refused: who decides is what the token says, never what the caller says")
@pytest.mark.parametrize(
    "who", ["erin@pricing", "dana@operator", "dana@lead", "", "@pricing", "dana@x@pricing"]
)
async def test_forged_approvals(tmp_path: Path, who: str) -> None:
    async with opened(waiting(), tmp_path / "x.db", access=rules()) as engine:
        await begun(engine)
        with pytest.raises(AccessRefused):
            await engine.approve("c", "look", who or "dana@pricing")
        if who:
            with pytest.raises(AccessRefused, match="the token names"):
                await engine.approve("c", "look", who, token=token(engine, "pricing"))
        await engine.kill("case", "c", token=token(engine, "operator"))
        assert engine.read.case("c").case.status == "killed"  # nothing of it moved the case before
        with pytest.raises(AccessRefused):
            await engine.approve("c", "look", who, token=token(engine, "pricing", key=OTHER))
    assert audit(tmp_path / "x.db").clean


@ATTACK("role escalation", "refused: a role may do what the rules give it, on the nets they name")
@pytest.mark.parametrize(
    ("roles", "command"),
    [
        (["operator"], {"do": "decide"}),
        (["pricing"], {"do": "kill", "scope": "case", "target": "c"}),
        (["pricing", "left"], {"do": "decide"}),
        (["pricing, operator"], {"do": "decide"}),
        (["Pricing"], {"do": "decide"}),
        (["x@pricing"], {"do": "decide"}),
        (["*"], {"do": "decide"}),
        ([], {"do": "decide"}),
        (["elsewhere"], {"do": "decide"}),
        (["elsewhere"], {"do": "kill", "scope": "net", "target": "small"}),
        (["elsewhere"], {"do": "kill", "scope": "all", "target": ""}),
        (["stopper"], {"do": "kill", "scope": "net", "target": "small"}),
        (["stopper"], {"do": "kill", "scope": "all", "target": ""}),
        (["shop"], {"do": "release", "scope": "all", "target": ""}),
        (["shop"], {"do": "resume", "case": "c"}),
        (["shop"], {"do": "settle", "case": "c", "effect": "e"}),
    ],
)
async def test_role_escalation(tmp_path: Path, roles: list[str], command: dict[str, Any]) -> None:
    from provenet.engine.requests import carry_out

    asked = {"case": "c", "task": "look", "choice": "approve"} if command["do"] == "decide" else {}
    async with opened(waiting(), tmp_path / "x.db", access=rules()) as engine:
        await begun(engine)
        with pytest.raises(AccessRefused):
            await carry_out(engine, asked | command | {"token": token(engine, *roles)})
        assert engine.read.case("c").case.status == "waiting"
        assert not engine.read.kills()
        last = engine.read.access()[-1]
        assert (last.verb, last.verdict, last.who) == (command["do"], "refused", "dana")
    assert audit(tmp_path / "x.db").clean


async def test_a_role_may_be_for_one_net_and_a_token_for_some_verbs(tmp_path: Path) -> None:
    async with opened(waiting(), tmp_path / "x.db", access=rules()) as engine:
        await begun(engine)
        with pytest.raises(AccessRefused, match="not for 'kill:case'"):
            await engine.kill("case", "c", token=token(engine, "operator", do=["resume"]))
        await engine.kill("case", "c", token=token(engine, "stopper", do=["kill"]))
        with pytest.raises(AccessRefused):  # a case that is not there tells nothing to who may see nothing
            await engine.kill("case", "none", token=token(engine, "stopper"))


@ATTACK("replayed approval", "refused: a signed command is spent with its first use")
async def test_replayed_approvals(tmp_path: Path) -> None:
    async with opened(waiting(), tmp_path / "x.db", access=rules()) as engine:
        for case in ("c", "d"):
            await begun(engine, case)
        command = {"do": "decide", "case": "c", "task": "look", "choice": "approve"}
        signed = token(engine, "pricing", command=command)
        with pytest.raises(AccessRefused, match="another command"):
            await engine.approve("d", "look", token=signed)
        with pytest.raises(AccessRefused, match="another command"):
            await engine.deny("c", "look", token=signed)
        await engine.approve("c", "look", token=signed)
        with pytest.raises(AccessRefused, match="used before"):
            await engine.approve("c", "look", token=signed)
        kill = token(engine, "operator", command={"do": "kill", "scope": "all", "target": "", "reason": ""})
        await engine.kill("all", token=kill)
        await engine.release("all", token=token(engine, "operator"))
        with pytest.raises(AccessRefused, match="used before"):
            await engine.kill("all", token=kill)
    async with opened(waiting(), tmp_path / "x.db", access=rules()) as engine:
        with pytest.raises(AccessRefused, match="used before"):
            await engine.kill("all", token=kill)
    assert audit(tmp_path / "x.db").clean


@ATTACK("expired deadline", "refused: a good token does not open a task whose time is over")
async def test_expired_deadlines(tmp_path: Path) -> None:
    clock = VirtualClock(START)
    async with opened(waiting(), tmp_path / "x.db", access=rules(), clock=clock) as engine:
        await begun(engine)
        clock.jump(START + timedelta(days=3))
        with pytest.raises(DecisionRefused, match="deadline"):
            await engine.approve("c", "look", token=token(engine, "pricing"))
    assert audit(tmp_path / "x.db").clean


async def test_every_verb_takes_a_token(tmp_path: Path) -> None:
    async with opened(waiting(), tmp_path / "x.db", access=rules()) as engine:
        await begun(engine)
        said: list[Coroutine[Any, Any, Any]] = [
            engine.decide("c", "look", "approve", "dana@pricing"),
            engine.approve("c", "look", "dana@pricing"),
            engine.deny("c", "look", "dana@pricing"),
            engine.signal("c", "paid", 5),
            engine.kill("case", "c"),
            engine.kill("net", "small"),
            engine.kill("all"),
            engine.release("all"),
            engine.resume("c"),
            engine.settle("c", "e", who="dana"),
            engine.start_case("small", inputs={"start": Item(id="b", n=1)}),
            engine.start_cases("small", [("b", {"start": Item(id="b", n=1)})]),
            engine.delegate("c", "look", to="erin@legal", who="dana@pricing"),
            engine.publish("paid", 5, about={"order": "17"}),
            engine.migrate("small", "small", MarkingMap()),
            engine.move_found({"old": "x", "new": "y", "map": {}, "cases": [], "case": "c"}),
            engine.erase(case="c", who="dana", reason=""),
            engine.prune(Retention(keep_entries=5)),
        ]
        for call in said:
            with pytest.raises(AccessRefused, match="takes a token"):
                await call
        assert [c.id for c in engine.read.cases()] == ["c"]
        assert engine.read.case("c").case.status == "waiting"
        assert len([x for x in engine.read.access() if x.verdict == "refused"]) == len(said)


async def test_an_operator_may(tmp_path: Path) -> None:
    async with opened(waiting(), tmp_path / "x.db", access=rules()) as engine:
        await begun(engine)
        mine = partial(token, engine, "operator")
        await engine.approve("c", "look", token=token(engine, "pricing"))
        await engine.signal("c", "paid", 5, token=mine())
        await engine.kill("net", "small", who="dana", reason="drill", token=mine())
        with pytest.raises(KillSwitchOn):
            await begun(engine, "d")
        await engine.release("net", "small", token=mine())
        await begun(engine, "d")
        assert engine.read.kills()[0]["who"] == "dana@operator"
        allowed = [(x.verb, x.target, x.who) for x in engine.read.access() if x.verdict == "allowed"]
        assert allowed == [
            ("decide", "c look", "dana@pricing"),
            ("kill", "net small", "dana@operator"),
            ("release", "net small", "dana@operator"),
        ]
    assert audit(tmp_path / "x.db").clean


async def test_in_an_emergency_the_switch_is_pulled_with_a_token_that_is_over(tmp_path: Path) -> None:
    late = rules(lambda: START + timedelta(days=2), emergency=frozenset({"dana"}))
    async with opened(waiting(), tmp_path / "x.db", access=rules()) as engine:
        await begun(engine)
        old = token(engine, "operator")
    async with opened(waiting(), tmp_path / "x.db", access=late) as engine:
        with pytest.raises(AccessRefused, match="over"):
            await engine.resume("c", token=old)
        await engine.kill("all", token=old)
        assert "emergency" in engine.read.access()[-1].why
    assert audit(tmp_path / "x.db").clean


# a guarded database


async def test_a_guarded_database_stays_guarded(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    async with opened(waiting(), path, access=rules()) as engine:
        await begun(engine)
        mine = token(engine, "operator")
    async with opened(waiting(), path) as engine:
        with pytest.raises(AccessRefused, match="without the rules"):
            await engine.kill("all", token=mine)
        with pytest.raises(AccessRefused):
            await engine.approve("c", "look", "dana@pricing")

    async def nobody(task: object) -> None:
        return None

    for options in ({"access": rules()}, {}):
        with pytest.raises(EngineError, match="decides without tokens"):
            async with opened(waiting(), path, people=nobody, **options):
                pass
    with pytest.raises(AccessRefused, match="without the rules"):
        await in_thread(lambda: ask(path, {"do": "resume", "case": "c", "token": mine}))
    async with opened(waiting(), path, access="off") as engine:
        await engine.approve("c", "look", "dana@pricing")
    assert [x.target == "off" for x in Reader(path).access() if x.verdict == "rules"] == [False, True]
    assert audit(path).clean


async def test_who_has_no_token_does_not_learn_which_cases_there_are(tmp_path: Path) -> None:
    async with opened(waiting(), tmp_path / "x.db", access=rules()) as engine:
        await begun(engine)
        said = set()
        for case in ("c", "nobody"):
            with pytest.raises(AccessRefused) as refused:
                await engine.kill("case", case)
            said.add((refused.value.message, refused.value.hint))
        ((message, _),) = said
        assert message == "'kill:case' takes a token with a role that may: elsewhere, operator, stopper"


async def test_what_fails_before_cases_run_guards_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.db"
    async with opened(waiting(), path) as engine:
        await begun(engine)
    given = rules()
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "cryptography", None)
        with pytest.raises(EngineError, match="not installed: cryptography"):
            await opened(waiting(), path, access=given).__aenter__()
    assert not Reader(path).is_guarded()
    assert not Reader(path).access()
    async with opened(waiting(), path, access=given):
        pass
    assert Reader(path).is_guarded()
    assert [x.verdict for x in Reader(path).access()] == ["rules"]
    assert audit(path).clean


async def test_without_rules_nothing_is_as_it_was_not(tmp_path: Path) -> None:
    async with opened(waiting(), tmp_path / "x.db") as engine:
        deployed(engine, waiting())
        await engine.start_case("small", inputs={"start": Item(id="a", n=1)}, case_id="c")
        await engine.approve("c", "look", "dana@pricing", token="whatever")
        assert not engine.read.access()
    with closing(sqlite3.connect(tmp_path / "x.db")) as db:
        assert db.execute("SELECT COUNT(*) FROM provenet_spent").fetchone() == (0,)


async def test_a_file_of_rules_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "access.toml"
    pem = PUBLIC.decode().strip()
    text = (
        f'longest = "9999d"\n[keys.ops]\npublic = """\n{pem}"""\n[roles.operator]\nmay = ["start", "kill"]\n'
    )
    path.write_text(text)
    now = RealClock().now()
    async with opened(waiting(), tmp_path / "x.db", access=path) as engine:
        mine = token(engine, "operator", now=now)
        deployed(engine, waiting())
        await engine.kill("net", "small", token=mine)
        path.write_text("this is no TOML")
        await engine.kill("net", "small", token=mine)  # a mistake takes nobody's kill switch away
        path.write_text(f'revoked = ["{_id(mine)}"]\n{text}')
        with pytest.raises(AccessRefused, match="revoked"):
            await engine.kill("net", "small", token=mine)
        assert len([x for x in engine.read.access() if x.verdict == "rules"]) == 2
    assert audit(tmp_path / "x.db").clean


def _id(made: str) -> str:
    return str(jwt.decode(made, options={"verify_signature": False})["jti"])


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ("x = 1", "", "no 'x'"),
        ("keys = 5", "keys", "a table"),
        ("[keys.a]", "keys.a", "one of public and secret_env"),
        ('[keys.a]\npublic = "abc"', "", "no Ed25519 public key"),
        ("[keys.a]\npublic = 5", "keys.a.public", "a text"),
        ('[keys.a]\nsecret_env = "NO_SUCH_VARIABLE"', "", "32 bytes"),
        ('[roles.a]\nmay = ["fly"]', "roles.a", "no verb 'fly'"),
        ('[roles.a]\nmay = ["*"]', "roles.a", "no verb '*'"),
        ('[roles."a@b"]\nmay = []', "", "no name of a role"),
        ("[roles.a]\nmay = 5", "roles.a.may", "a list of texts"),
        ('grace = "5 days"', "grace", "a span of time"),
        ("grace = 5", "grace", "a span of time"),
        ("[keys.a\n", "", "cannot be read"),
    ],
)
def test_mistakes_in_a_file_of_rules(tmp_path: Path, text: str, where: str, said: str) -> None:
    path = tmp_path / "access.toml"
    path.write_text(text)
    with pytest.raises(EngineError) as refused:
        Access.read(path)
    assert said in refused.value.message
    assert str(path) in refused.value.where
    assert where in refused.value.where
    assert refused.value.hint


async def test_rules_of_a_strange_kind_are_refused(tmp_path: Path) -> None:
    strange: Any
    for strange in (5, {"roles": {}}, b"x"):
        with pytest.raises(EngineError, match="access= takes no"):
            async with opened(waiting(), access=strange):
                pass
    with pytest.raises(EngineError, match="cannot be read"):  # and never taken for none
        async with opened(waiting(), access=str(tmp_path / "none.toml")):
            pass


def test_a_public_key_is_written_in_several_ways() -> None:
    text = "".join(PUBLIC.decode().splitlines()[1:-1])
    raw = base64.b64decode(text)[-32:]
    for said in (
        PUBLIC,
        PUBLIC.decode(),
        text,
        base64.b64encode(raw),
        base64.urlsafe_b64encode(raw).decode(),
    ):
        assert Key.public("ops", said).material.strip() == PUBLIC.strip()
    for odd in ("", "x", text[:-4], base64.b64encode(raw[:-1]), base64.b64encode(raw + b"x")):
        with pytest.raises(EngineError, match="no Ed25519 public key"):
            Key.public("ops", odd)


def test_a_private_key_is_not_taken_for_a_public_one() -> None:
    with pytest.raises(EngineError, match="private key"):
        Key.public("a", PRIVATE)
    assert "secret" not in repr(Key.shared("a", SECRET))
    assert rules().fingerprint == rules().fingerprint
    other = rules(keys=(rules().keys[0], Key.shared("small", SECRET + b"!", roles=["shop"])))
    assert rules().fingerprint == other.fingerprint  # it is stored, and nobody shall guess a secret by it


# through the database


async def in_thread(call: Callable[[], T]) -> T:
    return await asyncio.to_thread(call)


async def test_a_request_is_sealed_and_its_token_is_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    async with opened(waiting(), path, access=rules()) as engine:
        await begun(engine)
        mine = token(engine, "pricing")
        command = {"do": "decide", "case": "c", "task": "look", "choice": "approve", "token": mine}
        said = await in_thread(lambda: ask(path, command))
        assert said["done"] == "approve: 'look' of case c, decided by dana@pricing"
        with pytest.raises(EngineError, match="takes a token") as refused:
            await in_thread(lambda: ask(path, {"do": "resume", "case": "c"}))
        assert refused.value.code == AccessRefused.code
        files = list(tmp_path.iterdir())  # noqa: ASYNC240
        for text in (mine, mine.split(".")[1], mine.split(".")[2]):
            assert not any(text.encode() in file.read_bytes() for file in files)
        requests = engine._store.rows("SELECT command FROM provenet_request")
        assert not any("sealed" in text for (text,) in requests)
    assert audit(path).clean


@ATTACK(
    "request posted by hand", "refused: a token in clear, of another request, or used before does not count"
)
async def test_requests_posted_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    async with opened(waiting(), path, access=rules()) as engine:
        await begun(engine)
        mine, uid = token(engine, "operator"), engine._store.uid
        ((public,),) = engine._store.rows("SELECT value FROM provenet_meta WHERE name = 'seal:1'")
        kill = {"do": "kill", "scope": "all", "target": ""}
        release = {"do": "release", "scope": "all", "target": ""}
        good = sealed(mine, digest(kill), uid, [public])
        parts = json.loads(good)

        async def posted(command: Any) -> str:
            try:
                return str((await in_thread(lambda: post(path, command)))["done"])
            except EngineError as error:
                return error.message

        assert "takes a token" in await posted(kill)
        assert "takes a token" in await _raw(path, kill | {"token": mine})
        assert "not sealed" in await _raw(path, kill | {"sealed": 5})
        assert "another command" in await posted(release | {"sealed": good})
        assert "cannot be read" in await posted(kill | {"sealed": "[]"})
        assert "not sealed" in await posted(kill | {"sealed": [parts]})
        assert "gone" in await posted(kill | {"sealed": json.dumps(parts[:2])})
        assert "gone" in await posted(kill | {"sealed": sealed(mine, digest(kill), uid, [Seal(uid).public])})
        assert "killed" in await posted(kill | {"sealed": good})
        assert "used before" in await posted(kill | {"sealed": good})
        assert len(engine.read.kills()) == 1
    assert audit(path).clean


async def _raw(path: Path, command: Any) -> str:
    """A request written without our help; its answer."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        text = command if isinstance(command, str) else json.dumps(command)
        statement = (
            "INSERT INTO provenet_request (at, case_id, command, status, worker) VALUES (0, '', ?, 'new', 0)"
        )
        number = db.execute(statement, (text,)).lastrowid
        for _ in range(200):
            found = db.execute("SELECT answer FROM provenet_request WHERE id = ?", (number,)).fetchone()
            if found[0] is not None:
                return str(found[0])
            await asyncio.sleep(0.02)
    raise AssertionError("no answer")


RETENTION = Retention({"done": timedelta(0)}).to_json()


def _written(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if not p.name.startswith("x.db")]


@ATTACK("request of any shape", "refused: whoever may post a request cannot stop an engine with it")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "5",
        '"kill"',
        "{}",
        '{"do": ["kill"]}',
        '{"do": "kill", "scope": "case", "target": ["x"]}',
        '{"do": "kill", "scope": "everything", "target": ""}',
        '{"do": "decide", "case": {"a": 1}, "task": 5, "choice": null}',
        '{"do": "signal", "case": "c", "event": "paid", "payload": ' + "[" * 500 + "]" * 500 + "}",
        r'{"do": "decide", "case": "c", "task": "\ud800", "choice": "\udfff", "who": "\udc00"}',
        r'{"do": "resume", "case": "\ud800"}',
        r'{"do": "\udcff"}',
        r'{"do": "signal", "event": "paid", "payload": "\ud800", "about": {"\ud800": "\ud800"}}',
        json.dumps({"do": "decide", "case": "c", "task": "x" * 20_000, "choice": "approve"}),
        json.dumps({"do": "signal", "case": "c", "event": "paid", "payload": "x" * 1_000_000}),
        json.dumps({"do": "prune", "retention": RETENTION | {"ended": {"done": 8e13}}}),
        json.dumps({"do": "prune", "retention": RETENTION | {"keep_entries": 2**70}}),
        json.dumps({"do": "prune", "retention": RETENTION | {"keep_entries": True}}),
        json.dumps({"do": "prune", "retention": RETENTION | {"keep_entries": float("nan")}}),
        json.dumps({"do": "prune", "retention": RETENTION | {"places": {"\ud800\0": -1}}}),
        "[" * 100_000,
    ],
)
@pytest.mark.parametrize("guarded", [True, False])
async def test_requests_of_any_shape(tmp_path: Path, text: str, guarded: bool) -> None:
    path = tmp_path / "x.db"
    async with opened(waiting(), path, access=rules() if guarded else None) as engine:
        await begun(engine)
        assert '"error"' in await _raw(path, text)
        assert engine.read.case("c").case.status == "waiting"
        await engine.run_until_idle(until=START)  # it lives
    assert audit(path).clean


@ATTACK(
    "a posted request that says where the engine writes files",
    "refused: logs are exported to where the engine's own process says",
)
@pytest.mark.parametrize("guarded", [True, False])
async def test_a_request_does_not_say_where_files_go(tmp_path: Path, guarded: bool) -> None:
    path, there, mine = tmp_path / "x.db", tmp_path / "there", tmp_path / "mine"
    own = Retention(export=mine)
    access = rules(roles=ROLES | {"keeper": Role(may=frozenset({"kill", "prune"}))}) if guarded else None
    async with opened(waiting(), path, access=access, retention=own) as engine:
        await begun(engine)
        by = token(engine, "keeper")
        await engine.kill("case", "c", token=by)

        async def asked(export: Path | None) -> dict[str, Any]:
            wanted = Retention({"killed": timedelta(0)}, export=export)
            command = {"do": "prune", "retention": wanted.to_json(), "token": by}
            return await in_thread(lambda: post(path, command))

        for elsewhere in (there, mine / "deeper", path):
            with pytest.raises(EngineError, match="does not say where") as refused:
                await asked(elsewhere)
            assert refused.value.code == "EN470"
        assert not _written(tmp_path)
        # What the process exports by itself is exported whoever asks, and whether they ask for it or not.
        found = (await asked(None))["pruned"]
        assert (found["cases"], found["exported"]) == (1, 2), found
        assert (await asked(mine))["pruned"]["cases"] == 0
    assert not there.exists()
    (log,) = mine.iterdir()
    assert check_export(log, path).clean


async def test_who_asks_alone_brings_the_rules(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    async with opened(waiting(), path, access=rules()) as engine:
        await begun(engine)
        mine = token(engine, "pricing")
    command = {"do": "decide", "case": "c", "task": "look", "choice": "approve", "who": "dana", "token": mine}
    said = await in_thread(lambda: ask(path, command, access=rules()))
    assert "dana@pricing" in said["done"]
    assert "no engine runs" in said["note"]
    assert audit(path).clean


@given(st.text(), st.text(max_size=50), st.text(max_size=50))
@settings(max_examples=50)
def test_a_seal_holds_for_one_command_and_one_engine(text: str, about: str, other: str) -> None:
    seal, stranger = Seal("db"), Seal("db")
    made = sealed(text, about, "db", [stranger.public, seal.public])
    assert seal.opened(Posted(made, about, 1))[0] == text.encode("utf-8", "replace").decode(
        "ascii", "replace"
    )
    assert seal.opened(Posted(made, about, 1))[1] == stranger.opened(Posted(made, about, 2))[1]
    for opener, posted in (
        (Seal("db"), Posted(made, about, 1)),
        (Seal("other"), Posted(made, about, 1)),
        *([(seal, Posted(made, other, 1))] if other != about else []),
    ):
        with pytest.raises(AccessRefused):
            opener.opened(posted)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON))
def test_the_digest_of_a_command_survives_the_way(command: dict[str, Any]) -> None:
    from provenet.engine.codec import plain

    assert digest(json.loads(plain(command))) == digest(command)


def test_the_digest_of_a_command_is_that_of_its_meaning() -> None:
    one = {"do": "decide", "case": "c", "note": None, "reason": "", "who": "dana", "token": "t"}
    assert digest(one) == digest({"case": "c", "do": "decide"})
    assert digest(one) != digest({"case": "d", "do": "decide"})
    performed = {"do": "settle", "case": "c", "effect": "pay"}
    assert digest(performed) != digest(performed | {"failed": ""})
    assert digest(performed) != digest(performed | {"receipt": ""})
    assert digest({"do": "start", "inputs": {"start": Item(id="a", n=1)}}) == digest(
        {"do": "start", "inputs": {"start": {"id": "a", "n": 1}}}
    )


async def test_a_signed_start_is_for_its_subject_too() -> None:
    async with opened(waiting(), access=rules()) as engine:
        deployed(engine, waiting())
        inputs = {"start": Item(id="a", n=1)}
        command = {"do": "start", "net": "small", "case": "c", "inputs": inputs, "tenant": ""}
        signed = token(engine, "shop", command=command)
        with pytest.raises(AccessRefused, match="another command"):
            await engine.start_case("small", inputs=inputs, case_id="c", subject="eve", token=signed)
        bare = token(engine, "shop", command={"do": "start", "net": "small"})
        with pytest.raises(AccessRefused, match="another command"):
            await engine.start_cases("small", [("d", inputs)], token=bare)
        await engine.start_case("small", inputs=inputs, case_id="c", token=signed)


# the log of it


async def _full(path: Path) -> None:
    async with opened(waiting(), path, access=rules()) as engine:
        await begun(engine)
        command = {"do": "kill", "scope": "case", "target": "c", "reason": ""}
        with pytest.raises(AccessRefused):
            await engine.kill("case", "c", token=token(engine, "shop"))
        await engine.kill("case", "c", token=token(engine, "operator", command=command))
    assert audit(path).clean


@ATTACK("tampered access log", "found by the audit: a row changed, removed or added, and the facts about it")
@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM provenet_access WHERE seq = 2",
        "DELETE FROM provenet_access WHERE seq = (SELECT MAX(seq) FROM provenet_access)",
        "DELETE FROM provenet_access",
        *(f"UPDATE provenet_access SET {c} = 'x' WHERE seq = 2" for c in ("verb", "target", "who", "token")),
        *(f"UPDATE provenet_access SET {c} = 'x' WHERE seq = 2" for c in ("verdict", "why", "data", "at")),
        *(f"UPDATE provenet_access SET {c} = x'00' WHERE seq = 2" for c in ("prev", "hash", "who")),
        "UPDATE provenet_access SET verdict = 'allowed'",
        "UPDATE provenet_access SET worker = 7",
        "UPDATE provenet_access SET seq = seq + 10",
        "INSERT INTO provenet_access SELECT worker, 9, at, verb, target, who, token, verdict, why, data, prev, hash FROM provenet_access WHERE seq = 2",  # noqa: E501
        "DELETE FROM provenet_spent",
        "INSERT INTO provenet_spent VALUES ('x', 'y')",
        "UPDATE provenet_spent SET id = 'x'",
        "UPDATE provenet_spent SET spender = 'x'",
        "UPDATE provenet_meta SET value = 'off' WHERE name = 'access'",
        "DELETE FROM provenet_meta WHERE name = 'access'",
        "DELETE FROM provenet_meta WHERE name = 'access:1'",
        "UPDATE provenet_meta SET value = 'x' WHERE name = 'access:1'",
        "INSERT INTO provenet_meta VALUES ('access:9', '1 00')",
        "INSERT INTO provenet_meta VALUES ('access:x', '1 00')",
        "UPDATE provenet_kill SET who = 'erin@operator'",
        "UPDATE provenet_kill SET released = at + 1",
        "INSERT INTO provenet_kill (scope, target, who, reason, at) SELECT 'all', '', who, '', at FROM provenet_kill",  # noqa: E501
    ],
)
async def test_a_log_that_was_tampered_with(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "x.db"
    await _full(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute(statement)
        db.commit()
    assert not audit(path).clean


@ATTACK("terminal escapes in the access log", "shown as ?, and no longer than a line or two")
async def test_what_is_asked_for_is_shown_as_plain_text(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    strange = "\x1b[2J\u202e\0\n\ud800" + "x" * 100_000
    async with opened(waiting(), path, access=rules()) as engine:
        mine = token(engine, "operator")
        for call in (
            engine.kill("case", strange, token=mine),
            engine.resume(strange, token=mine),
            engine.decide(strange, strange, strange, strange, token=token(engine, "pricing")),
            engine.kill("net", strange, token=mine, reason=strange),
        ):
            with suppress(EngineError):
                await call
    found = Reader(path).access()
    assert len(found) == 5
    assert all(text.isprintable() and len(text) <= 500 for x in found for text in (x.target, x.who, x.why))
    assert audit(path).clean


async def test_what_is_refused_and_allowed_is_there_after_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    engine = opened(waiting(), path, access=rules())
    await engine.__aenter__()
    await begun(engine)
    with pytest.raises(AccessRefused):
        await engine.kill("case", "c", token=token(engine, "shop"))
    await engine.kill("case", "c", token=token(engine, "operator"))
    await engine.crash()
    assert [x.verdict for x in Reader(path).access()] == ["rules", "refused", "allowed"]
    assert Reader(path).case("c").case.status == "killed"
    assert audit(path).clean


@pytest.mark.parametrize("point", ["before-commit", "after-commit"])
async def test_a_crash_keeps_all_of_it_or_nothing(tmp_path: Path, point: str) -> None:
    path = tmp_path / "x.db"
    command = {"do": "kill", "scope": "case", "target": "c", "reason": ""}
    engine = opened(waiting(), path, access=rules())
    await engine.__aenter__()
    await begun(engine)
    signed = token(engine, "operator", command=command)
    plan(f"{point}:raise:1")
    try:
        with pytest.raises((FaultInjected, EngineError)):
            await engine.kill("case", "c", token=signed)
    finally:
        plan(None)
    await engine.close()
    assert audit(path).clean
    done = point == "after-commit"
    assert (len(Reader(path).access()) == 2, bool(Reader(path).kills())) == (done, done)
    async with opened(waiting(), path, access=rules()) as engine:
        if done:
            with pytest.raises(AccessRefused, match="used before"):
                await engine.kill("case", "c", token=signed)
        else:
            await engine.kill("case", "c", token=signed)
    assert audit(path).clean


ASKED = st.tuples(
    st.sampled_from(["kill", "release", "start", "decide", "resume"]),
    st.frozensets(st.sampled_from(["operator", "pricing", "left", "none"]), max_size=2),
    st.sampled_from(["good", "good", "late", "other key", "no token", "other name", "one command", "again"]),
)


@given(st.lists(st.one_of(ASKED, st.sampled_from(["crash", "close"])), max_size=12))
@settings(max_examples=12, deadline=None)
def test_any_order_of_good_and_bad_tokens(steps: list[Any]) -> None:
    """What happens is what was allowed, the log has all of it, and the audit is clean after any crash."""
    with TemporaryDirectory() as folder:
        asyncio.run(_walk(Path(folder) / "x.db", steps))


async def _walk(path: Path, steps: list[Any]) -> None:
    pulled, refused, started, signed = 0, 0, 1, ""
    engine = opened(waiting(), path, access=rules())
    await engine.__aenter__()
    await begun(engine)
    for step in steps:
        if isinstance(step, str):
            await (engine.crash() if step == "crash" else engine.close())
            engine = opened(waiting(), path, access=rules())
            await engine.__aenter__()
            continue
        verb, held, how = step
        wanted = "pricing" if verb == "decide" else "operator"
        fine = wanted in held and "left" not in held and how in {"good", "one command"}
        command = {"do": "release", "scope": "all", "target": ""} if verb == "release" else {"do": "kill"}
        command |= {} if verb == "release" else {"scope": "all", "target": "", "reason": ""}
        made: str | None = token(
            engine,
            *held,
            key=OTHER if how == "other key" else PRIVATE,
            now=START - timedelta(days=2) if how == "late" else START,
            command=command if how == "one command" else None,
        )
        if how == "one command":
            fine = fine and verb in {"kill", "release"}
            signed = made or ""
        elif how == "again":
            made, fine = signed, False
        elif how == "no token":
            made = None
        who = "erin@operator" if how == "other name" else ""
        if verb in {"start", "release", "resume"} and how == "other name":
            continue  # nobody says who it is
        if how == "again" and not _was_used(engine, signed):
            continue
        before = len(engine.read.access())
        try:
            match verb:
                case "kill":
                    await engine.kill("all", who=who, token=made)
                    pulled += 1
                case "release":
                    await engine.release("all", token=made)
                case "start":
                    one = {"start": Item(id="a", n=1)}
                    await engine.start_case("small", inputs=one, case_id=f"s{started}", token=made)
                    started += 1
                case "decide":
                    await engine.approve("c", "look", who, token=made)
                case "resume":
                    await engine.resume("c", token=made)
            assert fine
        except AccessRefused:
            assert not fine
            refused += 1
            assert engine.read.access()[before].verdict == "refused"
        except EngineError:
            assert fine  # it was allowed to, and the case does not move
        assert len(engine.read.kills()) == pulled
        assert len(engine.read.cases()) == started
    await engine.close()
    assert len([x for x in Reader(path).access() if x.verdict == "refused"]) == refused
    found = audit(path)
    assert found.clean, found.problems


def _was_used(engine: Engine, made: str) -> bool:
    spent = engine._store.rows("SELECT id FROM provenet_spent")
    return bool(made) and (_id(made),) in spent


# several processes, and database roles


@pytest.fixture
def roles(postgres: str) -> dict[str, str]:
    """URLs of a PostgreSQL database whose tables are there, one for each kind of role."""
    import psycopg

    from provenet.engine.store.database import open_database

    open_database(postgres).close()
    made = {"owner": postgres}
    with psycopg.connect(postgres, autocommit=True) as connection:
        (database,) = connection.execute("SELECT current_database()").fetchone() or ("",)
        for kind in ("engine", "read", "post"):
            role = f"{kind} of {database}"
            connection.execute(f'CREATE ROLE "{role}" LOGIN')
            for statement in grants(kind, role):
                connection.execute(statement)
            made[kind] = postgres.replace("//postgres@", f"//{role.replace(' ', '%20')}@")
    return made


@pytest.mark.postgres
async def test_processes_share_the_guard(postgres: str) -> None:
    access = rules(RealClock().now)
    mine = partial(token, now=RealClock().now())
    async with opened(waiting(), postgres, clock=RealClock(), access=access) as one:
        await begun_now(one, ["c", "d", "e"])
        async with opened(waiting(), postgres, clock=RealClock()) as bare:
            with pytest.raises(AccessRefused, match="without the rules"):
                await bare.kill("all", token=mine(bare, "operator"))
        command = {"do": "decide", "case": "c", "task": "look", "choice": "approve"}
        signed = mine(one, "pricing", command=command)
        async with opened([], postgres, clock=RealClock(), access=access) as other:
            with pytest.raises(EngineError):
                await other.approve("c", "look", token=signed)  # it has not the case; the token is spent
            with pytest.raises(AccessRefused, match="used before"):
                await one.approve("c", "look", token=signed)
            await other.kill("net", "small", token=mine(other, "operator"))
        for _ in range(100):
            if one.read.counts() == {"killed": 3}:
                break
            await asyncio.sleep(0.02)
        assert one.read.counts() == {"killed": 3}
    assert len({x.who for x in Reader(postgres).access() if x.verdict == "allowed"}) == 2
    assert audit(postgres).clean
    import psycopg

    with psycopg.connect(postgres, autocommit=True) as connection:
        found = connection.execute("SELECT DISTINCT worker FROM provenet_access ORDER BY 1").fetchall()
        assert len(found) > 1
        connection.execute("DELETE FROM provenet_access WHERE worker = %s", found[0])
        connection.execute("DELETE FROM provenet_meta WHERE name = %s", (f"access:{found[0][0]}",))
    assert any("is not what process" in p.what for p in audit(postgres).problems)


async def begun_now(engine: Engine, cases: list[str]) -> None:
    """Cases that wait for a person, on the real clock."""
    deployed(engine, waiting())
    mine = token(engine, "operator", now=RealClock().now())
    await engine.start_cases("small", [(c, {"start": Item(id="a", n=1)}) for c in cases], token=mine)


@pytest.mark.postgres
@ATTACK(
    "kill by a role that may only ask",
    "refused without a token that allows it; nothing but requests is its to write",
)
async def test_a_role_that_may_only_post_requests(roles: dict[str, str]) -> None:
    access, mine = rules(RealClock().now), partial(token, now=RealClock().now())
    async with opened(waiting(), roles["engine"], clock=RealClock(), access=access) as engine:
        await begun_now(engine, ["c", "d"])
        command = {"do": "decide", "case": "c", "task": "look", "choice": "approve"}
        good = command | {"token": mine(engine, "pricing")}
        assert "dana@pricing" in (await in_thread(lambda: ask(roles["post"], good)))["done"]
        kill = {"do": "kill", "scope": "all", "target": ""}
        with pytest.raises(EngineError, match="takes a token"):
            await in_thread(lambda: ask(roles["post"], kill))
        with pytest.raises(EngineError, match="none of its roles"):
            await in_thread(lambda: ask(roles["post"], kill | {"token": mine(engine, "pricing")}))
        begin = asyncio.get_running_loop().time()
        await in_thread(lambda: ask(roles["post"], kill | {"token": mine(engine, "operator")}))
        assert asyncio.get_running_loop().time() - begin < 5
        assert engine.read.counts() == {"killed": 2}
    refused = [
        "SELECT command FROM provenet_request",
        "UPDATE provenet_request SET status = 'new'",
        "DELETE FROM provenet_request",
        "SELECT * FROM provenet_token",
        "SELECT * FROM provenet_access",
        "INSERT INTO provenet_kill (scope, target, who, reason, at) VALUES ('all', '', '', '', 0)",
        "UPDATE provenet_meta SET value = 'off' WHERE name = 'access'",
        "INSERT INTO provenet_meta VALUES ('seal:1', 'x')",
    ]
    denied(roles["post"], refused)
    denied(roles["read"], [*refused[:3], *refused[5:], "DELETE FROM provenet_event"])
    denied(roles["engine"], ["DELETE FROM provenet_access", "UPDATE provenet_access SET who = 'x'"])
    assert Reader(roles["read"]).counts() == {"killed": 2}
    assert audit(roles["read"]).clean
    with pytest.raises(StoreDenied):
        Reader(roles["post"]).counts()


def denied(url: str, statements: list[str]) -> None:
    """See to it that a role may do nothing of this."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_there_is_no_other_kind_of_role() -> None:
    with pytest.raises(EngineError, match="no kind of role"):
        grants("admin", "x")
    assert '"a""b"' in grants("read", 'a"b')[0]


@pytest.mark.postgres
async def test_a_token_is_enough_where_engines_that_run_know_the_rules(postgres: str) -> None:
    roles = ROLES | {"archive": Role(may=frozenset({"prune"}))}
    access, mine = rules(RealClock().now, roles=roles), partial(token, now=RealClock().now())
    async with opened(waiting(), postgres, clock=RealClock(), access=access) as engine:
        await begun_now(engine, ["c", "d"])
        look = {"do": "decide", "case": "c", "task": "look", "choice": "approve"}
        pricing, operator = mine(engine, "pricing"), mine(engine, "operator")
        answer = await in_thread(lambda: ask(postgres, look | {"token": pricing}))
        assert "dana@pricing" in answer["done"]
        stop = {"do": "kill", "scope": "all", "target": ""}
        with pytest.raises(EngineError, match="may 'kill:all'"):
            await in_thread(lambda: ask(postgres, stop | {"token": pricing}))
        await in_thread(lambda: ask(postgres, stop | {"token": operator}))
        with pytest.raises(AccessRefused, match="without the rules"):
            await in_thread(lambda: ask(postgres, stop))
        for _ in range(100):
            if engine.read.counts() == {"killed": 2}:
                break
            await asyncio.sleep(0.02)
        drop = {"do": "prune", "retention": Retention({"killed": timedelta(0)}).to_json()}
        drop |= {"token": mine(engine, "archive")}
        done = await in_thread(lambda: ask(postgres, drop, access=access))
        assert done["pruned"]["cases"] == 0  # something of them may still be in flight
    with pytest.raises(AccessRefused, match="without the rules"):
        await in_thread(lambda: ask(postgres, stop | {"token": operator}))
    assert audit(postgres).clean


@pytest.mark.postgres
async def test_turns_are_held_to_it_as_well(postgres: str) -> None:
    """Temporal and DBOS wake cases; who may do what does not depend on who wakes them."""
    access, mine = rules(RealClock().now), partial(token, now=RealClock().now())
    async with opened(waiting(), postgres, clock=RealClock(), access=access, takes="turns") as engine:
        deployed(engine, waiting())
        stepper = engine.stepper()
        cases = [(c, {"start": Item(id="a", n=1)}) for c in ("c", "d")]
        with pytest.raises(AccessRefused, match="takes a token"):
            [some async for some in stepper.start("small", cases)]
        shop = mine(engine, "shop")
        assert [some async for some in stepper.start("small", cases, token=shop)] == [["c", "d"]]
        command = {"do": "decide", "case": "c", "task": "look", "choice": "approve"}
        with pytest.raises(AccessRefused, match="takes a token"):
            await stepper.outside(command | {"who": "dana@pricing"})
        pricing = mine(engine, "pricing")
        done, _ = await stepper.outside(command | {"token": pricing})
        assert "dana@pricing" in done["done"]
        loop, left = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()
        told = lambda number: loop.call_soon_threadsafe(left.set_result, number)  # noqa: E731
        other = command | {"case": "d", "token": pricing}
        asking = asyncio.create_task(in_thread(lambda: post(postgres, other, told)))
        assert await stepper.request(await left) == "d"
        assert "dana@pricing" in (await asking)["done"]
    assert audit(postgres).clean


async def test_four_eyes_take_two_tokens(tmp_path: Path) -> None:
    agent = four_eyed()
    async with opened(agent, tmp_path / "x.db", access=rules()) as engine:
        deployed(engine, agent)
        mine = partial(token, engine, "pricing")
        await engine.start_case(
            "eyes", inputs={"start": Item(id="a", n=1)}, case_id="c", token=token(engine, "operator")
        )
        assert (await engine.decide("c", "look", "approve", token=mine())).missing == 1
        with pytest.raises(DecisionRefused):
            await engine.decide("c", "look", "approve", token=mine())
        with pytest.raises(AccessRefused):
            await engine.decide("c", "look", "approve", "erin@pricing", token=mine())
        assert (await engine.decide("c", "look", "approve", token=mine(name="erin"))).missing == 0
    assert audit(tmp_path / "x.db").clean


def four_eyed() -> Agent:
    def make(net: NetBuilder) -> None:
        start, yes, no = net.entry("start", Item), net.final("yes", Item), net.final("no", Item)
        net.add(
            Human("look", takes=start, approve=yes, deny=no, who="pricing", within=timedelta(days=2), eyes=2)
        )

    return built(make, "eyes")


async def test_who_decides_in_the_place_of_another_brings_a_token(tmp_path: Path) -> None:
    access = rules(
        roles=ROLES | {"pricing": Role(may=frozenset({"decide", "delegate"}))} | {"legal": DECIDES}
    )
    async with opened(waiting(), tmp_path / "x.db", access=access) as engine:
        await begun(engine)
        erin = token(engine, "legal", name="erin")
        with pytest.raises(DecisionRefused):
            await engine.decide("c", "look", "approve", token=erin)
        with pytest.raises(AccessRefused):
            await engine.delegate("c", "look", to="erin@legal", token=erin)
        await engine.delegate("c", "look", to="erin@legal", token=token(engine, "pricing"))
        assert (await engine.decide("c", "look", "approve", token=erin)).who == "erin@legal"
    assert audit(tmp_path / "x.db").clean


DECIDES = Role(may=frozenset({"decide"}))
