"""The outside world: one effect for each key, whatever fails, and a ledger that can tell."""

from __future__ import annotations

import asyncio
import http.client
import json
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenet.examples.contract_renewal.client import (
    OutsideClient,
    Receipt,
    ServiceError,
    ServiceRefused,
    ServiceTimeout,
    ServiceUnavailable,
)
from provenet.examples.contract_renewal.faults import Fault, Faults
from provenet.examples.contract_renewal.ledger import ExpectedEffect, Ledger
from provenet.examples.contract_renewal.policy_data import POLICY_V7
from provenet.examples.contract_renewal.services import OutsideProcess, OutsideWorld, OutsideWorldError
from provenet.nets.errors import ProvenetError


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OutsideWorld]:
    with OutsideWorld(tmp_path / "outside.db") as running:
        yield running


async def offer(client: OutsideClient, key: str, case: str = "r-1", pct: int = 10) -> Receipt:
    return await client.apply_offer(key=key, case_id=case, customer="c", discount_pct=pct, term_months=12)


async def insist(client: OutsideClient, key: str, case: str = "r-1", tries: int = 8) -> Receipt:
    """Repeat with the same key, as an engine does, until the effect is known to be done."""
    for _ in range(tries):
        try:
            return await offer(client, key, case)
        except ServiceError as error:
            if not error.retryable:
                raise
    raise AssertionError(f"{key} did not get through in {tries} tries")


def raw_post(
    url: str, path: str, body: bytes, *, key: str | None = "k", method: str = "POST"
) -> tuple[int, str]:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=5)
    try:
        connection.request(method, path, body, {} if key is None else {"Idempotency-Key": key})
        answer = connection.getresponse()
        return answer.status, str(json.loads(answer.read())["error"])
    finally:
        connection.close()


# ------------------------------------------------------------------------------------- properties


@given(seed=st.integers(), key=st.text(max_size=20), attempt=st.integers(1, 9), before=st.integers(0, 4))
def test_a_fault_depends_on_seed_key_and_attempt_only(seed: int, key: str, attempt: int, before: int) -> None:
    faults = Faults(seed=seed, fail_before=0.2, fail_after=0.2, hang=0.2, twice=0.2)
    for n in range(before):
        faults.decide("another", n)
    again = Faults(seed=seed, fail_before=0.2, fail_after=0.2, hang=0.2, twice=0.2)
    assert faults.decide(key, attempt) == again.decide(key, attempt)
    if attempt > faults.worst_streak:
        assert faults.decide(key, attempt) is Fault.NONE


def test_faults_come_at_the_stated_rates() -> None:
    faults = Faults(seed=3, fail_before=0.1, fail_after=0.05, hang=0.2, twice=0.15, refuse=0.1)
    met = Counter(faults.decide(f"k{n}", 1) for n in range(20_000))
    shares = {fault: count / 20_000 for fault, count in met.items()}
    left = 0.9  # what is not refused
    wanted = {
        Fault.REFUSE: 0.1,
        Fault.FAIL_BEFORE: 0.1 * left,
        Fault.FAIL_AFTER: 0.05 * left,
        Fault.HANG_AFTER: 0.1 * left,
        Fault.HANG_BEFORE: 0.1 * left,
        Fault.TWICE: 0.15 * left,
        Fault.NONE: 0.5 * left,
    }
    assert shares == pytest.approx(wanted, abs=0.01)


@pytest.mark.parametrize("rates", [{"fail_before": 1.5}, {"hang": -0.1}, {"fail_after": 0.7, "twice": 0.7}])
def test_impossible_rates_are_refused(rates: dict[str, float]) -> None:
    with pytest.raises(ProvenetError, match=r"expected|add up"):
        Faults(**rates)  # type: ignore[arg-type]


@given(
    expected=st.lists(st.integers(0, 30), unique=True, max_size=12),
    lost=st.integers(0, 3),
    extra=st.integers(0, 3),
    again=st.integers(0, 3),
)
def test_reconcile_counts_what_was_tampered_with(
    tmp_path_factory: pytest.TempPathFactory, expected: list[int], lost: int, extra: int, again: int
) -> None:
    """Take a world that did all that was expected, tamper with its ledger, and the report says how much."""
    path = tmp_path_factory.mktemp("ledger") / "outside.db"
    with OutsideWorld(path):
        pass
    lost = min(lost, len(expected))
    again = min(again, len(expected) - lost)
    rows = [(f"k{n}", f"r-{n}", "{}") for n in expected[lost:]]
    rows += [(f"k{n}-again", f"r-{n}", "{}") for n in expected[lost : lost + again]]
    rows += [(f"x{n}", f"r-x{n}", '{"x":1}') for n in range(extra)]
    with sqlite3.connect(path) as db:
        db.executemany(
            "INSERT INTO effects (key, case_id, request, service, verb, fingerprint, answer, at)"
            """ VALUES (?, ?, ?, 'crm', 'draft', 'f', '{"status": "created"}', 0)""",
            rows,
        )
    db.close()
    with Ledger(path) as ledger:
        report = ledger.reconcile(ExpectedEffect(f"r-{n}", "crm", "draft", f"k{n}") for n in expected)
        assert (len(report.lost), len(report.doubled), len(report.unexpected)) == (lost, again, extra)
        assert report.matched == len(expected) - lost
        assert report.clean == (lost == again == extra == 0)
        assert len(ledger.doubled()) == again
        loose = ledger.reconcile(ExpectedEffect(f"r-{n}", "crm", "draft") for n in expected)
        assert (len(loose.lost), len(loose.doubled), len(loose.unexpected)) == (lost, again, extra)


# -------------------------------------------------------------------------------- effects and keys


async def test_every_endpoint_does_its_effect_in_commit_order(world: OutsideWorld) -> None:
    async with OutsideClient(world.url) as client:
        draft = await client.create_draft(key="d", case_id="r-1", customer="c", plan="basic", term_months=24)
        await offer(client, "o", pct=90)  # the world knows no policy
        await client.send_email(key="e", case_id="r-1", to="c", template="offer", values={"pct": 90})
        await client.revert_offer(key="ro", case_id="r-1", undoes="o")
        await client.withdraw_draft(key="wd", case_id="r-1", undoes="d")
    assert (draft.status, draft.answered) == ("created", "first")
    assert draft.reference.startswith("crm-")
    with Ledger(world.db_path) as ledger:
        assert [e.kind for e in ledger.effects("r-1")] == [
            ("crm", "draft"),
            ("billing", "offer"),
            ("email", "send"),
            ("billing", "revert"),
            ("crm", "withdraw"),
        ]
        assert set(ledger.counts().values()) == {1}
        assert ledger.effects("r-1")[1].request["discount_pct"] == 90
        assert ledger.outstanding() == ()


async def test_a_repeat_gets_the_first_answer_and_is_counted(world: OutsideWorld) -> None:
    async with OutsideClient(world.url) as client:
        first = await offer(client, "o")
        again = [await offer(client, "o") for _ in range(3)]
    assert {r.reference for r in again} == {first.reference}
    assert {r.answered for r in again} == {"again"}
    with Ledger(world.db_path) as ledger:
        assert ledger.counts() == {("billing", "offer"): 1}
        assert ledger.repeats() == 3


async def test_the_same_key_at_the_same_instant_does_one_effect(world: OutsideWorld) -> None:
    async with OutsideClient(world.url) as client:
        receipts = await asyncio.gather(*[offer(client, "o") for _ in range(40)])
    assert Counter(r.answered for r in receipts) == {"first": 1, "again": 39}
    with Ledger(world.db_path) as ledger:
        assert ledger.counts() == {("billing", "offer"): 1}


async def test_a_key_does_not_serve_for_another_request(world: OutsideWorld) -> None:
    async with OutsideClient(world.url) as client:
        await offer(client, "o", pct=10)
        with pytest.raises(ServiceRefused, match="used before") as caught:
            await offer(client, "o", pct=20)
    assert caught.value.status == 422


async def test_a_second_key_for_the_same_effect_is_a_doubled_effect(world: OutsideWorld) -> None:
    async with OutsideClient(world.url) as client:
        await offer(client, "o1")
        await offer(client, "o2")
        await offer(client, "o3", pct=20)  # another offer, not a double
    with Ledger(world.db_path) as ledger:
        assert [e.key for e in ledger.doubled()] == ["o2"]
        report = ledger.reconcile([ExpectedEffect("r-1", "billing", "offer", "o1")])
    assert ([e.key for e in report.doubled], [e.key for e in report.unexpected]) == (["o2"], ["o3"])
    assert "1 matched, 0 lost, 1 doubled, 1 unexpected" in str(report)
    assert "key=o2" in str(report)


async def test_an_expectation_of_another_kind_is_lost(world: OutsideWorld) -> None:
    async with OutsideClient(world.url) as client:
        await offer(client, "o")
    with Ledger(world.db_path) as ledger:
        report = ledger.reconcile([ExpectedEffect("r-1", "crm", "draft", "o")])
    assert (len(report.lost), len(report.unexpected)) == (1, 1)


# ----------------------------------------------------------------------------------- compensation


async def test_what_was_not_undone_is_outstanding(world: OutsideWorld) -> None:
    async with OutsideClient(world.url) as client:
        await offer(client, "o", case="r-1")
        await offer(client, "p", case="r-2")
        await client.revert_offer(key="ro", case_id="r-1", undoes="o")
    with Ledger(world.db_path) as ledger:
        assert [e.key for e in ledger.outstanding()] == ["p"]
        assert ledger.outstanding("r-1") == ()


async def test_undoing_what_never_arrived_keeps_it_from_arriving_late(world: OutsideWorld) -> None:
    async with OutsideClient(world.url) as client:
        undone = await client.revert_offer(key="ro", case_id="r-1", undoes="o")
        with pytest.raises(ServiceRefused, match="undone before it arrived"):
            await offer(client, "o")
    assert undone.status == "nothing_to_undo"
    with Ledger(world.db_path) as ledger:
        assert ledger.counts() == {("billing", "revert"): 1}


async def test_undoing_twice_is_told_and_shows_in_the_ledger(world: OutsideWorld) -> None:
    async with OutsideClient(world.url) as client:
        await offer(client, "o")
        await client.revert_offer(key="ro1", case_id="r-1", undoes="o")
        again = await client.revert_offer(key="ro2", case_id="r-1", undoes="o")
    assert again.status == "already_undone"
    with Ledger(world.db_path) as ledger:
        assert [e.key for e in ledger.doubled()] == ["ro2"]


@pytest.mark.parametrize("case", ["r-2", "r-1"])
async def test_only_an_effect_of_its_own_kind_and_case_can_be_undone(world: OutsideWorld, case: str) -> None:
    async with OutsideClient(world.url) as client:
        await offer(client, "o", case="r-1")
        undo = client.withdraw_draft if case == "r-1" else client.revert_offer
        with pytest.raises(ServiceRefused, match="of this case"):
            await undo(key="w", case_id=case, undoes="o")


# --------------------------------------------------------------------------------------- refusals

OFFER = json.dumps({"case_id": "r-1", "customer": "c", "discount_pct": 1, "term_months": 12}).encode()


@pytest.mark.parametrize(
    ("path", "body", "key", "method", "status", "says"),
    [
        ("/billing/offers", OFFER, None, "POST", 400, "Idempotency-Key"),
        ("/billing/offers", OFFER, "", "POST", 400, "Idempotency-Key"),
        ("/billing/offers", OFFER, "a b", "POST", 400, "Idempotency-Key"),
        ("/billing/offers", OFFER, "k" * 201, "POST", 400, "Idempotency-Key"),
        ("/billing/offers", b"{", "k", "POST", 400, "not JSON"),
        ("/billing/offers", b"\xff", "k", "POST", 400, "not JSON"),
        ("/billing/offers", b"[" * 100_000, "k", "POST", 400, "not JSON"),
        ("/billing/offers", b'{"a": NaN}', "k", "POST", 400, "not JSON"),
        ("/billing/offers", b"[]", "k", "POST", 400, "JSON object"),
        ("/billing/offers", OFFER.replace(b": 1,", b": 101,"), "k", "POST", 400, "0 to 100"),
        ("/billing/offers", OFFER.replace(b": 1,", b": true,"), "k", "POST", 400, "0 to 100"),
        ("/billing/offers", OFFER.replace(b"r-1", b"\\ud800"), "k", "POST", 400, "case_id"),
        ("/billing/offers", OFFER.replace(b"customer", b"buyer"), "k", "POST", 400, "got nothing"),
        ("/billing/offers", b"x" * 300_000, "k", "POST", 413, "too large"),
        ("/nowhere", OFFER, "k", "POST", 404, "/crm/drafts"),
        ("/billing/offers", b"", "k", "GET", 405, "POST"),
    ],
)
def test_a_request_that_is_not_in_order_is_refused_and_does_nothing(
    world: OutsideWorld, *, path: str, body: bytes, key: str | None, method: str, status: int, says: str
) -> None:
    got, error = raw_post(world.url, path, body, key=key, method=method)
    assert (got, says in error) == (status, True), error
    with Ledger(world.db_path) as ledger:
        assert ledger.counts() == {}


async def test_a_refusal_names_field_expected_and_got(world: OutsideWorld) -> None:
    async with OutsideClient(world.url) as client:
        with pytest.raises(ServiceRefused) as caught:
            await offer(client, "o", pct=400)
    error = caught.value
    assert (error.field, error.expected, error.got) == ("discount_pct", "a whole number from 0 to 100", "400")
    assert (error.retryable, error.fate) == (False, "not_done")


async def test_a_key_that_would_inject_a_header_is_refused_by_the_client(world: OutsideWorld) -> None:
    async with OutsideClient(world.url) as client:
        with pytest.raises(ServiceRefused, match="no header carries"):
            await offer(client, "k\r\nX-Evil: 1")


@pytest.mark.parametrize(
    "stream",
    [b"nonsense\r\n\r\n", b"POST /email HTTP/1.1\r\nbad\r\n\r\n", b"A" * 20_000, b"\x16\x03\x01\r\n\r\n"],
)
async def test_a_stream_that_is_not_http_gets_one_error_and_the_door(
    world: OutsideWorld, stream: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(world.url.rsplit(":", 1)[1]))
    writer.write(stream)
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 4")
    writer.close()
    await writer.wait_closed()


async def test_requests_in_small_pieces_and_pipelined_are_answered_in_order(world: OutsideWorld) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(world.url.rsplit(":", 1)[1]))
    wire = b"".join(
        b"POST /billing/offers HTTP/1.1\r\nIdempotency-Key: k%d\r\nContent-Length: %d\r\n\r\n%s"
        % (n, len(OFFER), OFFER)
        for n in (1, 1, 2)
    )
    for at in range(0, len(wire), 37):
        writer.write(wire[at : at + 37])
        await asyncio.sleep(0)
    seen = []
    for _ in range(3):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        seen.append((head.split(b" ")[1], b"Replayed" in head))
    writer.close()
    await writer.wait_closed()
    assert seen == [(b"201", False), (b"200", True), (b"201", False)]


async def test_a_long_pipeline_is_answered_whole(world: OutsideWorld) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(world.url.rsplit(":", 1)[1]))
    writer.write(
        b"GET /health HTTP/1.1\r\n\r\n" * 4_999 + b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n"
    )
    assert (await reader.read(-1)).count(b'{"status": "ok"}') == 5_000
    writer.close()
    await writer.wait_closed()


# ----------------------------------------------------------------------------------------- faults


async def test_a_failure_before_the_effect_did_nothing(tmp_path: Path) -> None:
    with OutsideWorld(tmp_path / "o.db", faults=Faults(fail_before=1.0, worst_streak=2)) as world:
        async with OutsideClient(world.url) as client:
            with pytest.raises(ServiceUnavailable) as caught:
                await offer(client, "o")
            with Ledger(world.db_path) as ledger:
                assert ledger.counts() == {}
            assert (await insist(client, "o")).answered == "first"
    assert (caught.value.status, caught.value.retryable) == (503, True)


async def test_a_failure_after_the_effect_loses_the_answer_only(tmp_path: Path) -> None:
    with OutsideWorld(tmp_path / "o.db", faults=Faults(fail_after=1.0, worst_streak=1)) as world:
        async with OutsideClient(world.url) as client:
            with pytest.raises(ServiceUnavailable) as caught:
                await offer(client, "o")
            assert (await offer(client, "o")).answered == "again"
        with Ledger(world.db_path) as ledger:
            assert ledger.counts() == {("billing", "offer"): 1}
    assert (caught.value.status, caught.value.fate) == (500, "unknown")


async def test_a_hang_is_a_time_out_and_the_late_effect_is_absorbed(tmp_path: Path) -> None:
    faults = Faults(hang=1.0, worst_streak=1, hang_seconds=0.25)
    keys = [f"o{n}" for n in range(12)]
    assert {faults.decide(k, 1) for k in keys} == {Fault.HANG_BEFORE, Fault.HANG_AFTER}
    with OutsideWorld(tmp_path / "o.db", faults=faults) as world:
        async with OutsideClient(world.url, timeout=0.1) as client:
            outcomes = await asyncio.gather(*[offer(client, k, case=k) for k in keys], return_exceptions=True)
            assert {type(o) for o in outcomes} == {ServiceTimeout}
            for k in keys:
                await insist(client, k, case=k)
            await asyncio.sleep(0.4)  # until the late ones have come
            assert (await offer(client, keys[0], case=keys[0])).answered == "again"
        with Ledger(world.db_path) as ledger:
            late = sum(faults.decide(k, 1) is Fault.HANG_BEFORE for k in keys)
            assert ledger.counts() == {("billing", "offer"): len(keys)}
            assert ledger.faults()["late"] == late
            assert ledger.doubled() == ()


async def test_a_request_undone_while_it_hangs_stays_undone(tmp_path: Path) -> None:
    faults = Faults(hang=1.0, worst_streak=1, hang_seconds=0.2)
    key = next(f"o{n}" for n in range(99) if faults.decide(f"o{n}", 1) is Fault.HANG_BEFORE)
    with OutsideWorld(tmp_path / "o.db", faults=faults) as world:
        async with OutsideClient(world.url, timeout=0.05) as client:
            with pytest.raises(ServiceTimeout):
                await offer(client, key)
            for _ in range(2):
                try:
                    await client.revert_offer(key="ro", case_id="r-1", undoes=key)
                except ServiceTimeout:
                    continue
            await asyncio.sleep(0.3)
        with Ledger(world.db_path) as ledger:
            assert ledger.counts() == {("billing", "revert"): 1}
            assert ledger.outstanding() == ()


async def test_a_request_delivered_twice_does_one_effect(tmp_path: Path) -> None:
    with OutsideWorld(tmp_path / "o.db", faults=Faults(twice=1.0)) as world:
        async with OutsideClient(world.url) as client:
            assert (await offer(client, "o")).answered == "first"
        with Ledger(world.db_path) as ledger:
            assert ledger.counts() == {("billing", "offer"): 1}
            assert ledger.deliveries() == {"performed": 1, "repeat": 1}


async def test_a_refusal_for_good_spares_compensations_and_mail(tmp_path: Path) -> None:
    with OutsideWorld(tmp_path / "o.db", faults=Faults(refuse=1.0)) as world:
        async with OutsideClient(world.url) as client:
            for _ in range(5):  # for good: no number of attempts helps
                with pytest.raises(ServiceRefused, match="declines"):
                    await offer(client, "o")
            await client.revert_offer(key="ro", case_id="r-1", undoes="o")
            await client.send_email(key="e", case_id="r-1", to="c", template="sorry")


async def test_a_storm_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    """All faults at once, hundreds of keys, each repeated with its key until done, in shuffled order."""
    faults = Faults(seed=11, fail_before=0.15, fail_after=0.15, hang=0.1, twice=0.1, hang_seconds=0.3)
    keys = [f"k{n}" for n in range(400)]
    random.Random(5).shuffle(keys)
    path = tmp_path / "o.db"
    with OutsideWorld(path, faults=faults) as world:
        async with OutsideClient(world.url, timeout=0.15, connections=100) as client:
            await asyncio.gather(*[insist(client, k, case=f"r-{k}") for k in keys])
        await asyncio.sleep(0.4)
    with Ledger(path) as ledger:
        report = ledger.reconcile(ExpectedEffect(f"r-{k}", "billing", "offer", k) for k in keys)
        assert report.clean, str(report)
        assert {"fail_before", "fail_after", "hang_after", "hang_before", "twice"} <= ledger.faults().keys()
        assert ledger.repeats() > 50
    # the same victims as computed beforehand, whatever the order of arrival
    met = {key: fault for key, fault in ledger_faults(path) if fault != "none"}
    assert met == {k: str(f) for k in keys if (f := faults.decide(k, 1)) is not Fault.NONE}


def ledger_faults(path: Path) -> list[tuple[str, str]]:
    db = sqlite3.connect(path)
    try:
        return db.execute("SELECT key, fault FROM deliveries WHERE attempt = 1").fetchall()
    finally:
        db.close()


# -------------------------------------------------------------------------------------- the client


async def test_nobody_there_is_unavailable_and_certainly_not_done(tmp_path: Path) -> None:
    with OutsideWorld(tmp_path / "o.db") as world:
        url = world.url
    async with OutsideClient(url) as client:
        with pytest.raises(ServiceUnavailable, match="nobody answers") as caught:
            await offer(client, "o")
    assert caught.value.fate == "not_done"


async def test_a_service_that_goes_away_cuts_and_a_new_one_serves(tmp_path: Path) -> None:
    first = OutsideWorld(tmp_path / "o.db")
    port = int(first.start().rsplit(":", 1)[1])
    async with OutsideClient(first.url) as client:
        await offer(client, "o")
        first.stop()
        with pytest.raises(ServiceUnavailable):
            await offer(client, "o")
        with OutsideWorld(tmp_path / "o.db", port=port):
            assert (await insist(client, "o")).answered == "again"


async def test_a_cancelled_call_does_not_leave_its_answer_to_the_next(tmp_path: Path) -> None:
    faults = Faults(hang=1.0, worst_streak=1, hang_seconds=0.1)
    key = next(f"o{n}" for n in range(99) if faults.decide(f"o{n}", 1) is Fault.HANG_AFTER)
    with OutsideWorld(tmp_path / "o.db", faults=faults) as world:
        async with OutsideClient(world.url, connections=1) as client:
            call = asyncio.create_task(offer(client, key))
            await asyncio.sleep(0.05)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            replayed = await offer(client, key)
            await asyncio.sleep(0.15)
            later = await offer(client, key)
    assert (replayed.answered, later) == ("again", replayed)


@pytest.mark.parametrize("url", ["https://127.0.0.1:1", "127.0.0.1:80", "http://127.0.0.1", ""])
def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(ProvenetError, match="not the URL"):
        OutsideClient(url)


# ------------------------------------------------------------------------- processes and durability


async def test_acknowledged_effects_survive_sigkill_of_the_service(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    acknowledged: list[str] = []
    for life in range(3):
        process = OutsideProcess(path)
        async with OutsideClient(process.start()) as client:

            async def work(
                worker: int,
                client: OutsideClient = client,
                process: OutsideProcess = process,
                life: int = life,
            ) -> None:
                for n in range(10_000):
                    key = f"{life}-{worker}-{n}"
                    try:
                        await offer(client, key, case=key)
                    except ServiceUnavailable:
                        return
                    acknowledged.append(key)
                    if len(acknowledged) == 300 * (life + 1):
                        process.kill()

            await asyncio.gather(*[work(n) for n in range(16)])
        process.stop()
    assert len(acknowledged) >= 900
    with Ledger(path) as ledger:
        done = [e.key for e in ledger.effects()]
    assert set(acknowledged) <= set(done)
    assert len(set(done)) == len(done)
    # What was done and not acknowledged was in flight: at most one request of each worker and life.
    assert len(done) - len(acknowledged) <= 16 * 3


def test_attempts_go_on_counting_after_a_restart(tmp_path: Path) -> None:
    faults = Faults(fail_before=1.0, worst_streak=2)

    async def once(url: str) -> int:
        async with OutsideClient(url) as client:
            try:
                await offer(client, "o")
            except ServiceUnavailable as error:
                return error.status
            return 0

    statuses = []
    for _ in range(3):
        with OutsideProcess(tmp_path / "o.db", faults=faults) as world:
            statuses.append(asyncio.run(once(world.url)))
    assert statuses == [503, 503, 0]


def test_the_process_ends_with_whoever_started_it(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from provenet.examples.contract_renewal.services import OutsideProcess\n"
        "world = OutsideProcess(sys.argv[1])\n"
        "print(world.start(), world.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "o.db")], capture_output=True, text=True, check=False
    )
    url = ran.stdout.split()[0]
    end = time.monotonic() + 10
    while time.monotonic() < end:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=1)
        try:
            connection.request("GET", "/health")
            connection.getresponse().read()
        except OSError:
            return
        finally:
            connection.close()
        time.sleep(0.02)
    pytest.fail("the outside world outlived its parent")


@pytest.mark.parametrize(
    "options", [["--fail-before", "7"], ["--db", "no/such/folder/o.db"], ["--port", "99999"]]
)
def test_the_command_line_refuses_without_a_traceback(tmp_path: Path, options: list[str]) -> None:
    command = [sys.executable, "-m", "provenet.examples.contract_renewal.services", "--db", "o.db", *options]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "Traceback" not in ran.stderr
    assert ran.stderr.strip()


def test_a_process_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(OutsideWorldError, match="cannot be opened"):
        OutsideProcess(tmp_path / "no" / "o.db").start()


def test_a_foreign_or_broken_database_is_left_alone(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as db:
        db.execute("CREATE TABLE precious (x)")
    db.close()
    junk = tmp_path / "junk.db"
    junk.write_bytes(b"not a database, and long enough to be looked at" * 50)
    before = foreign.read_bytes(), junk.read_bytes()
    for path in (foreign, junk):
        with pytest.raises(OutsideWorldError):
            OutsideWorld(path).start()
        with pytest.raises(OutsideWorldError):
            Ledger(path)
    assert (foreign.read_bytes(), junk.read_bytes()) == before
    with pytest.raises(OutsideWorldError, match="no such"):
        Ledger(tmp_path / "absent.db")


def test_a_port_in_use_is_told(world: OutsideWorld, tmp_path: Path) -> None:
    with pytest.raises(OutsideWorldError, match="cannot be had"):
        OutsideWorld(tmp_path / "second.db", port=int(world.url.rsplit(":", 1)[1])).start()


async def test_a_ledger_that_cannot_write_acknowledges_nothing(world: OutsideWorld) -> None:
    """A full disk shows as an SQLite error; so does a table that a vandal dropped."""
    async with OutsideClient(world.url) as client:
        await offer(client, "o1")
        db = sqlite3.connect(world.db_path)
        db.execute("ALTER TABLE deliveries RENAME TO hidden")
        with pytest.raises(ServiceUnavailable, match="the ledger refused"):
            await offer(client, "o2")
        db.execute("ALTER TABLE hidden RENAME TO deliveries")
        db.close()
        with Ledger(world.db_path) as ledger:
            assert [e.key for e in ledger.effects()] == ["o1"]
        assert (await offer(client, "o2")).answered == "first"


async def test_two_thousand_effects_for_a_second_of_one_core(world: OutsideWorld) -> None:
    """Client and world together; processor time, since whoever shares the machine is not our business."""
    async with OutsideClient(world.url) as client:

        async def work(worker: int) -> None:
            for n in range(50):
                await offer(client, f"{worker}-{n}", case=f"{worker}-{n}")

        start = time.process_time()
        await asyncio.gather(*[work(n) for n in range(40)])
        assert time.process_time() - start < 1.0
    with Ledger(world.db_path) as ledger:
        assert ledger.counts() == {("billing", "offer"): 2_000}


# ------------------------------------------------------------------------------------ policy data


def test_policy_v7() -> None:
    discount = POLICY_V7.discount
    assert (discount.ceiling("C-001"), discount.ceiling("C-012"), discount.ceiling("x")) == (35, 40, 30)
    assert discount.warn_pct < discount.max_pct < discount.escalate_pct
    assert POLICY_V7.calendar.since_window(POLICY_V7.calendar.scoring).days == 30
    with pytest.raises(TypeError):
        discount.overrides["C-002"] = 99  # type: ignore[index]
