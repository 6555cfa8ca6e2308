"""Every page does what it says: its programs run, its links lead somewhere, its lists are complete."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.docs.pages import ROOT, Block, Runner, blocks, commands, same, story, words

PAGES = sorted(
    p
    for p in (
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
        *(ROOT / "verify").rglob("*.md"),
    )
)
ENTRIES = sorted((ROOT / "verify" / "catalogue").glob("*.md"))
RUNNABLE = [p for p in PAGES if any(b.language in {"python", "console"} or b.marks for b in blocks(p))]
PICTURES = sorted((ROOT / "docs" / "pictures").glob("*.svg"))


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", RUNNABLE, ids=named)
def test_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = dict(sys.modules)
    runner = Runner(tmp_path)
    try:
        for block in story(page):
            runner.run(block)
    finally:
        for name in set(sys.modules) - set(before):
            if Path(getattr(sys.modules[name], "__file__", None) or tmp_path / name).parent == tmp_path:
                del sys.modules[name]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_block_says_what_it_is(page: Path) -> None:
    known = {"python", "console", "text", "json", "sh", "diff", "yaml", "toml"}
    odd = [f"{b.where}: {b.language!r}" for b in blocks(page) if b.language not in known]
    assert not odd, f"name a language of {sorted(known)}: {odd}"
    idle = [b.where for b in blocks(page) if b.language == "console" and not {"run", "show"} & set(b.marks)]
    assert not idle, f"mark console blocks with <!-- test: run --> or <!-- test: show -->: {idle}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"(?:src|href)=\"([^\"]+)\"", text)
    broken = []
    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(target)
    assert not broken, f"{named(page)} links to {broken}"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them, and those it names itself."""
    text = page.read_text(encoding="utf-8")
    found = set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text))
    for heading in re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", heading.lower().strip())
        found.add(plain.replace(" ", "-"))
    return found


def test_catalogue_lists_every_property() -> None:
    from provenet.verify.asked import WORDS
    from provenet.verify.check import CATALOGUE
    from provenet.verify.properties import user

    page = (ROOT / "docs" / "catalogue.md").read_text(encoding="utf-8")
    wanted = {*CATALOGUE, *(p.id for p in user.CATALOGUE), *(r.kind for r in WORDS.values())}
    listed = re.findall(r"^\| \[([\w-]+)\]\(\.\./verify/catalogue/([\w-]+)\.md\) \|", page, re.MULTILINE)
    assert all(name == file for name, file in listed)
    assert {name for name, _ in listed} == wanted, "give each a row in docs/catalogue.md, with its page"
    assert len(listed) == len(wanted)


@pytest.mark.parametrize("page", ENTRIES, ids=lambda p: p.stem)
def test_catalogue_entry_has_its_sections(page: Path) -> None:
    title, *rest = page.read_text(encoding="utf-8").splitlines()
    assert title.startswith(f"# {page.stem} ")
    assert [line for line in rest if line.startswith("## ")] == [
        *("## What it says", "## Why it matters", "## How it is proved"),
        *("## A refutation", "## How to mend it"),
    ]


def test_catalogue_entries_name_mutants_that_catch_them() -> None:
    from provenet.examples.contract_renewal.mutants import MUTANTS

    caught = {m.name: m.caught_by for m in MUTANTS}
    named_there = 0
    for page in ENTRIES:
        text = page.read_text(encoding="utf-8")
        for line in re.findall(r"^\*Broken on purpose:\* (.+?)(?=\n\n|\Z)", text, re.MULTILINE | re.DOTALL):
            named_there += 1
            for name in re.findall(r"`([^`]+)`", line):
                assert name in caught, f"there is no mutant {name!r}"
                assert page.stem in caught[name], f"{name!r} is caught by {caught[name]}, not by {page.stem}"
    assert named_there >= 20


def test_format_page_has_every_key() -> None:
    import json

    schema = json.loads((ROOT / "nets" / "formats" / "net.schema.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "net-format.md").read_text(encoding="utf-8")
    missing = [key for key in schema["properties"] if f"`{key}`" not in page]
    kinds = [k["properties"]["kind"]["const"] for k in schema["$defs"]["trigger"]["oneOf"]]
    missing += [kind for kind in kinds if f"`{kind}`" not in page]
    assert not missing


def test_engine_page_has_every_fault_point_and_error() -> None:
    from provenet.engine.faults import POINTS

    page = (ROOT / "docs" / "engine.md").read_text(encoding="utf-8")
    codes = re.findall(r"EN4\d\d", (ROOT / "engine" / "errors.py").read_text(encoding="utf-8"))
    assert not [name for name in (*POINTS, *codes) if name not in page]


def options_by_command() -> dict[str, set[str]]:
    """The command line as it is: each command with its options."""
    from typer.main import get_command

    from provenet.cli.main import make_app

    found = getattr(get_command(make_app()), "commands", {})
    return {name: options_of(command) for name, command in found.items()}


def options_of(command: Any) -> set[str]:
    """A command's options, and those of the commands below it."""
    mine = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
    return mine.union(*map(options_of, getattr(command, "commands", {}).values()))


def test_commands_page_is_complete() -> None:
    there = options_by_command()
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    sections = {
        m[1]: m[2]
        for m in re.finditer(r"^### `provenet ([\w-]+)(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
    }
    assert set(sections) == set(there)
    for name, text in sections.items():
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        unknown = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", prose)) - there[name]
        assert not unknown, f"`provenet {name}` has no {sorted(unknown)}"


def test_commands_on_pages_exist() -> None:
    there = options_by_command()
    wrong = []
    for page in PAGES:
        for each in blocks(page):
            if each.language == "console":
                for line, _ in commands(each.text):
                    for part in re.split(r";|&&|\|", line):
                        parts = words(part)
                        if parts[:1] == ["provenet"] and len(parts) > 1 and not parts[1].startswith("-"):
                            known = there.get(parts[1], set())
                            wrong += [
                                f"{each.where}: {parts[1]} {w}"
                                for w in (parts[1:] if not known else parts[2:])
                                if not known or (w.startswith("-") and w.partition("=")[0] not in known)
                            ]
    assert not wrong


def test_workflows_on_pages_use_options_that_exist() -> None:
    there = options_by_command()
    found = [b.text.replace("\\\n", " ") for page in PAGES for b in blocks(page) if b.language == "yaml"]
    lines = [
        line.strip() for text in found for line in text.splitlines() if " provenet " in f" {line.strip()} "
    ]
    used = [words(line) for line in lines if line.startswith("provenet ")]
    assert used
    for _, command, *rest in used:
        assert {word for word in rest if word.startswith("-")} <= there[command]


@pytest.mark.parametrize("picture", PICTURES, ids=named)
def test_pictures_are_small_and_used(picture: Path) -> None:
    assert picture.stat().st_size < 200_000
    assert ET.parse(picture).getroot().tag.endswith("svg")
    assert any(picture.name in page.read_text(encoding="utf-8") for page in PAGES), "no page shows it"


def test_picture_of_the_renewal_net_is_up_to_date() -> None:
    from provenet.examples.contract_renewal import agent

    drawn = "".join(ET.parse(ROOT / "docs" / "pictures" / "renewal.svg").getroot().itertext())
    net = agent().net
    missing = [c.id for c in net.contracts if c.id not in drawn]
    assert not missing, "run: .venv/bin/python docs/pictures/make.py"


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_provenet_is_on_the_path_before_it_is_called(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert -1 < text.find(". .venv/bin/activate") < text.index("$ provenet ")


def test_changelog_knows_this_version() -> None:
    import provenet

    release = provenet.__version__.partition(".dev")[0]
    assert f"## [{release}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


# the runner itself


def block(text: str, *marks: str, language: str = "python") -> Block:
    return Block(ROOT / "README.md", 1, language, text, marks)


def test_runner_shares_a_namespace_and_compares_output(tmp_path: Path) -> None:
    runner = Runner(tmp_path)
    runner.run(block("x = 1\n"))
    runner.run(block("print(x + 1, 'in 3 ms')\n"))
    runner.run(block("2 in 41 ms\n", "output", language="text"))
    with pytest.raises(AssertionError, match="the page shows"):
        runner.run(block("3 in 41 ms\n", "output", language="text"))


def test_runner_wants_the_error_that_the_page_names(tmp_path: Path) -> None:
    runner = Runner(tmp_path)
    runner.run(block("raise ValueError('no')\n", "raises=ValueError"))
    assert runner.printed == "no\n"
    with pytest.raises(AssertionError, match="raises no ValueError"):
        runner.run(block("pass\n", "raises=ValueError"))
    with pytest.raises(KeyError):
        runner.run(block("raise KeyError\n", "raises=ValueError"))


def test_runner_checks_exit_codes(tmp_path: Path) -> None:
    runner = Runner(tmp_path)
    runner.run(block("$ exit 3\n", "run", "exit=3", language="console"))
    with pytest.raises(AssertionError, match="ended with 1, the page says 0"):
        runner.run(block("$ exit 1\n", "run", language="console"))
    with pytest.raises(AssertionError, match="the page shows"):
        runner.run(block("$ echo a\nb\n", "run", language="console"))


def test_hashes_are_compared() -> None:
    same("refunds  3ded6cad  in 3 ms\n", "refunds  3ded6cad  in 41 ms\n", "here")
    with pytest.raises(AssertionError, match="3ded6cad"):
        same("refunds  868cfc43\n", "refunds  3ded6cad\n", "here")


def test_ellipsis_stands_for_lines() -> None:
    same("a\n...\nd\n", "a\nb\nc\nd\n", "here")
    with pytest.raises(AssertionError):
        same("a\n...\nd\n", "a\nb\nc\n", "here")
