"""`upgrade`, `case --at`, `fork`, `migrate`: databases and cases through time."""

from __future__ import annotations

import gzip
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.cli.conftest import Cli, ledger

DATA = Path(__file__).parent.parent / "engine" / "data"


def test_a_database_of_an_earlier_release_is_upgraded(cli: Cli, folder: Path) -> None:
    with closing(sqlite3.connect(folder / "old.db")) as db:
        db.executescript(gzip.decompress((DATA / "schema-1.sql.gz").read_bytes()).decode())
    refused = cli("cases", "--db", "old.db")
    assert refused.code == 2
    assert "provenet upgrade --db old.db" in refused.err
    tried = cli("upgrade", "--db", "old.db", "--dry-run")
    assert tried.code == 0
    assert "was not" in tried.out
    assert cli("cases", "--db", "old.db").code == 2
    done = cli("upgrade", "--db", "old.db", "--json")
    assert (done.json["before"], done.json["dry_run"]) == (1, False)
    assert Path(done.json["copy"]).exists()
    assert cli("audit", "--db", "old.db").code == 0
    assert "nothing to do" in cli("upgrade", "--db", "old.db").out
    missing = cli("upgrade", "--db", "nowhere.db")
    assert missing.code == 2
    assert "no such database" in missing.err


def test_a_case_is_shown_as_it_was(cli: Cli, ran: Path) -> None:
    log = cli("log", "bert", "--db", "x.db", "--json").json
    begun = next(x["seq"] for x in log if x["role"] == "propose")
    shown = cli("case", "bert", "--at", begun, "--db", "x.db")
    assert shown.code == 0, shown.err
    assert f"bert after entry {begun} of {len(log)}" in shown.out
    assert "discount_pct: 35" in shown.out
    assert "approve offer" not in shown.out
    last = cli("case", "bert", "--at", len(log), "--db", "x.db")
    assert 'waits for a person: "approve offer" (pricing), approve or deny' in last.out
    data = cli("case", "bert", "--at", len(log), "--db", "x.db", "--json").json
    assert data["tasks"][0]["about"] == {"customer": "bert", "discount_pct": 35}
    wrong = cli("case", "bert", "--at", 99, "--db", "x.db")
    assert wrong.code == 1
    assert f"entries 1 to {len(log)}" in wrong.err


def test_a_case_goes_on_otherwise_in_a_simulation(cli: Cli, ran: Path) -> None:
    assert cli("approve", "bert", "--as", "dana@pricing", "--db", "x.db").code == 0
    assert cli("run", "offers.py", "--db", "x.db").code == 0
    really = ["publish anna 10", "publish bert 35"]
    assert ledger(ran) == really
    log = cli("log", "bert", "--db", "x.db", "--json").json
    at = next(x["seq"] for x in log if x["role"] == "approve") - 1
    same = cli("fork", "bert", "--at", at, "--db", "x.db", "--to", "same.db")
    assert same.code == 0, same.err
    assert "the histories are the same" in same.out
    assert 'played: crm.publish {customer: "bert", discount_pct: 35}' in same.out
    other = cli(
        "fork", "bert", "--at", at, "--db", "x.db", "--to", "sim.db", "--decide", "approve offer=deny"
    )
    assert other.code == 0, other.err
    assert "the histories differ" in other.out
    assert "ended in the simulation: dropped" in other.out
    again = cli("fork", "bert", "--at", 1, "--db", "x.db", "--to", "sim.db")
    assert (again.code, "has a case 'bert' already" in again.err) == (1, True)
    assert "--to what-if-2.db" in again.err
    assert "go on: provenet run TARGET --db sim.db --clock virtual" in other.out
    shown = [line for line in cli("case", "bert", "--db", "x.db").out.splitlines() if "approve offer" in line]
    assert shown[0].split()[0] == str(at + 1)
    real = cli("fork", "bert", "--at", 1, "--db", "x.db", "--to", "x.db")
    assert (real.code, "no simulation" in real.err) == (1, True)
    # The real agent, run on the simulation, reaches nothing either.
    asked = cli("fork", "anna", "offers.py", "--at", 2, "--db", "x.db", "--to", "sim.db", "--json")
    assert asked.json["differs"] is False
    (ran / "more.csv").write_text("id,wants\nemil,5\n", encoding="utf-8")
    more = cli("run", "offers.py", "--db", "sim.db", "--clock", "virtual", "--input", "more.csv", "--json")
    assert more.json["statuses"] == {"done": 3}
    assert ledger(ran) == really
    assert cli("audit", "--db", "sim.db").code == 0


NEXT = """
from offers import *

def agent():
    return Agent.of(build(limit=20))
"""


def test_cases_in_flight_move_to_a_new_version(cli: Cli, ran: Path) -> None:
    (ran / "offers2.py").write_text(NEXT, encoding="utf-8")
    old = cli("cases", "--db", "x.db", "--json").json["cases"][0]["net_hash"]
    missing = cli("migrate", "--net", old[:8], "f00", "--db", "x.db")
    assert (missing.code, "provenet deploy" in missing.err) == (1, True)
    deployed = cli("deploy", "offers2.py", "--db", "x.db", "--json")
    assert deployed.code == 0, deployed.err
    new = deployed.json["net_hash"]
    ran_new = cli("run", "offers2.py", "--db", "x.db")
    assert f"3 cases wait for version {old[:8]} of 'offers', which is not run here" in ran_new.out
    assert f"`provenet migrate --net {old[:8]} offers --db x.db`" in ran_new.out
    shown = cli("top", "--db", "x.db", "--once").out
    assert "net offers: 3 unfinished" in shown
    assert f"3 of them on an earlier version, {old[:8]}" in shown
    tried = cli("migrate", "--net", old[:8], "offers", "--dry-run", "--db", "x.db")
    assert tried.code == 0, tried.err
    assert "3 cases would move" in tried.out
    assert "moves, by its history" in tried.out
    (ran / "map.yaml").write_text("places: {review: approved}\n", encoding="utf-8")
    wrong = cli("migrate", "--net", old[:8], new[:8], "--map", "map.yaml", "--db", "x.db")
    assert (wrong.code, "3 stay" in wrong.out) == (1, True)
    assert "its history is none of the new net" in wrong.out
    done = cli("migrate", "--net", old[:8], new[:8], "--db", "x.db", "--json")
    assert (done.code, done.json["moving"], done.json["done"]) == (0, 3, True)
    assert {
        c["net_hash"] for c in cli("cases", "--db", "x.db", "--status", "waiting", "--json").json["cases"]
    } == {new}
    assert cli("audit", "--db", "x.db").code == 0
    assert "moved from net" in cli("case", "bert", "--db", "x.db").out
    assert cli("approve", "bert", "--as", "dana@pricing", "--db", "x.db").code == 0
    again = cli("run", "offers2.py", "--db", "x.db", "--json")
    assert again.code == 0, again.out + again.err
    assert again.json["statuses"] == {"done": 2, "waiting": 2}
    assert again.json["other_versions"] == []
    assert ledger(ran) == ["publish anna 10", "publish bert 35"]
    assert cli("audit", "--db", "x.db").code == 0
