"""`provenet verify --certificates` and `provenet check-certificate`, as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from provenet.cli.main import main
from provenet.nets.formats.canonical import pretty
from provenet.nets.requirements import precedes
from provenet.verify.independent.check import digest
from tests.verify.nets import cap, selling, trip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    good = selling(requirements=("SDB-1", "SDB-5", "STATE-2", cap()))
    for name, net in {
        "good": good,
        "loose": selling(gate="none", requirements=(cap(),)),
        "trip": trip(requirements=("SDB-5", "SAGA-1")),
    }.items():
        (tmp_path / f"{name}.json").write_text(pretty(net), encoding="utf-8")
        main(["verify", f"{name}.json", "--certificates", name])
    return tmp_path


def certificate(folder: Path, name: str) -> Path:
    (found,) = (folder / name).glob("*.certificate.json")
    return found


def test_exit_codes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, net = str(certificate(folder, "good")), "good.json"
    capsys.readouterr()
    assert main(["check-certificate", good, net]) == 0
    assert "independently re-checked" in capsys.readouterr().out
    # A refutation that holds is a certificate that holds.
    assert main(["check-certificate", str(certificate(folder, "loose")), "loose.json"]) == 0
    # Sagas are gone through by the engines only.
    of_trip = str(certificate(folder, "trip"))
    capsys.readouterr()
    assert main(["check-certificate", of_trip, "trip.json"]) == 0
    assert "re-run by the same code" in capsys.readouterr().out
    assert main(["check-certificate", of_trip, "trip.json", "--independent"]) == 3
    assert "not re-checkable here" in capsys.readouterr().out
    # Another net, and no certificate at all.
    assert main(["check-certificate", good, "loose.json"]) == 1
    assert main(["check-certificate", net, net]) == 2
    assert main(["check-certificate", "nowhere.json", net]) == 2
    assert main(["check-certificate", good, net, "--solver", "abc"]) == 2
    said = capsys.readouterr().err
    assert "about the net" in said
    assert "no certificate" in said


def test_a_tampered_file_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    path = certificate(folder, "good")
    data = json.loads(path.read_text(encoding="utf-8"))
    for entry in data["verdicts"]:
        if entry["property"] == "never":
            entry["evidence"][0]["data"]["facts"] = {}
            entry["obligations"] = None
    path.write_text(json.dumps(data), encoding="utf-8")
    assert main(["check-certificate", str(path), "good.json"]) == 1
    assert "was changed after it was written" in capsys.readouterr().err
    path.write_text(json.dumps({**data, "digest": digest(data)}), encoding="utf-8")
    assert main(["check-certificate", str(path), "good.json"]) == 1
    assert "an obligation can be satisfied" in capsys.readouterr().out


def test_json_and_obligations(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    path = str(certificate(folder, "good"))
    assert main(["check-certificate", path, "good.json", "--json", "--obligations", "smt2"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["exit_code"] == 0
    assert set(data["solvers"]) == {"z3"}
    assert {v["how"] for v in data["verdicts"]} == {"independently re-checked"}
    files = sorted((folder / "smt2").glob("*.smt2"))
    assert len(files) == sum(v["obligations"] for v in data["verdicts"]) > 3
    assert all(f.read_text(encoding="utf-8").endswith("(check-sat)\n") for f in files)


def resealed(path: Path, data: dict[str, Any]) -> str:
    path.write_text(json.dumps({**data, "digest": digest(data)}), encoding="utf-8")
    return str(path)


def test_what_the_file_leaves_out_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = certificate(folder, "good")
    data = json.loads(path.read_text(encoding="utf-8"))
    capsys.readouterr()
    assert main(["check-certificate", str(path), "good.json"]) == 0
    assert "says nothing" not in capsys.readouterr().out
    data["verdicts"] = [v for v in data["verdicts"] if v["property"] != "never"]
    short = resealed(path, data)
    assert main(["check-certificate", short, "good.json"]) == 0
    assert "of which the file says nothing: never." in capsys.readouterr().out
    assert main(["check-certificate", short, "good.json", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["untold"] == ["never"]


def test_a_new_run_is_compared_statement_by_statement(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Two requirements of one name about one thing: the one holds, the other does not.
    asked = tuple(precedes(first, "offer", name="in order") for first in ("offer.begin", "ask"))
    net = selling(requirements=asked)
    (folder / "two.json").write_text(pretty(net), encoding="utf-8")
    main(["verify", "two.json", "--certificates", "two"])
    path = certificate(folder, "two")
    data = json.loads(path.read_text(encoding="utf-8"))
    assert sorted(v["verdict"] for v in data["verdicts"]) == ["PROVED", "REFUTED"]
    assert main(["check-certificate", str(path), "two.json"]) == 0
    (good,) = (v for v in data["verdicts"] if v["verdict"] == "PROVED")
    capsys.readouterr()
    assert main(["check-certificate", resealed(path, {**data, "verdicts": [good, good]}), "two.json"]) == 3
    assert "not all come out so" in " ".join(capsys.readouterr().out.split())


def test_a_bound_that_is_none_stays_open(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = certificate(folder, "good")
    data = json.loads(path.read_text(encoding="utf-8"))
    (bounded,) = (v for v in data["verdicts"] if v["property"] == "STATE-2")
    bounded |= {"title": "no place is ever full", "verdict": "REFUTED"}
    assert main(["check-certificate", resealed(path, data), "good.json"]) == 3


def test_both_solvers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("cvc5", reason="cvc5 is an extra: pip install 'provenet[cvc5]'")
    capsys.readouterr()
    path = str(certificate(folder, "good"))
    assert main(["check-certificate", path, "good.json", "--solver", "both"]) == 0
    assert " and cvc5 " in capsys.readouterr().out


def test_a_solver_that_is_not_installed(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "cvc5", None)
    path = str(certificate(folder, "good"))
    capsys.readouterr()
    assert main(["check-certificate", path, "good.json", "--solver", "cvc5"]) == 3
    assert "cvc5 is not installed" in capsys.readouterr().out


def test_certificates_are_for_one_net(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "good.json", "loose.json", "--certificates", "many"]) == 2
    assert "--certificates is for one net" in capsys.readouterr().err
