"""Reports for other programs: SARIF, JUnit XML, and the baseline."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenet.cli.reports.baseline import baseline_text, compared
from provenet.cli.reports.junit import junit
from provenet.cli.reports.outcome import Happening, Outcome, Spot, failed, told_apart
from provenet.cli.reports.sarif import FINGERPRINT, sarif
from provenet.nets.formats.pnml import pnml_text
from provenet.nets.net import Net, Place, Put, Take, Transition
from tests.cli.conftest import Cli

SCHEMA = json.loads((Path(__file__).parent / "sarif.schema.json").read_text(encoding="utf-8"))
VALID = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())
texts = st.text(max_size=12)


@st.composite
def outcomes(draw: st.DrawFn) -> Outcome:
    spots = st.sampled_from((Spot(), Spot("nets/a b.pnml", 1), Spot("a.py", 7), Spot("/elsewhere/é.py", 3)))
    return Outcome(
        target=draw(texts),
        net=draw(st.sampled_from(("one", "two"))),
        prop=draw(st.sampled_from(("SDB-1", "STATE-1", "never", "relaxed-soundness"))),
        title=draw(texts.filter(bool)),
        status=draw(st.sampled_from(("PROVED", "REFUTED", "UNKNOWN", "ERROR"))),
        reason=draw(texts),
        subject=draw(texts),
        mend=draw(texts),
        seconds=draw(st.floats(0, 1e6)),
        spot=draw(spots),
        elements=tuple(draw(st.dictionaries(st.just("transition"), texts, max_size=1)).items()),
        steps=tuple(Happening(t, f"did {t}", draw(spots)) for t in draw(st.lists(texts, max_size=3))),
        vacuous=draw(texts),
    )


def one(status: Any = "REFUTED", **more: Any) -> Outcome:
    return Outcome(
        **{"target": "a.py", "net": "one", "prop": "SDB-1", "title": "t", "status": status, **more}
    )


def check_sarif(log: Any) -> Any:
    VALID.validate(log)
    run = log["runs"][0]
    rules = run["tool"]["driver"]["rules"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["kind"] == "fail"  # with any other kind the level must be none, and nobody sees it
    return run


# shapes


@settings(max_examples=50)
@given(st.lists(outcomes(), max_size=4))
def test_any_outcomes_make_sarif(found: list[Outcome]) -> None:
    run = check_sarif(sarif(found))
    wanted = [o for o in found if o.status in {"REFUTED", "UNKNOWN"}]
    assert [r["level"] for r in run["results"]] == [
        {"REFUTED": "error", "UNKNOWN": "warning"}[o.status] for o in wanted
    ]
    assert run["invocations"][0]["executionSuccessful"] is all(o.status != "ERROR" for o in found)
    json.dumps(run).encode("ascii")


@given(st.lists(outcomes(), max_size=5))
def test_any_outcomes_make_junit(found: list[Outcome]) -> None:
    root = ET.fromstring(junit(found))
    cases = list(root.iter("testcase"))
    assert len(cases) == len(found) == int(root.get("tests", ""))
    assert len(list(root.iter("failure"))) == int(root.get("failures", ""))
    assert len(list(root.iter("error"))) == int(root.get("errors", ""))
    assert {f.get("type") for f in root.iter("failure")} <= {"refuted", "unknown"}
    assert len(list(root.iter("failure"))) == sum(o.status in {"REFUTED", "UNKNOWN"} for o in found)


@given(outcomes())
def test_an_outcome_survives_the_way_to_another_process(outcome: Outcome) -> None:
    assert Outcome.from_json(json.loads(json.dumps(outcome.to_json()))) == outcome


@given(st.lists(outcomes(), max_size=6))
def test_nothing_is_new_against_its_own_baseline(tmp_path_factory: Any, found: list[Outcome]) -> None:
    file = tmp_path_factory.mktemp("b") / "baseline.json"
    file.write_text(baseline_text(found), encoding="utf-8", errors="surrogatepass")
    against = compared(found, file)
    assert (against.new, against.gone) == (0, 0)
    assert against.known == sum(o.finding for o in found)
    assert baseline_text(reversed(found)) == baseline_text(found)


# what counts as known


def marks(tmp_path: Path, before: Iterable[Outcome], now: Iterable[Outcome]) -> tuple[list[str], int]:
    file = tmp_path / "baseline.json"
    file.write_text(baseline_text(before), encoding="utf-8")
    against = compared(now, file)
    return [o.novelty for o in against.outcomes], against.gone


def test_a_finding_is_known_by_property_subject_and_net(tmp_path: Path) -> None:
    known = one(reason="first reason", seconds=1.0, spot=Spot("a.py", 3))
    moved = one(reason="other words", seconds=2.0, spot=Spot("a.py", 99), title="other title")
    assert marks(tmp_path, [known], [moved]) == (["known"], 0)
    for other in (one(prop="SDB-2"), one(subject="x"), one(net="two"), one(variant="k = 1")):
        assert marks(tmp_path, [known], [other]) == (["new"], 1)


def test_what_was_unknown_and_is_refuted_now_is_new(tmp_path: Path) -> None:
    assert marks(tmp_path, [one("UNKNOWN")], [one("REFUTED")]) == (["new"], 1)
    assert marks(tmp_path, [one("REFUTED")], [one("UNKNOWN")]) == (["known"], 0)


def test_a_second_finding_of_the_same_kind_is_new(tmp_path: Path) -> None:
    assert marks(tmp_path, [one()], [one(), one()]) == (["known", "new"], 0)


def test_proofs_and_errors_are_in_no_baseline(tmp_path: Path) -> None:
    assert json.loads(baseline_text([one("PROVED"), one("ERROR")]))["findings"] == []
    assert marks(tmp_path, [], [one("PROVED"), one("ERROR")]) == (["", ""], 0)


def test_known_findings_are_unchanged_and_skipped(tmp_path: Path) -> None:
    file = tmp_path / "baseline.json"
    file.write_text(baseline_text([one()]), encoding="utf-8")
    found = compared([one(), one(subject="x")], file).outcomes
    assert [r["baselineState"] for r in check_sarif(sarif(found))["results"]] == ["unchanged", "new"]
    root = ET.fromstring(junit(found))
    assert (root.get("tests"), root.get("failures"), root.get("skipped")) == ("2", "1", "1")


def test_nets_of_one_name_are_told_apart_by_their_files() -> None:
    both = told_apart([one(target="a.pnml"), one(target="b.pnml"), one(target="c.pnml", net="two")])
    assert [o.net for o in both] == ["one in a.pnml", "one in b.pnml", "two"]
    assert len({o.fingerprint for o in both}) == 3


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"provenet-baseline": 9, "findings": []}', "[" * 99_999])
def test_what_is_no_baseline_is_refused(cli: Cli, folder: Path, text: str) -> None:
    (folder / "b.json").write_text(text, encoding="utf-8")
    said = cli("verify", "offers.py", "--baseline", "b.json")
    assert said.code == 2
    assert "this is no baseline of version 1" in said.err
    assert "--write-baseline" in said.err


def test_a_missing_baseline_is_told_before_anything_is_proved(cli: Cli) -> None:
    said = cli("verify", "offers.py", "--baseline", "nonesuch.json")
    assert said.code == 2
    assert "there is no such baseline" in said.err


# from the command


def test_sarif_points_at_the_line_and_shows_the_run(cli: Cli, folder: Path) -> None:
    said = cli("verify", "offers.py:loose", "--sarif", "out.sarif", "--json")
    assert said.code == 1
    assert said.json["files"]["sarif"] == "out.sarif"
    run = check_sarif(json.loads((folder / "out.sarif").read_text(encoding="utf-8")))
    (result,) = run["results"]
    assert result["ruleId"] == "never"
    where = result["locations"][0]["physicalLocation"]
    assert where["artifactLocation"] == {"uri": "offers.py", "uriBaseId": "%SRCROOT%"}
    line = (folder / "offers.py").read_text(encoding="utf-8").splitlines()[where["region"]["startLine"] - 1]
    assert "net.add(" in line
    assert {e["name"] for e in result["locations"][0]["logicalLocations"]} == {
        "publish offer.commit",
        "publish approved.commit",
    }
    steps = result["codeFlows"][0]["threadFlows"][0]["locations"]
    assert "propose publish offer" in steps[1]["location"]["message"]["text"]
    assert all(s["location"]["physicalLocation"]["region"]["startLine"] > 1 for s in steps)
    rule = run["tool"]["driver"]["rules"][result["ruleIndex"]]
    assert rule["help"]["markdown"].startswith("# never ")
    assert run["properties"]["refuted"] == 1


def test_fingerprints_outlive_edits_of_the_file(cli: Cli, folder: Path) -> None:
    def fingerprint() -> str:
        cli("verify", "offers.py:loose", "--only", "never", "--sarif", "out.sarif")
        run = json.loads((folder / "out.sarif").read_text(encoding="utf-8"))["runs"][0]
        return str(run["results"][0]["partialFingerprints"][FINGERPRINT])

    before = fingerprint()
    file = folder / "offers.py"
    file.write_text('"""More."""\n\n\n' + file.read_text(encoding="utf-8").replace("days=7", "days=8"))
    assert fingerprint() == before


def test_a_net_file_is_the_place_of_its_findings(cli: Cli, folder: Path) -> None:
    cli("export", "offers.py:loose", "-o", "my nets.json")
    said = cli("verify", "my nets.json", "--only", "never", "--sarif", "out.sarif", "--junit", "out.xml")
    assert said.code == 1
    run = check_sarif(json.loads((folder / "out.sarif").read_text(encoding="utf-8")))
    where = run["results"][0]["locations"][0]["physicalLocation"]
    assert where == {
        "artifactLocation": {"uri": "my%20nets.json", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 1},
    }
    (case,) = ET.parse(folder / "out.xml").getroot().iter("testcase")
    assert (case.get("file"), case.get("line")) == ("my nets.json", "1")
    failure = case.find("failure")
    assert failure is not None
    assert failure.get("type") == "refuted"
    assert "commit publish offer" in (failure.text or "")
    assert "Mend: " in (failure.text or "")


def test_proved_is_no_finding(cli: Cli, folder: Path) -> None:
    assert cli("verify", "offers.py", "--sarif", "o.sarif", "--junit", "o.xml").code == 0
    run = check_sarif(json.loads((folder / "o.sarif").read_text(encoding="utf-8")))
    assert run["results"] == []
    assert run["properties"]["proved"] > 10
    assert ET.parse(folder / "o.xml").getroot().get("failures") == "0"


def test_a_baseline_lets_known_findings_pass_and_no_others(cli: Cli, folder: Path) -> None:
    assert cli("verify", "offers.py:loose", "--write-baseline", "b.json").code == 1
    again = cli("verify", "offers.py:loose", "--baseline", "b.json")
    assert again.code == 0
    assert "Against the baseline: 0 new, 1 known." in again.out
    assert "REFUTED" in again.out, "a known finding is shown all the same"
    assert "Not deployable." in again.out
    told = cli("verify", "offers.py:loose", "--baseline", "b.json", "--json")
    assert told.json["status"] == "REFUTED"
    assert told.json["baseline"] | {"findings": []} == {"new": 0, "known": 1, "gone": 0, "findings": []}
    mended = cli("verify", "offers.py", "--baseline", "b.json")
    assert (mended.code, "1 finding of it gone" in mended.out) == (0, True)
    cli("verify", "offers.py", "--write-baseline", "empty.json")
    worse = cli("verify", "offers.py:loose", "--baseline", "empty.json")
    assert worse.code == 1
    assert "new  REFUTED  never" in worse.out


def test_reports_of_targets_that_cannot_be_checked() -> None:
    run = check_sarif(sarif([failed("bad.pnml", "this is no XML")]))
    (note,) = run["invocations"][0]["toolExecutionNotifications"]
    assert note["message"]["text"] == "bad.pnml: this is no XML"
    root = ET.fromstring(junit([failed("bad.pnml", "no \x00 XML")]))
    assert root.get("errors") == "1"


def test_a_report_that_cannot_be_written(cli: Cli) -> None:
    said = cli("verify", "offers.py", "--only", "SDB-2", "--sarif", "nowhere/o.sarif")
    assert said.code == 2
    assert "cannot be written" in said.err


def test_html_from_the_command(cli: Cli, folder: Path) -> None:
    said = cli("verify", "offers.py:loose", "--html", "o.html", "--json")
    assert said.code == 1
    assert said.json["files"] == {"html": "o.html"}
    page = (folder / "o.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "never crm.publish" in page


def test_verify_without_reports_loads_none_of_them(shell: Cli) -> None:
    program = (
        "import sys, json; from provenet.cli.main import main\n"
        "code = main(['verify', 'offers.py']); print(json.dumps([code, sorted(sys.modules)]))"
    )
    code, modules = json.loads(shell(code=program).out.splitlines()[-1])
    assert code == 0
    heavy = {
        "jinja2",
        "multiprocessing",
        "provenet.cli.many",
        "provenet.cli.reports.sarif",
        "xml.etree.ElementTree",
    }
    assert not heavy & set(modules)


def test_a_plain_net_file_answers_by_word(cli: Cli, folder: Path) -> None:
    net = Net(
        "walk",
        (Place("i"), Place("o")),
        (Transition("t", takes=(Take("i"),), puts=(Put("o"),)),),
        initial=(("i", ((),)),),
        finals=((("o", 1),),),
    )
    (folder / "walk.pnml").write_text(pnml_text(net), encoding="utf-8")
    told = cli("verify", "walk.pnml", "--property", "soundness", "--json")
    assert told.code == 0
    assert told.json | {"target": "walk.pnml", "property": "soundness", "verdict": "PROVED"} == told.json
    assert {"seconds", "engine", "reason"} <= set(told.json)
    assert told.json["verdicts"][0]["property"] == "STATE-1"
