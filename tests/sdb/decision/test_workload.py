"""A description of a workload: what is read, what is refused, and in which words."""

from __future__ import annotations

import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from provenet.nets.errors import FormatError
from provenet.sdb.decision.reading import MAX_BYTES, read_file, read_text
from provenet.sdb.decision.workload import MOST_PARTS, Workload, load_workload, parse_workload
from tests.sdb.decision.workloads import WHOLE, described, workloads


def refusal(text: str) -> FormatError | None:
    """What is said where a text is no description."""
    try:
        found = parse_workload(text)
    except FormatError as error:
        return error
    assert isinstance(found, Workload)
    return None


@given(described=workloads())
def test_what_is_described_is_read(described: dict[str, Any]) -> None:
    found = parse_workload(yaml.safe_dump(described, allow_unicode=True))
    assert found.workload == described["workload"]
    assert [p.name for p in found.parts] == [p["name"] for p in described.get("tasks", {}).get("parts", ())]
    assert found.risk.audited is described["risk"]["audited"]


@given(text=st.text(max_size=300) | st.text(alphabet="{}[]:,-&*!|>'\"% \n\tab1~?#@", max_size=200))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    refused = refusal(text)
    assert refused is None or (refused.where.startswith("the text") and refused.message)


@given(
    described=workloads(),
    where=st.sampled_from([(), ("unit",), ("pauses",), ("tasks",), ("risk",)]),
    junk=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8), st.lists, max_leaves=5
    ),
    name=st.sampled_from(
        ["workload", "unit", "lasts", "owner", "parts", "longest", "audited", "odd", "model"]
    ),
)
def test_any_damage_is_read_or_refused_in_words(
    described: dict[str, Any], where: tuple[str, ...], junk: Any, name: str
) -> None:
    inside = described
    for key in where:
        inside = inside.setdefault(key, {})
    inside[name] = junk
    said = str(refusal(yaml.safe_dump(described)) or "line")
    assert "line" in said
    assert "pydantic" not in said


def test_it_says_each_mistake_with_its_line() -> None:
    with pytest.raises(FormatError) as refused:
        parse_workload(
            "workload: odd\n"
            "unit: {lasts: 90, world_changes: maybe, caled: X}\n"
            "tasks:\n"
            "  owner: singel\n"
            "  independent: yes\n"
            "  merge: none\n"
            "  parts:\n"
            "    - name: class\n"
            "    - name: churn\n"
            "      effect: crm.write\n"
            "    - nam: churn\n"
            "risk: {legal_or_financial: true}\n"
            "model: 4.6\n",
            source="odd.yaml",
        )
    assert str(refused.value) == MISTAKES.replace("\\\n", "").strip()


MISTAKES = r"""
odd.yaml  PN400  10 mistakes:
  line 2: unit.lasts: expected a number and a unit, got 90  (such as 90 days)
  line 2: unit.world_changes: expected true or false, got 'maybe'
  line 2: there is no unit.caled  (did you mean "called"?  there are: called, fields, lasts, world_changes)
  line 4: tasks.owner: expected single or shared, got 'singel'  (did you mean "single"?  there are: shared, \
single)
  line 8: tasks.parts.1.name: expected a name such as credit_check, got 'class'  (lower-case letters, \
digits and _)
  line 9: tasks.parts.2: effect 'crm.write' needs either what undoes it, or to be called irreversible  \
(undo: crm.withdraw, or irreversible: true)
  line 11: tasks.parts.3.name is missing  (name: Its name.)
  line 11: there is no tasks.parts.3.nam  (did you mean "name"?  there are: effect, gives, irreversible, \
name, undo, within)
  line 12: risk.audited is missing  (audited: Somebody will ask who decided.)
  line 13: model: expected a text, got 4.6  (put it in quotes)
  docs/method.md describes the file
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a mapping"),
        ("- a\n- b\n", "expected a mapping"),
        ("a: [1, 2", "this is no YAML"),
        ("a: \t- b", "this is no YAML"),
        ("a: &x [1]\nb: *x", "anchors and aliases are not read"),
        ("a: !!python/object/apply:os.system [echo]", "tags such as"),
        ("a: !!set {b, c}", "tags such as"),
        ("a: 1\na: 2", "key 'a' is there twice, first in line 1"),
        ("<<: {a: 1}", "a key is '<<'"),
        ("no: 1", "a key is 'no'"),
        ("? [a, b]\n: 1", "a key is 'a list or a mapping'"),
        ("a: 2026-13-45", "a value cannot be read"),
        (f"a: {'9' * 5000}", "a value cannot be read"),
        ("a: " + "[" * 13 + "]" * 13, "values stand in each other deeper than 12"),
        ("a: " + "[" * 20_000, "deeper than"),
        ("a: " + "x" * MAX_BYTES, "at most 65,536"),
        ("a: 1\n---\nb: 2", "this is no YAML"),
        ("a: \x00", "this is no YAML"),
    ],
)
def test_what_could_surprise_a_reader_is_refused(text: str, said: str) -> None:
    with pytest.raises(FormatError, match=said.replace("(", r"\(").replace("[", r"\[")):
        parse_workload(text)


def test_a_billion_laughs_take_no_time() -> None:
    bomb = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
    begun = time.perf_counter()
    with pytest.raises(FormatError, match="anchors"):
        parse_workload(bomb)
    assert time.perf_counter() - begun < 1


@pytest.mark.parametrize("data", [b"\xff\xfe", b"a: \xc3("])
def test_a_file_that_is_no_text(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "w.yaml").write_bytes(data)
    with pytest.raises(FormatError, match="no UTF-8"):
        read_file(tmp_path / "w.yaml")


def test_no_file_a_folder_and_one_too_large(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot be read"):
        load_workload(tmp_path / "none.yaml")
    with pytest.raises(FormatError, match="a folder"):
        load_workload(tmp_path)
    (tmp_path / "big.yaml").write_text("# " + "x" * MAX_BYTES)
    with pytest.raises(FormatError):
        load_workload(tmp_path / "big.yaml")


def test_lines_are_those_of_the_nearest_thing() -> None:
    read = read_text("a:\n  b:\n    - 1\n    - c: 2\n")
    assert [read.line(at) for at in [("a",), ("a", "b", 1, "c"), ("a", "b", 9), ("z",)]] == [1, 4, 2, 1]


def test_spans_and_dates() -> None:
    found = described(WHOLE, unit={"lasts": "1.5 hours", "world_changes": True}, decided=date(2026, 5, 1))
    assert found.unit.lasts == timedelta(minutes=90)
    assert found.decided == date(2026, 5, 1)


@pytest.mark.parametrize("span", ["0 days", "200 years", "soon", "5", "-1 days", "1e3 days", 7, None, True])
def test_what_is_no_span(span: Any) -> None:
    with pytest.raises(FormatError, match=r"unit\.lasts"):
        described(WHOLE, unit={"lasts": span, "world_changes": True})


@pytest.mark.parametrize(
    "name", ["class", "2nd", "Churn", "a b", "a-b", "import", "__class__", "inputs", "", "x" * 41]
)
def test_names_that_python_would_not_take(name: str) -> None:
    parts = [{"name": name, "gives": {}}]
    with pytest.raises(FormatError, match=r"parts\.1\.name"):
        described(WHOLE, tasks={**WHOLE["tasks"], "parts": parts})


@pytest.mark.parametrize("part", [{"effect": "crm.write"}, {"undo": "crm.undo"}, {"irreversible": True}])
def test_an_effect_is_undone_or_called_irreversible(part: dict[str, Any]) -> None:
    parts = [{"name": "a", **part}]
    with pytest.raises(FormatError, match=r"parts\.1"):
        described(WHOLE, tasks={**WHOLE["tasks"], "parts": parts})


def test_names_are_given_once_and_parts_are_few() -> None:
    twice = [{"name": "a"}, {"name": "a"}]
    with pytest.raises(FormatError, match="part 'a' is named twice"):
        described(WHOLE, tasks={**WHOLE["tasks"], "parts": twice})
    effects = [{"effect": "a.b", "undo": "a.c"}, {"effect": "a.d", "undo": "a.c"}]
    with pytest.raises(FormatError, match=r"effect 'a\.c' is named twice"):
        described(WHOLE, effects=effects)
    many = [{"name": f"p{n}"} for n in range(MOST_PARTS + 1)]
    with pytest.raises(FormatError, match=r"tasks\.parts"):
        described(WHOLE, tasks={**WHOLE["tasks"], "parts": many})
