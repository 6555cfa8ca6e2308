"""`deploy`, `run`, and everything that reads or acts on a database."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, ledger


def test_the_life_of_cases(cli: Cli, ran: Path) -> None:
    tasks = cli("tasks", "--db", "x.db", "--json").json
    assert [t["case"] for t in tasks] == ["bert", "cleo", "dora"]
    assert cli("approve", "bert", "--as", "dana@pricing", "--db", "x.db").code == 0
    assert cli("reject", "dora", "--as", "dana@pricing", "--db", "x.db").code == 0
    assert cli("kill", "cleo", "--as", "boss", "--db", "x.db").code == 0
    # Nothing reaches the outside but through `run`, which has the agent.
    assert ledger(ran) == ["publish anna 10"]
    again = cli("run", "offers.py", "--db", "x.db", "--json")
    assert again.json["statuses"] == {"done": 3, "killed": 1}
    assert ledger(ran) == ["publish anna 10", "publish bert 35"]
    cases = {c["id"]: c for c in cli("cases", "--db", "x.db", "--json").json["cases"]}
    assert cases["bert"]["outcome"] == {"customer": "bert", "discount_pct": 35}
    assert cases["dora"]["outcome_place"] == "dropped"
    audited = cli("audit", "--db", "x.db", "--json")
    assert (audited.code, audited.json["clean"], audited.json["cases"]) == (0, True, 4)


def test_reading(cli: Cli, ran: Path) -> None:
    listed = cli("cases", "--db", "x.db")
    assert "4 cases: 1 done, 3 waiting" in listed.out
    case = cli("case", "bert", "--db", "x.db")
    assert 'waiting for a person: "approve offer" (pricing)' in case.out
    assert case.out.count("REJECTED") == 3
    assert cli("case", "bert", "--db", "x.db", "--json").json["case"]["status"] == "waiting"
    digest = cli("case", "bert", "--db", "x.db", "--json").json["case"]["net_hash"]
    for net in ("offers", digest, digest[:8]):
        some = cli("cases", "--net", net, "--status", "waiting", "--db", "x.db", "--json")
        assert [c["id"] for c in some.json["cases"]] == ["bert", "cleo", "dora"]
    log = cli("log", "bert", "--db", "x.db", "--json").json
    assert [x["seq"] for x in log] == list(range(1, len(log) + 1))
    assert len({x["hash"] for x in log}) == len(log)
    lines = cli("export", "--db", "x.db").out.splitlines()
    assert sorted(json.loads(x)["case"]["id"] for x in lines) == ["anna", "bert", "cleo", "dora"]
    assert cli("export", "--db", "x.db", "--case", "anna", "-o", "a.jsonl", "--json").json["cases"] == 1


def test_a_second_import_is_harmless(cli: Cli, ran: Path) -> None:
    said = cli("run", "offers.py", "--db", "x.db", "--input", "in.csv")
    assert "started 0 cases, 4 were there before" in said.out
    assert ledger(ran) == ["publish anna 10"]


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (("approve", "bert", "--as", "dana@sales"), 1, "takes the role 'pricing'"),
        (("approve", "bert", "--as", "nobody"), 1, "takes the role 'pricing'"),
        (("approve", "anna", "--as", "dana@pricing"), 1, "no open task"),
        (("approve", "nonesuch", "--as", "dana@pricing"), 2, "no case 'nonesuch'"),
        (
            ("approve", "bert", "--as", "d@pricing", "--task", "approve ofer"),
            1,
            'did you mean "approve offer"?',
        ),
        (("approve", "bert", "--as", "d@pricing", "--choice", "perhaps"), 1, "no choice 'perhaps'"),
        (("approve", "bert", "--as", "d@pricing", "--about", "0123"), 1, "about something else"),
        (("approve", "bert", "--as", "d@pricing", "--note", "{"), 2, "no JSON"),
        (("signal", "bert", "corect", "{}"), 1, 'did you mean "correct"?'),
        (("signal", "bert", "correct", '{"customer": 1}'), 1, "payload does not fit"),
        (("signal", "anna", "correct", "{}"), 1, "does not move"),
        (("signal", "bert", "correct", "{"), 2, "no JSON"),
        (("kill",), 2, "say what to kill"),
        (("kill", "bert", "--all"), 2, "say what to kill"),
        (("kill", "anna"), 1, "does not move"),
        (("kill", "bert", "--release"), 2, "stays killed"),
        (("resume", "bert"), 1, "is not parked"),
        (("case", "nonesuch"), 2, "no case 'nonesuch'"),
        (("log", "nonesuch"), 2, "no case 'nonesuch'"),
        (("cases", "--status", "don"), 2, 'did you mean "done"?'),
        (("cases", "--status", "zz"), 2, "there are: done, failed, killed, parked, running, waiting"),
        (("cases", "--net", "ofers"), 2, 'did you mean "offers"?'),
        (("cases", "--net", "zz"), 2, "there are: offers"),
        (("cases", "--net", ""), 2, "there is no net ''"),
        (("kill", "--net", "ofers"), 2, 'did you mean "offers"?'),
        (("kill", "--net", "zz", "--release"), 2, "there is no net 'zz'"),
    ],
)
def test_refusals(cli: Cli, ran: Path, words: tuple[str, ...], code: int, expected: str) -> None:
    said = cli(*words, "--db", "x.db")
    assert expected in said.err
    assert said.code == code
    assert "Traceback" not in said.err
    assert len(cli("tasks", "--db", "x.db", "--json").json) == 3


def test_a_signal_reaches_its_case_and_what_is_decided_is_what_it_says_now(cli: Cli, ran: Path) -> None:
    (before,) = (t for t in cli("tasks", "--db", "x.db", "--json").json if t["case"] == "bert")
    assert (
        cli("signal", "bert", "correct", '{"customer": "bert", "discount_pct": 33}', "--db", "x.db").code == 0
    )
    stale = cli("approve", "bert", "--as", "d@pricing", "--about", before["about_hash"], "--db", "x.db")
    assert stale.code == 1
    assert cli("approve", "bert", "--as", "d@pricing", "--db", "x.db").code == 0
    cli("run", "offers.py", "--db", "x.db")
    assert "publish bert 33" in ledger(ran)


def test_killing_the_net_stops_new_cases_until_it_is_released(cli: Cli, ran: Path) -> None:
    assert cli("kill", "--net", "offers", "--as", "boss", "--db", "x.db", "--json").json["cases"] == 3
    (ran / "more.csv").write_text("id,wants\nemil,5\n", encoding="utf-8")
    refused = cli("run", "offers.py", "--db", "x.db", "--input", "more.csv")
    assert refused.code == 1
    assert "was killed" in refused.err
    assert cli("kill", "--net", "offers", "--release", "--db", "x.db").code == 0
    assert cli("run", "offers.py", "--db", "x.db", "--input", "more.csv").code == 0
    assert "publish emil 5" in ledger(ran)


def test_what_is_exported_is_a_net_or_cases(cli: Cli, ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVENET_DB", "x.db")
    assert [json.loads(line)["case"]["id"] for line in cli("export", "--case", "bert").out.splitlines()] == [
        "bert"
    ]
    assert cli("export", "offers.py", "-o", "net.json").code == 0
    assert cli("export", "offers.py", "--db", "x.db").code == 2
    assert cli("export", "offers.py", "--case", "bert").code == 2


def test_deploy_refuses_what_is_not_proved_and_says_which_and_why(cli: Cli, folder: Path) -> None:
    said = cli("deploy", "offers.py:loose", "--db", "x.db", "--json")
    assert said.code == 1
    assert said.json["error"]["code"] == "EN410"
    assert any(r.startswith("never REFUTED") for r in said.json["error"]["reasons"])
    run = cli("run", "offers.py:loose", "--db", "x.db")
    assert run.code == 1
    assert "never REFUTED" in run.err
    assert cli("cases", "--db", "x.db", "--json").json["counts"] == {}


def test_deploy_then_run_proves_once(cli: Cli, folder: Path) -> None:
    found = cli("deploy", "offers.py", "--db", "x.db", "--json").json["net_hash"]
    said = cli("run", "offers.py", "--db", "x.db")
    assert said.code == 0
    assert "deployed" not in said.out
    assert cli("verify", "offers.py", "--only", "SDB-2", "--json").json["net_hash"] == found


def test_the_virtual_clock_jumps_and_stays_the_databases_clock(cli: Cli, folder: Path) -> None:
    (folder / "in.jsonl").write_text('{"customer": {"id": "cleo", "wants": 70}}\n', encoding="utf-8")
    said = cli(
        "run", "offers.py", "--db", "v.db", "--input", "in.jsonl", "--clock", "virtual", "--days", 3, "--json"
    )
    assert said.json["statuses"] == {"waiting": 1}
    assert "run on the virtual clock" in cli("run", "offers.py", "--db", "v.db").err
    rest = cli("run", "offers.py", "--db", "v.db", "--clock", "virtual", "--json")
    assert rest.json["statuses"] == {"done": 1}
    (case,) = cli("cases", "--db", "v.db", "--json").json["cases"]
    assert case["outcome_place"] == "dropped"
    assert ledger(folder) == []


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.csv", "", "the file is empty"),
        ("a.csv", "id,id\n1,2\n", "is there twice"),
        ("a.csv", "id,wants\nanna,ten\n", "line 2  wants: expected a whole number, got 'ten'"),
        ("a.csv", "id,wants\nanna\n", "line 2  line: expected as many columns as the first line"),
        ("a.csv", "id\nanna\n", "wants: expected a column for each field of Customer"),
        ("a.csv", "id,wants\nanna,1\nanna,2\n", "line 3  id: expected an id of its own"),
        ("a.csv", 'id,wants\n"anna,1\n', "this is no CSV"),
        ("a.jsonl", '{"customer": {"id": "a", "wants": 1}}\n{"cust', "line 2"),
        ("a.jsonl", '{"customer": {"id": "a", "wants": "x"}}\n', "wants"),
        ("a.jsonl", "[1]\n", "line 1"),
        ("a.txt", "x", "no inputs are read"),
    ],
)
def test_broken_inputs_start_nothing(cli: Cli, folder: Path, name: str, text: str, expected: str) -> None:
    (folder / name).write_text(text, encoding="utf-8")
    said = cli("run", "offers.py", "--db", "x.db", "--input", name)
    assert said.code == 2
    assert expected in said.err
    assert "bug" not in said.err
    assert not (folder / "x.db").exists()


def test_bytes_that_are_no_text(cli: Cli, folder: Path) -> None:
    (folder / "a.csv").write_bytes(b"id,wants\n\xff\xfe,1\n")
    said = cli("run", "offers.py", "--db", "x.db", "--input", "a.csv")
    assert said.code == 2
    assert "no UTF-8" in said.err


def test_broken_rows_can_be_left_out(cli: Cli, folder: Path) -> None:
    (folder / "a.csv").write_text("id,wants\nanna,ten\nbert,5\n", encoding="utf-8")
    said = cli("run", "offers.py", "--db", "x.db", "--input", "a.csv", "--skip-broken", "--json")
    assert said.code == 0
    assert said.json["statuses"] == {"done": 1}
    assert "line 2  wants" in said.err


CLAIMS = """
from provenet import NetBuilder, Token

class Claim(Token):
    id: str
    cents: int

net = NetBuilder("claims")
claim = net.entry("claim", Claim, where=lambda it: (it.cents > 0) & (it.cents <= 5_000))
done = net.final("done", Claim)
net.transition("close", takes={"c": claim}, puts={done: "c"})
"""
OUTSIDE = "the input is outside what the net was proved for: it.cents > 0 and it.cents <= 5000"


def test_a_row_outside_what_was_proved_is_a_broken_row(cli: Cli, folder: Path) -> None:
    (folder / "claims.py").write_text(CLAIMS, encoding="utf-8")
    (folder / "a.csv").write_text("id,cents\nanna,100\nbert,-3\n,5\ncleo,5\n", encoding="utf-8")
    said = cli("run", "claims.py", "--db", "x.db", "--input", "a.csv")
    assert said.code == 2
    assert "2 rows of 4 cannot be used; nothing was started" in said.err
    assert f"a.csv  line 3  {OUTSIDE}" in said.err
    assert "a.csv  line 4  a case id is 1 to 200 printable characters, not ''" in said.err
    assert "--skip-broken" in said.err
    assert not (folder / "x.db").exists()
    said = cli("run", "claims.py", "--db", "x.db", "--input", "a.csv", "--skip-broken", "--json")
    assert (said.code, said.json["statuses"]) == (0, {"done": 2})
    assert f"2 rows left out:\na.csv  line 3  {OUTSIDE}" in said.err


def test_what_a_module_reads_is_looked_at_as_well(cli: Cli, folder: Path) -> None:
    own = "def cases(path):\n    for n, who in enumerate(['bert', 'anna']):\n"
    own += "        yield who, {'claim': (who, n)}\n"
    (folder / "claims.py").write_text(CLAIMS + own, encoding="utf-8")
    (folder / "names.txt").write_text("", encoding="utf-8")
    said = cli("run", "claims.py", "--db", "x.db", "--input", "names.txt")
    assert said.code == 2
    assert f"case 'bert'  {OUTSIDE}" in said.err
    assert not (folder / "x.db").exists()


def test_a_module_may_read_its_own_files(cli: Cli, folder: Path) -> None:
    text = (
        "from offers import Customer, agent\n"
        "def cases(path):\n"
        "    for line in path.read_text().split():\n"
        "        yield line, {'customer': Customer(id=line, wants=1)}\n"
    )
    (folder / "own.py").write_text(text, encoding="utf-8")
    (folder / "names.txt").write_text("anna bert", encoding="utf-8")
    said = cli("run", "own.py", "--db", "x.db", "--input", "names.txt", "--json")
    assert said.json["statuses"] == {"done": 2}, said.err


@pytest.mark.parametrize("command", ["cases", "tasks", "audit"])
def test_databases_that_are_none(cli: Cli, folder: Path, command: str) -> None:
    assert "no such database" in cli(command, "--db", "nonesuch.db").err
    (folder / "text.db").write_text("this is no database, whatever its name says " * 100, encoding="utf-8")
    said = cli(command, "--db", "text.db")
    assert said.code == 2
    assert "no database" in said.err
    with closing(sqlite3.connect(folder / "other.db")) as db:
        db.execute("CREATE TABLE t (x)")
        db.commit()
    assert cli(command, "--db", "other.db").code == 2


def test_a_tampered_log_fails_the_audit(cli: Cli, ran: Path) -> None:
    with closing(sqlite3.connect(ran / "x.db")) as db:
        db.execute(
            "UPDATE provenet_event SET data = replace(data, '35', '25') WHERE transition LIKE '%propose'"
        )
        db.commit()
    said = cli("audit", "--db", "x.db")
    assert said.code == 1
    assert "bert" in said.out


def test_a_running_engine_takes_requests_from_other_processes(cli: Cli, ran: Path) -> None:
    command = [sys.executable, "-m", "provenet", "run", "offers.py", "--db", "x.db", "--serve"]
    engine = subprocess.Popen(command, cwd=ran, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        until = time.monotonic() + 60
        while not _held(ran / "x.db.lock", engine.pid):
            assert engine.poll() is None, engine.communicate()
            assert time.monotonic() < until
            time.sleep(0.05)
        assert cli("approve", "bert", "--as", "dana@sales", "--db", "x.db").code == 1
        done = cli("approve", "bert", "--as", "dana@pricing", "--db", "x.db", "--json")
        assert done.code == 0, done.err
        assert "note" not in done.json
        correction = '{"customer": "cleo", "discount_pct": 45}'
        assert cli("signal", "cleo", "correct", correction, "--db", "x.db").code == 0
        assert cli("kill", "dora", "--as", "boss", "--db", "x.db").code == 0
        while "publish bert 35" not in ledger(ran):
            assert time.monotonic() < until
            time.sleep(0.05)
        second = cli("run", "offers.py", "--db", "x.db")
        assert second.code == 1
        assert "another process runs cases" in second.err
    finally:
        engine.send_signal(signal.SIGINT if os.name != "nt" else signal.SIGTERM)
        out, err = engine.communicate(timeout=60)
    assert engine.returncode == 0, err
    assert "1 waiting" in out
    assert cli("audit", "--db", "x.db").code == 0
    (cleo,) = cli("tasks", "--db", "x.db", "--json").json
    assert cleo["about"] == {"customer": "cleo", "discount_pct": 45}


def _held(lock: Path, pid: int) -> bool:
    return lock.exists() and lock.read_text(encoding="utf-8") == str(pid)


def test_the_renewal_agent_reads_customer_files(cli: Cli, folder: Path) -> None:
    from provenet.cli.inputs import read_inputs
    from provenet.cli.loading import load
    from provenet.examples.contract_renewal.customers import SAMPLE

    found = read_inputs(load("provenet.examples.contract_renewal:agent"), SAMPLE)
    assert len(found.cases) == 200
    assert all(set(inputs) == {"waiting"} for _, inputs in found.cases)
