"""Many nets at once: rows, workers that crash or hang, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from provenet.nets.formats.pnml import pnml_text
from provenet.nets.net import Net, Place, Put, Take, Transition
from provenet.verify.asked import WORDS
from provenet.verify.pages import ALIASES
from tests.cli.conftest import Cli, Said


def chain(name: str, *, ends: bool = True) -> str:
    """A plain net from ``i`` to ``o``; one that does not end goes in a circle on the way."""
    places = (Place("i"), Place("m"), Place("o"))
    transitions = [Transition("go", takes=(Take("i"),), puts=(Put("m"),))]
    if ends:
        transitions.append(Transition("end", takes=(Take("m"),), puts=(Put("o"),)))
    else:
        transitions.append(Transition("end", takes=(Take("m", weight=2),), puts=(Put("o"),)))
    net = Net(name, places, tuple(transitions), initial=(("i", ((),)),), finals=((("o", 1),),))
    return pnml_text(net)


@pytest.fixture
def nets(folder: Path) -> Path:
    (folder / "nets").mkdir()
    for name in ("a", "b"):
        (folder / "nets" / f"{name}.pnml").write_text(chain(name), encoding="utf-8")
    (folder / "nets" / "stuck.pnml").write_text(chain("stuck", ends=False), encoding="utf-8")
    return folder / "nets"


def poisoned(folder: Path, name: str, what: str) -> None:
    """A target that makes the checker do something terrible once it is asked to prove."""
    (folder / name).write_text(
        "import os, signal, time\n"
        "import provenet.verify.check as check\n"
        "from provenet.nets.net import Net, Place\n"
        f"def prove(*args, **kwargs):\n    {what}\n"
        "check.prove = prove\n"
        f"net = Net('poison', (Place('p'),))\n",
        encoding="utf-8",
    )


def rows(said: Said) -> list[dict[str, object]]:
    return [json.loads(line) for line in said.out.splitlines()]


def test_a_pattern_is_one_table(cli: Cli, nets: Path) -> None:
    said = cli("verify", "nets/*.pnml", "--property", "soundness", "--property", "boundedness")
    assert said.code == 1
    lines = [line.split() for line in said.out.splitlines() if "nets" in line and "pnml" in line]
    assert [(line[0], Path(line[1]).name, line[2]) for line in lines] == [
        ("PROVED", "a.pnml", "soundness"),
        ("PROVED", "a.pnml", "boundedness"),
        ("PROVED", "b.pnml", "soundness"),
        ("PROVED", "b.pnml", "boundedness"),
        ("REFUTED", "stuck.pnml", "soundness"),
        ("PROVED", "stuck.pnml", "boundedness"),
    ]
    assert "3 nets: 5 proved, 1 refuted in" in said.out


@pytest.mark.parametrize("jobs", [1, 2])
def test_json_lines(cli: Cli, nets: Path, jobs: int) -> None:
    said = cli("verify", "nets/*.pnml", "--property", "soundness", "--jobs", jobs, "--json")
    assert said.code == 1
    found = {Path(str(row["target"])).name: row for row in rows(said)}
    assert {name: row["verdict"] for name, row in found.items()} == {
        "a.pnml": "PROVED",
        "b.pnml": "PROVED",
        "stuck.pnml": "REFUTED",
    }
    for row in found.values():
        assert {"target", "property", "verdict", "seconds", "engine", "reason"} <= set(row)
        assert row["property"] == "soundness"
        assert isinstance(row["seconds"], float)
        assert row["engine"]
    trace = found["stuck.pnml"]["trace"]
    assert isinstance(trace, dict)
    assert [step["transition"] for step in trace["steps"]] in ([], ["go"]), "it is stuck from the start"


def test_every_word_is_decided_or_unknown(cli: Cli, nets: Path) -> None:
    words = [w for word in WORDS for w in ("--property", word)]
    found = rows(cli("verify", "nets/a.pnml", "nets/b.pnml", *words, "--json"))
    assert [row["property"] for row in found] == [*WORDS, *WORDS]
    assert {str(row["verdict"]) for row in found if row["property"] != "relaxed-soundness"} == {"PROVED"}
    assert not [row for row in found if row["verdict"] in {"REFUTED", "ERROR"}]


def test_words_and_pages_agree() -> None:
    assert {word: r.kind for word, r in WORDS.items() if r.kind.startswith("STATE")} == dict(ALIASES)


def test_python_targets_are_checked_for_what_they_require(cli: Cli, nets: Path) -> None:
    found = rows(cli("verify", "offers.py", "offers.py:loose", "--json"))
    by_target = {t: {row["property"]: row["verdict"] for row in found if row["target"] == t} for t in
                 ("offers.py", "offers.py:loose")}  # fmt: skip
    assert set(by_target["offers.py"].values()) == {"PROVED"}
    refuted = [p for p, verdict in by_target["offers.py:loose"].items() if verdict == "REFUTED"]
    assert [str(p).split()[0] for p in refuted] == ["never"]
    assert "SDB-1" in by_target["offers.py"]


def test_a_bad_file_is_one_row_and_the_others_go_on(cli: Cli, nets: Path) -> None:
    (nets / "a.pnml").write_text("<not xml", encoding="utf-8")
    said = cli("verify", "nets/*.pnml", "nonesuch.json", "--property", "soundness", "--json")
    assert said.code == 2
    found = {Path(str(row["target"])).name: row for row in rows(said)}
    assert {name: row["verdict"] for name, row in found.items()} == {
        "a.pnml": "ERROR",
        "b.pnml": "PROVED",
        "stuck.pnml": "REFUTED",
        "nonesuch.json": "ERROR",
    }
    assert "XML" in str(found["a.pnml"]["reason"])
    assert "there is no such file" in str(found["nonesuch.json"]["reason"])
    table = cli("verify", "nets/*.pnml", "--property", "soundness")
    assert table.code == 2
    assert "1 could not be checked" in table.out
    assert "Traceback" not in table.err


def test_reports_of_many(cli: Cli, nets: Path, folder: Path) -> None:
    (nets / "bad.pnml").write_text("<not xml", encoding="utf-8")
    options = ("--sarif", "o.sarif", "--junit", "o.xml", "--write-baseline", "b.json")
    assert cli("verify", "nets/*.pnml", "--property", "soundness", *options).code == 2
    run = json.loads((folder / "o.sarif").read_text(encoding="utf-8"))["runs"][0]
    (result,) = run["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "nets/stuck.pnml"
    assert run["invocations"][0]["executionSuccessful"] is False
    assert 'tests="4" failures="1" errors="1"' in (folder / "o.xml").read_text(encoding="utf-8")
    (nets / "bad.pnml").unlink()
    again = cli("verify", "nets/*.pnml", "--property", "soundness", "--baseline", "b.json")
    assert again.code == 0, "the one finding is known"
    assert "0 new, 1 known" in again.out
    lines = cli("verify", "nets/*.pnml", "--property", "soundness", "--baseline", "b.json", "--json")
    assert len(rows(lines)) == 3
    assert "0 new, 1 known" in lines.err


def test_a_crash_costs_one_row(cli: Cli, nets: Path, folder: Path) -> None:
    poisoned(folder, "crash.py", "os.kill(os.getpid(), signal.SIGSEGV)")
    poisoned(folder, "leave.py", "os._exit(7)")
    said = cli(
        *("verify", "crash.py", "leave.py", "nets/a.pnml", "--json"),
        *("--property", "soundness", "--property", "boundedness"),
    )
    assert said.code == 2
    found = [(Path(str(row["target"])).name, row["property"], row["verdict"]) for row in rows(said)]
    assert sorted(found) == [
        ("a.pnml", "boundedness", "PROVED"),
        ("a.pnml", "soundness", "PROVED"),
        ("crash.py", "boundedness", "ERROR"),
        ("crash.py", "soundness", "ERROR"),
        ("leave.py", "boundedness", "ERROR"),
        ("leave.py", "soundness", "ERROR"),
    ]
    reasons = {str(row["reason"]) for row in rows(said) if row["verdict"] == "ERROR"}
    assert reasons == {
        "the checker's process was ended by SIGSEGV",
        "the checker's process ended with code 7",
    }


def test_a_crash_while_loading_is_one_row(cli: Cli, nets: Path, folder: Path) -> None:
    (folder / "gone.py").write_text("import os\nos._exit(3)\n", encoding="utf-8")
    found = rows(cli("verify", "gone.py", "nets/a.pnml", "--property", "soundness", "--json"))
    assert {(Path(str(row["target"])).name, row["verdict"]) for row in found} == {
        ("gone.py", "ERROR"),
        ("a.pnml", "PROVED"),
    }


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
def test_what_does_not_stop_is_stopped(cli: Cli, nets: Path, folder: Path) -> None:
    poisoned(folder, "hang.py", "(folder := os.fork()) or time.sleep(600); time.sleep(600)")
    before = time.monotonic()
    said = cli("verify", "hang.py", "nets/a.pnml", "--property", "soundness", "--timeout", 0.5, "--json")
    took = time.monotonic() - before
    assert said.code == 3
    found = {Path(str(row["target"])).name: row for row in rows(said)}
    assert found["hang.py"]["verdict"] == "UNKNOWN"
    assert str(found["hang.py"]["reason"]).startswith("time is up: stopped after ")
    assert 1.5 <= float(str(found["hang.py"]["seconds"])) < 5
    assert found["a.pnml"]["verdict"] == "PROVED"
    assert took < 20
    assert not running(folder), "nothing that it started goes on"


def running(folder: Path) -> list[str]:
    """Processes whose working folder this is, ourselves aside."""
    if not Path("/proc/self/cwd").exists():
        return []
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            inside = (process / "cwd").readlink() == folder
            command = (process / "cmdline").read_text(encoding="utf-8").replace("\0", " ")
        except OSError:
            continue
        # The tracker of shared memory is Python's own, and ends with us.
        if inside and process.name != str(os.getpid()) and command and "resource_tracker" not in command:
            found.append(command)
    return found


def test_a_hang_in_a_whole_net_leaves_the_other_properties(cli: Cli, nets: Path, folder: Path) -> None:
    text = (folder / "offers.py").read_text(encoding="utf-8")
    (folder / "slow.py").write_text(
        text + "\nimport time\nimport provenet.verify.properties.saga as saga\n"
        "import provenet.verify.check as check\nfrom dataclasses import replace\n"
        "def hang(*_):\n    time.sleep(600)\n"
        "check.CATALOGUE['SAGA-1'] = replace(check.CATALOGUE['SAGA-1'], check=hang)\n",
        encoding="utf-8",
    )
    found = rows(cli("verify", "slow.py", "nets/a.pnml", "--timeout", 1, "--json"))
    mine = {str(row["property"]): row["verdict"] for row in found if row["target"] == "slow.py"}
    assert mine["SAGA-1"] == "UNKNOWN"
    assert {verdict for name, verdict in mine.items() if name != "SAGA-1"} == {"PROVED"}
    assert {"SDB-1", "STATE-3", "SAGA-2"} <= set(mine)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("none/*.pnml",), "no file matches this pattern"),
        (("nets/*.pnml", "--property", "soundnes"), 'did you mean "soundness"?'),
        (("nets/*.pnml", "--html", "o.html"), "--html is for one net"),
        (("nets/*.pnml", "--out", "o"), "--out is for one net"),
        (("nets/*.pnml", "--facts"), "--facts is for one net"),
    ],
)
def test_refused_before_anything_is_done(cli: Cli, nets: Path, words: tuple[str, ...], expected: str) -> None:
    said = cli("verify", *words)
    assert said.code == 2
    assert expected in said.err


def test_many_as_a_process(shell: Cli, nets: Path) -> None:
    said = shell("verify", "nets/**/*.pnml", "--property", "deadlock-freedom", "--jobs", 2, "--json")
    assert (said.code, said.err) == (1, "")
    assert [row["verdict"] for row in sorted(rows(said), key=lambda row: str(row["target"]))] == [
        *("PROVED", "PROVED", "REFUTED"),
    ]


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs signals")
@pytest.mark.parametrize("with_", [signal.SIGINT, signal.SIGTERM])
def test_stopping_it_stops_the_workers(nets: Path, folder: Path, with_: signal.Signals) -> None:
    poisoned(folder, "hang.py", "open('begun', 'w'), time.sleep(600)")
    command = [
        sys.executable,
        "-m",
        "provenet",
        "verify",
        "hang.py",
        "nets/a.pnml",
        "--property",
        "soundness",
    ]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    for _ in range(300):
        if (folder / "begun").exists():
            break
        time.sleep(0.1)
    assert running(folder)
    process.send_signal(with_)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + with_
    assert said == "stopped\n"
    assert not running(folder)


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs signals")
def test_workers_that_are_left_alone_end_by_themselves(nets: Path, folder: Path) -> None:
    poisoned(folder, "hang.py", "open('begun', 'w'), time.sleep(600)")
    command = [
        sys.executable,
        "-m",
        "provenet",
        "verify",
        "hang.py",
        "nets/a.pnml",
        "--property",
        "soundness",
    ]
    process = subprocess.Popen([*command, "--timeout", "0.5"], cwd=folder)
    for _ in range(3000):
        if (folder / "begun").exists():
            break
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert running(folder)
    time.sleep(3)
    assert not running(folder)
