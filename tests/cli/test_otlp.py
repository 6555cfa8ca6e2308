"""`provenet run --otlp`: spans and metrics reach a collector, by its protocol."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.conftest import AGENTS, ROWS, Cli
from tests.support.temporal import free_port

pytest.importorskip(
    "opentelemetry.exporter.otlp.proto.http", reason="the extra provenet[otel] is not installed"
)

from tests.support.collector import collecting


def ran(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(AGENTS / "offers.py", folder)
    (folder / "in.csv").write_text(ROWS, encoding="utf-8")
    command = [sys.executable, "-m", "provenet", "run", "offers.py", "--db", "x.db", "--input", "in.csv"]
    return subprocess.run(
        [*command, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | environment,
    )


def entries(folder: Path, what: str) -> int:
    with closing(sqlite3.connect(folder / "x.db")) as db:
        return int(db.execute(what).fetchone()[0])


@pytest.mark.parametrize("by", ["option", "environment"])
def test_what_a_run_did_reaches_the_collector(tmp_path: Path, by: str) -> None:
    with collecting() as collector:
        if by == "option":
            done = ran(tmp_path, "--otlp", collector.url)
        else:
            done = ran(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_SERVICE_NAME="offers")
    assert done.returncode == 0, done.stderr
    assert collector.wrong == []
    fired = entries(tmp_path, "SELECT COUNT(*) FROM provenet_event WHERE kind = 'fire'")
    names = [span.name for _, span in collector.spans]
    assert sum(name.startswith("fire ") for name in names) == fired
    assert names.count("case offers") == entries(
        tmp_path, "SELECT COUNT(*) FROM provenet_case WHERE status = 'done'"
    )
    # One trace for each case, whose span is above the others.
    assert len({span.trace_id for _, span in collector.spans}) == 4
    cases = {span.trace_id: span.span_id for _, span in collector.spans if span.name == "case offers"}
    for _, span in collector.spans:
        if span.trace_id in cases and span.name != "case offers":
            assert span.parent_span_id == cases[span.trace_id]
    told = collector.spans[0][0]
    assert told["service.name"] == ("provenet" if by == "option" else "offers")
    assert told["service.instance.id"]
    assert collector.total("provenet.firings") == fired
    assert collector.total("provenet.cases.started") == 4


def test_a_collector_that_is_not_there_stops_no_case(tmp_path: Path) -> None:
    began = time.monotonic()
    done = ran(tmp_path, "--otlp", f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 0, done.stderr
    assert "4 cases" in done.stdout
    assert "Traceback" not in done.stderr
    assert time.monotonic() - began < 40
    assert entries(tmp_path, "SELECT COUNT(*) FROM provenet_case") == 4


@pytest.mark.parametrize(
    ("url", "said"),
    [("127.0.0.1:4318", "no address of a collector"), ("ftp://x", "no address"), ("http://", "no address")],
)
def test_what_is_no_collector(cli: Cli, url: str, said: str) -> None:
    found = cli("run", "offers.py", "--db", "x.db", "--otlp", url)
    assert found.code in {1, 2}
    assert said in found.err


def test_a_protocol_that_is_not_spoken(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    found = cli("run", "offers.py", "--db", "x.db", "--otlp", "http://127.0.0.1:4317")
    assert found.code == 2
    assert "only http/protobuf is spoken" in found.err
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")
    other = cli("run", "offers.py", "--db", "x.db")
    assert other.code == 0
    assert "nothing is sent to the OpenTelemetry collector" in other.err
