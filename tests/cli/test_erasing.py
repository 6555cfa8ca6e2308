"""`provenet erase` and `provenet keys`, from the shell."""

from __future__ import annotations

import asyncio
import json
import stat
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest

from provenet.cli.main import main
from provenet.engine import Keys
from provenet.nets.build import NetBuilder
from provenet.nets.models import Personal, Token
from provenet.sdb.handlers import Agent
from tests.engine.kit import deployed, opened

NAME = "Jane Q. Ultramarine"


class Guest(Token):
    room: int
    name: Annotated[str, Personal]


def visits() -> Agent:
    net = NetBuilder("visits")
    here, left = net.entry("here", Guest), net.final("left", Guest)
    net.event("leave", event="left", takes={"g": here}, puts={left: "g"})
    net.timer("close", after=timedelta(days=1), takes={"g": here}, puts={left: "g"})
    net.require("DATA-2")
    return Agent.of(net)


def started(path: Path, keys: Keys) -> None:
    """A database with two cases that wait: one of its own, one of a subject."""

    async def go() -> None:
        agent = visits()
        async with opened(agent, path, keys=keys) as engine:
            deployed(engine, agent)
            inputs = {"here": Guest(room=7, name=NAME)}
            await engine.start_case("visits", inputs=inputs, case_id="own")
            await engine.start_case("visits", inputs=inputs, case_id="of-12", subject="guest-12")

    asyncio.run(go())


def test_from_a_new_key_to_an_erasure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, file = tmp_path / "v.db", tmp_path / "master.keys"

    def said(*words: str, code: int = 0) -> str:
        assert (
            main([*words, *(() if words[0] == "keys" and words[1] == "new" else ("--db", str(path)))]) == code
        )
        out = capsys.readouterr()
        return out.out + out.err

    def data(*words: str) -> Any:
        return json.loads(said(*words, "--json"))

    assert "1 master key" in said("keys", "new", str(file))
    assert file.stat().st_mode & 0o077 == 0
    first = Keys.from_file(file)
    started(path, first)
    monkeypatch.delenv("PROVENET_KEYS", raising=False)
    monkeypatch.delenv("PROVENET_KEYS_FILE", raising=False)
    assert "no master key was given" in said("case", "own", "--personal", code=1)
    assert NAME not in said("case", "own")
    assert "no master key was given" in said("signal", "own", "left", code=1)
    monkeypatch.setenv("PROVENET_KEYS_FILE", str(file))
    assert NAME in said("case", "own", "--personal")
    assert NAME in said("log", "own", "--personal", "--json")

    said("keys", "new", str(file))
    assert Keys.from_file(file).names[1:] == first.names
    assert f"2 data keys under master key {first.current}" in said("keys", "show")
    assert data("keys", "rotate")["changed"] == 2
    assert f"under master key {Keys.from_file(file).current}" in said("keys", "show")

    why = ("--as", "dana@privacy", "--reason", "she asked")
    assert "case has not ended: 'own'" in said("erase", "own", *why, code=1)
    assert "EN461" in said("erase", "--subject", "guest-13", *why, code=1)
    assert "whose data?" in said("erase", *why, code=2)
    told = said("erase", "own", *why, "--stop")
    assert "killed case own" in told
    assert "personal data are erased: 1 case" in told
    assert "'guest-12' are erased" in said("erase", "--subject", "guest-12", *why, "--stop")
    assert "erased by dana@privacy: she asked" in said("log", "of-12", "--personal")
    assert NAME not in said("case", "own", "--personal")
    assert data("keys", "show") == {"keys": {}, "erased": 2}
    audited = said("audit")
    assert "audit clean" in audited
    assert "personal data are erased in 2 cases" in audited


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "there is no master key"),
        ("nonsense!", "no base64"),
        ("AAAA", "64 bytes"),
        (None, "cannot be read"),
    ],
)
def test_files_that_hold_no_keys_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, why: str
) -> None:
    path, file = tmp_path / "v.db", tmp_path / "master.keys"
    started(path, Keys.generate())
    if text is not None:
        file.write_text(text)
    code = 2 if text is None else 1
    assert main(["keys", "rotate", "--keys", str(file), "--db", str(path)]) == code
    said = capsys.readouterr().err
    assert why in said
    assert "provenet keys new" in said


@pytest.mark.attack(
    "a link where a new master key would be written", "not followed: the key stays its owner's alone"
)
def test_a_new_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    file, others = tmp_path / "master.keys", tmp_path / "read by others"
    others.write_text("")
    for name in (".master.keys.new", "master.keys"):
        (tmp_path / name).symlink_to(others)
        assert main(["keys", "new", str(file)]) == (0 if name.startswith(".") else 1)
        assert others.read_text() == ""
        if file.exists() and not file.is_symlink():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            file.unlink()
    assert len(list(tmp_path.iterdir())) == 3
