"""`provenet verify` proposes mends that it verified, and writes the mended net."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from provenet.cli import proving
from provenet.nets.formats.canonical import content_hash, read_net
from provenet.verify.verdict import Report
from tests.cli.conftest import Cli


def test_a_mend_is_verified_and_written(cli: Cli, folder: Path) -> None:
    said = cli("verify", "offers.py:loose", "--only", "never", "--only", "SDB", "--out", "found")
    assert said.code == 1
    assert "(re-verified: PROVED)" in said.out
    file = folder / "found" / "offers.mended-1.json"
    assert f"The mended net is in {Path('found') / file.name}" in said.out
    assert cli("verify", "found/offers.mended-1.json", "--only", "never").code == 0
    data = json.loads((folder / "found" / "report.json").read_text(encoding="utf-8"))
    (mend,) = [m for v in data["verdicts"] for m in v["mends"]]
    assert mend["net_hash"] == content_hash(read_net(file))
    assert mend["text"] in said.out
    cli("export", "offers.py:loose", "--output", "loose.json")
    net = read_net(folder / "loose.json")
    assert Report.from_json(data, net).to_json(net) == data


def test_what_was_not_tried_is_advice(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proving, "_LEAST_MENDING", 0.0)
    monkeypatch.setattr(proving, "_MOST_MENDING", 0.0)
    said = cli("verify", "offers.py:loose", "--only", "never")
    assert "(advice, not re-verified)" in said.out
    assert "re-verified: PROVED" not in said.out
