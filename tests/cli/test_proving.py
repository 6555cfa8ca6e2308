"""`provenet verify`, `render`, `simulate` and `export`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from provenet.nets.firing import NetRule
from provenet.nets.formats.canonical import read_net
from provenet.verify.verdict import Trace
from tests.cli.conftest import AGENTS, Cli


def test_proved_is_0(cli: Cli) -> None:
    said = cli("verify", "offers.py")
    assert said.code == 0, said.out
    assert "REFUTED" not in said.out
    assert "Deployable." in said.out
    assert "2 contracts" in said.out


def test_refuted_is_1_and_explains_itself(cli: Cli, folder: Path) -> None:
    said = cli("verify", "offers.py:loose", "--out", "found")
    assert said.code == 1
    assert "Not deployable." in said.out
    assert "Mend:" in said.out
    steps = [line for line in said.out.splitlines() if "propose" in line and "discount_pct:" in line]
    assert steps, "the trace shows what the model said"
    assert "crm.publish {" in said.out, "the trace shows what reached the outside"
    report = json.loads((folder / "found" / "report.json").read_text(encoding="utf-8"))
    assert any(v["verdict"] == "REFUTED" for v in report["verdicts"])
    assert (folder / "found" / "offers.never-1.svg").read_bytes().startswith(b"<?xml")
    assert (folder / "found" / "offers.svg").exists()


def test_the_trace_that_is_shown_replays_and_shows_its_witness(cli: Cli, folder: Path) -> None:
    said = cli("verify", "offers.py:loose", "--only", "never", "--out", "found", "--json")
    assert said.code == 1
    (verdict,) = said.json["verdicts"]
    cli("export", "offers.py:loose", "-o", "loose.json")
    net = read_net(folder / "loose.json")
    trace = Trace.from_json(
        json.loads((folder / said.json["files"]["offers.never-1.json"]).read_text())["trace"], net
    )
    rule, marking = NetRule(net), trace.start
    for step in trace.steps:
        marking = rule.fire(marking, step.transition, step.binding)
    shown = cli("simulate", "offers.py:loose", "--trace", said.json["files"]["offers.never-1.json"], "--json")
    assert shown.code == 0
    assert [s["number"] for s in shown.json["steps"]] == list(range(1, len(trace.steps) + 1))
    assert verdict["trace"]["steps"] == shown.json["trace"]["steps"]
    told = " ".join(c for s in shown.json["steps"] for c in s["changes"])
    value = next(
        int(x) for x in told.replace("}", " ").replace(",", " ").split() if x.isdigit() and int(x) > 30
    )
    assert 30 < value <= 40


def test_unknown_is_3_and_no_pass(cli: Cli, folder: Path) -> None:
    (folder / "wide.py").write_text((AGENTS / "wide.py").read_text(encoding="utf-8"), encoding="utf-8")
    said = cli("verify", "wide.py", "--timeout", "0.5")
    assert said.code == 3
    assert "UNKNOWN is never a pass" in said.out
    assert "Not deployable." in said.out
    refused = cli("deploy", "wide.py", "--db", "x.db", "--timeout", "0.5")
    assert refused.code == 1
    assert "STATE-1 UNKNOWN" in refused.err


def test_json_is_the_report(cli: Cli) -> None:
    said = cli("verify", "offers.py", "--only", "SDB", "--json")
    assert said.code == 0
    assert said.json["status"] == "PROVED"
    assert {v["property"] for v in said.json["verdicts"]} >= {"SDB-1", "SDB-2", "SDB-4", "SDB-5"}


def test_facts(cli: Cli) -> None:
    said = cli("verify", "offers.py", "--facts")
    assert "What is known of every token" in said.out
    assert "<= 30" in said.out


@pytest.mark.parametrize("name", ["SDB-9", "never-ever"])
def test_unknown_property(cli: Cli, name: str) -> None:
    said = cli("verify", "offers.py", "--only", name)
    assert said.code == 2
    assert name in said.err
    assert "did you mean" in said.err
    assert "CTL-1" in said.err


def test_out_dir_that_cannot_be_written(cli: Cli, folder: Path) -> None:
    (folder / "taken").write_text("a file", encoding="utf-8")
    said = cli("verify", "offers.py", "--only", "SDB-2", "--out", "taken")
    assert said.code == 2
    assert "the folder cannot be made" in said.err


def test_verify_as_a_process(shell: Cli) -> None:
    said = shell("verify", "offers.py:loose", "--only", "never")
    assert said.code == 1
    assert "REFUTED" in said.out
    assert said.err == ""
    told = shell("verify", "offers.py", "--only", "never", "--json")
    assert (told.code, told.json["status"], told.err) == (0, "PROVED", "")


@pytest.mark.parametrize(("name", "starts"), [("a.svg", b"<"), ("a.png", b"\x89PNG"), ("a.pdf", b"%PDF")])
def test_render(cli: Cli, folder: Path, name: str, starts: bytes) -> None:
    said = cli("render", "offers.py", "-o", name, "--json")
    assert said.code == 0, said.err
    assert (folder / name).read_bytes().startswith(starts)
    assert said.json["bytes"] == (folder / name).stat().st_size


def test_render_with_verdicts_and_facts(cli: Cli, folder: Path) -> None:
    plain = cli("render", "offers.py", "-o", "a.svg", "--view", "expanded")
    told = cli("render", "offers.py", "-o", "b.svg", "--view", "expanded", "--facts")
    assert (plain.code, told.code) == (0, 0)
    assert "PROVED" not in (folder / "a.svg").read_text(encoding="utf-8")
    assert (folder / "b.svg").stat().st_size > (folder / "a.svg").stat().st_size


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("-o", "a.gif"), "no picture is made"),
        (("-o", "picture"), "no picture is made"),
        (("-o", "a.svg", "--view", "sideways"), "there is no view"),
        (("-o", "nowhere/a.svg"), "cannot be written"),
    ],
)
def test_render_refuses(cli: Cli, words: tuple[str, ...], expected: str) -> None:
    said = cli("render", "offers.py", *words)
    assert said.code == 2
    assert expected in said.err


def test_simulate_is_repeatable_and_a_run_of_the_net(cli: Cli, folder: Path) -> None:
    first = cli("simulate", "offers.py", "--seed", 5, "--out", "run.json", "--json").json
    again = cli("simulate", "offers.py", "--seed", 5, "--json").json
    assert first == again
    others = [cli("simulate", "offers.py", "--seed", n, "--json").json["trace"] for n in range(6)]
    assert len({json.dumps(o) for o in others}) > 1
    played = cli("simulate", "offers.py", "--trace", "run.json", "--json").json
    assert played["trace"] == first["trace"]


def test_simulate_takes_an_input(cli: Cli) -> None:
    token = '{"customer": {"id": "anna", "wants": 12}}'
    said = cli("simulate", "offers.py", "--input", token)
    assert said.code == 0
    assert 'id: "anna"' in said.out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--input", "{"), "no JSON object"),
        (("--input", "[]"), "no JSON object"),
        (("--input", '{"custmer": {}}'), 'did you mean "customer"?'),
        (("--input", '{"customer": {"id": 1}}'), "customer"),
        (("--trace", "nonesuch.json"), "there is no such trace file"),
    ],
)
def test_simulate_refuses(cli: Cli, words: tuple[str, ...], expected: str) -> None:
    said = cli("simulate", "offers.py", *words)
    assert said.code == 2
    assert expected in said.err


def test_a_tampered_trace_does_not_play(cli: Cli, folder: Path) -> None:
    cli("simulate", "offers.py", "--seed", 1, "--out", "run.json")
    data = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    data["trace"]["steps"].reverse()
    (folder / "run.json").write_text(json.dumps(data), encoding="utf-8")
    said = cli("simulate", "offers.py", "--trace", "run.json")
    assert said.code == 2
    assert "does not fire" in said.err


def test_a_trace_of_another_net_says_so(cli: Cli, folder: Path) -> None:
    cli("verify", "offers.py:loose", "--only", "never", "--out", "found")
    said = cli("simulate", "offers.py", "--trace", "found/offers.never-1.json")
    assert said.code == 2
    assert "verify this one again" in said.err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "this is no JSON"),
        ("[" * 100_000, "this is no JSON"),
        ("{}", 'expected an object with a "trace" in it'),
        ("[1, 2]", 'expected an object with a "trace" in it'),
        ('{"trace": [1]}', 'expected an object with a "trace" in it'),
        ('{"trace": {"start": 1, "steps": []}}', "no trace of net 'offers': its steps have another shape"),
        ('{"trace": {"start": {}, "steps": [1]}}', "no trace of net 'offers': its steps have another shape"),
        ('{"trace": {"steps": []}}', "no trace of net 'offers': it has no 'start'"),
    ],
)
def test_no_trace_at_all(cli: Cli, folder: Path, text: str, expected: str) -> None:
    (folder / "t.json").write_text(text, encoding="utf-8")
    said = cli("simulate", "offers.py", "--trace", "t.json")
    assert said.code == 2
    assert expected in said.err


def test_export_is_the_same_net(cli: Cli, folder: Path) -> None:
    said = cli("export", "offers.py", "-o", "net.json", "--json")
    assert cli("verify", "net.json", "--only", "SDB-2", "--json").json["net_hash"] == said.json["net_hash"]
    assert json.loads(cli("export", "offers.py").out) == json.loads(
        (folder / "net.json").read_text(encoding="utf-8")
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "give either"),
        (("offers.py", "--db", "x.db"), "give either"),
        (("offers.py", "-o", "net.doc"), "no net is written"),
    ],
)
def test_export_refuses(cli: Cli, words: tuple[str, ...], expected: str) -> None:
    said = cli("export", *words)
    assert said.code == 2
    assert expected in said.err
