"""Histories that released versions wrote replay on this one, text for text; one that lies is found."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from provenet.engine.testing import BenchError, History, HistoryDiverged, replay_history
from provenet.nets.net import Choice, Transition
from tests.golden.record import HERE, main, record, rewritten
from tests.golden.runs import everything, run_everything

GOLDEN = sorted(p for p in HERE.glob("*/*.json") if p.parent.name[0].isdigit())
LIE = HERE / "divergent" / "orders-accepts-90.json"


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_history_of_a_released_version_replays(path: Path) -> None:
    history = replay_history(path)
    assert history.version == path.parent.name
    assert len(history) > 4


def test_there_are_some_of_each_run() -> None:
    kinds = {e.kind for path in GOLDEN for e in History.load(path)}
    assert kinds >= {"start", "fire", "park", "resume", "kill"}
    assert {p.name.partition("-")[0] for p in GOLDEN} == {"orders", "everything", "contract"}


def test_a_divergent_history_is_found_at_its_first_wrong_entry() -> None:
    with pytest.raises(
        HistoryDiverged, match=re.escape("entry 7 (quote.accept): the guard is false")
    ) as found:
        replay_history(LIE)
    assert (found.value.seq, found.value.transition) == (7, "quote.accept")


def test_every_entry_counts() -> None:
    whole = History.load(GOLDEN[-1])
    for at in range(len(whole)):
        cut = replace(whole, entries=(*whole.entries[:at], *whole.entries[at + 1 :]))
        with pytest.raises(HistoryDiverged) as found:
            replay_history(cut)
        assert found.value.seq in {at + 1, at + 2}, "where it is missing, or at the end"


def test_a_changed_text_is_found_and_shown(tmp_path: Path) -> None:
    whole = History.load(HERE / "0.1.0" / "everything-e-8.json")
    lie = rewritten(whole, '[6,"waiting"]', '[33,"waiting"]')
    with pytest.raises(HistoryDiverged) as found:
        replay_history(lie)
    assert "then: " in str(found.value)
    assert '[33,"waiting"]' in str(found.value)
    lie = replace(whole, marking={**whole.marking, "end": []})
    with pytest.raises(HistoryDiverged, match="another marking"):
        replay_history(lie)
    lie = replace(whole, entries=(*whole.entries[:2], replace(whole.entries[2], at=1), *whole.entries[3:]))
    with pytest.raises(HistoryDiverged, match=r"entry 3 .* the file was changed") as found:
        replay_history(lie)
    assert found.value.seq == 3


def test_a_timer_that_fired_early_is_found() -> None:
    history = History.load(HERE / "0.1.0" / "everything-e-8.json")
    at = next(e for e in history if e.transition == "due")
    entries = [replace(e, at=at.at - 10**6) if e is at else e for e in history]
    with pytest.raises(HistoryDiverged, match="before it was due"):
        replay_history(_chained(replace(history, entries=tuple(entries))))


def test_a_history_is_replayed_on_another_net() -> None:
    history = History.load(HERE / "0.1.0" / "everything-e-5.json")
    replay_history(history, net=everything().net)

    def renamed(t: Transition) -> Transition:
        return replace(t, name="signed") if t.name == "sign" else t

    net = everything().net
    assert any(isinstance(t.trigger, Choice) for t in net.transitions)
    other = replace(net, transitions=tuple(map(renamed, net.transitions)))
    with pytest.raises(HistoryDiverged, match="sign"):
        replay_history(history, net=other)


def test_what_is_recorded_now_replays_and_reads_back(tmp_path: Path) -> None:
    database = asyncio.run(run_everything(tmp_path))
    paths = list(record([database], tmp_path / "x", "x"))
    assert len(paths) == 4
    for path in paths:
        history = replay_history(path)
        history.save(tmp_path / "again.json")
        assert (tmp_path / "again.json").read_bytes() == path.read_bytes()
        assert History.load(path) == replace(History.of(database, history.case), version="x")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": "provenet history 9"}', '{"format": "provenet history 1"}', "\0"]
)
def test_what_is_no_history_is_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(BenchError, match="this is no history"):
        replay_history(path)
    with pytest.raises(BenchError, match="this is no history"):
        replay_history(tmp_path / "missing.json")


def test_a_net_that_was_changed_is_found(tmp_path: Path) -> None:
    data = json.loads(LIE.read_text(encoding="utf-8"))
    text = json.dumps(data).replace('"discount v1"', '"discount v2"')
    assert text != json.dumps(data)
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(HistoryDiverged, match="has another content hash"):
        replay_history(tmp_path / "x.json")


def _chained(history: History) -> History:
    return rewritten(history, history.entries[0].data, history.entries[0].data)


def test_the_command_says_what_it_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["record", "--help"])
    with pytest.raises(SystemExit):
        main()
    assert "--databases" in capsys.readouterr().out
