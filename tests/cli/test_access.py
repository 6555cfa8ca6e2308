"""Tokens at the command line: keys, tokens, a guarded database, and the log of who was allowed what."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, ledger

RULES = """
[roles.pricing]
may = ["decide"]

[roles.operator]
may = ["kill", "release", "resume", "start"]
"""


@pytest.fixture
def rules(ran: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An access file beside a database with cases; the private key is ``ops.pem``."""
    said = cli("token", "keygen", "ops.pem")
    assert said.code == 0, said.err
    snippet = said.out[said.out.index("[keys") :]
    (ran / "access.toml").write_text(snippet + RULES, encoding="utf-8")
    monkeypatch.setenv("PROVENET_DB", "x.db")
    return ran


def issued(cli: Cli, *words: str) -> str:
    """A token of Dana's."""
    said = cli("token", "issue", "dana", "--key", "ops.pem", *words)
    assert said.code == 0, said.err
    return said.out.strip()


def test_a_private_key_is_for_its_owner_alone(rules: Path, cli: Cli) -> None:
    assert stat.S_IMODE((rules / "ops.pem").stat().st_mode) == 0o600
    assert b"PRIVATE" not in (rules / "access.toml").read_bytes()
    said = cli("token", "keygen", "ops.pem")
    assert said.code == 2
    assert "there already" in said.err


def test_what_goes_into_the_access_file_is_all_that_is_printed(rules: Path, cli: Cli) -> None:
    said = cli("token", "keygen", "new.pem")
    assert said.out.startswith('[keys."new"]\npublic = "')
    assert len(said.out.splitlines()) == 2
    assert "new.pem: the private key" in said.err


@pytest.mark.parametrize("broken", ["package", "file"])
def test_rules_that_cannot_be_enforced_make_no_database(
    rules: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    if broken == "package":
        monkeypatch.setitem(sys.modules, "cryptography", None)
    else:
        (rules / "access.toml").write_text("[rolls]\n", encoding="utf-8")
    said = cli("run", "offers.py", "--db", "new.db", "--access", "access.toml")
    assert said.code != 0
    expected = "pip install 'provenet[access]'" if broken == "package" else "did you mean"
    assert expected in said.err
    assert not (rules / "new.db").exists()


def test_a_token_is_inspected(rules: Path, cli: Cli) -> None:
    made = issued(cli, "--role", "pricing", "--do", "decide", "--command", '{"do": "resume", "case": "bert"}')
    said = cli("token", "inspect", "--token", made, "--access", "access.toml", "--json")
    assert said.code == 0, said.err
    assert (said.json["name"], said.json["roles"], said.json["do"]) == ("dana", ["pricing"], ["decide"])
    assert len(said.json["command"]) == 64
    broken = cli("token", "inspect", "--token", made[:-5], "--access", "access.toml")
    assert broken.code == 1
    assert "refused" in broken.err
    assert made[:-5] not in broken.err


def test_a_guarded_database(rules: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    done = cli("run", "offers.py", "--access", "access.toml")
    assert done.code == 0, done.err
    refused = cli("approve", "bert", "--as", "dana@pricing", "--access", "access.toml")
    assert refused.code == 1
    assert "takes a token" in refused.err
    assert "without the rules" in cli("kill", "--all").err
    assert cli("kill", "--all", "--access", "off").code == 2  # there is no such file, and it is no way out

    pricing = issued(cli, "--role", "pricing")
    (rules / "token").write_text(pricing, encoding="utf-8")
    monkeypatch.setenv("PROVENET_ACCESS", "access.toml")
    said = cli("approve", "bert", "--token", "@token")
    assert said.code == 0, said.err
    assert "decided by dana@pricing" in said.out
    assert "names dana@pricing, not 'erin@pricing'" in cli(
        "reject", "cleo", "--as", "erin@pricing", "--token", "@token"
    ).err  # fmt: skip
    monkeypatch.setenv("PROVENET_TOKEN", pricing)
    assert "none of its roles may 'kill:net'" in cli("kill", "--net", "offers").err
    operator = issued(cli, "--role", "operator")
    assert cli("kill", "--net", "offers", "--token", operator, "--reason", "drill").code == 0
    assert cli("kill", "--net", "offers", "--release", "--token", operator).code == 0

    (rules / "more.csv").write_text("id,wants\nemil,10\n", encoding="utf-8")
    more = cli("run", "offers.py", "--input", "more.csv")
    assert more.code == 1
    assert "'start'" in more.err
    assert cli("run", "offers.py", "--input", "more.csv", "--token", operator).code == 0
    assert "publish emil 10" in ledger(rules)

    found = cli("access", "--json").json
    assert [(x["verb"], x["verdict"]) for x in found if x["verdict"] != "refused"] == [
        ("rules", "rules"),
        ("decide", "allowed"),
        ("kill", "allowed"),
        ("release", "allowed"),
    ]
    shown = cli("access", "--refused")
    assert "erin@pricing" in shown.out
    for text in (pricing, operator):
        assert text.split(".")[2] not in shown.out + cli("access", "--json").out
    assert cli("audit").code == 0


def test_a_command_guards_no_database(rules: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules of one database are in the environment, and a command is about another."""
    monkeypatch.setenv("PROVENET_ACCESS", "access.toml")
    said = cli("approve", "bert", "--as", "dana@pricing")
    assert said.code == 0, said.err
    assert cli("erase", "anna", "--as", "dana", "--reason", "asked for it").code == 1
    moved = cli("migrate", "--net", "offers", "offers", "--dry-run")
    assert "deploy TARGET` first" in moved.err
    assert cli("access", "--json").json == []
    assert cli("run", "offers.py").code == 0
    refused = cli("kill", "--all", "--as", "dana")
    assert refused.code == 1
    monkeypatch.delenv("PROVENET_ACCESS")
    assert "run TARGET --access off" in cli("kill", "--all", "--as", "dana").err
    assert cli("run", "offers.py", "--access", "off").code == 0
    assert cli("kill", "--all", "--as", "dana").code == 0


def test_a_signed_command_is_good_once(rules: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVENET_ACCESS", "access.toml")
    assert cli("run", "offers.py").code == 0
    command = '{"do": "kill", "scope": "net", "target": "offers", "reason": ""}'
    made = issued(cli, "--role", "operator", "--command", command)
    assert cli("kill", "--all", "--token", made).code == 1
    assert cli("kill", "--net", "offers", "--token", made).code == 0
    assert "used before" in cli("kill", "--net", "offers", "--token", made).err


def test_cases_are_pruned_and_erased_by_who_may(
    rules: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROVENET_ACCESS", "access.toml")
    assert cli("run", "offers.py").code == 0
    erase = ("erase", "anna", "--reason", "asked for it")
    prune = ("prune", "--ended", "done=0h")
    for words in (erase, prune):
        assert cli(*words).code in {1, 2}
    operator = issued(cli, "--role", "operator")
    for words in (erase, prune):
        said = cli(*words, "--token", operator)
        assert said.code == 1, said
        assert "none of its roles may" in said.err, said
    assert len(cli("cases", "--json").json["cases"]) == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("approve", "bert"), "who says so?"),
        (("token", "issue", "dana", "--role", "x"), "what signs it?"),
        (("token", "issue", "dana", "--role", "x", "--secret-env", "NONE_SUCH"), "which key"),
        (("token", "issue", "dana", "--role", "x", "--key", "none.pem"), "No such file"),
        (("token", "issue", "dana", "--role", "x", "--key", "in.csv"), "nothing can be signed"),
        (("token", "issue", "dana", "--role", "x", "--key", "ops.pem", "--command", "{"), "no JSON"),
        (("token", "issue", "dana", "--role", "x", "--key", "ops.pem", "--command", "[]"), "an object"),
        (("approve", "bert", "--token", "@none"), "No such file"),
        (("approve", "bert", "--token", "@x.db"), "it is no text"),
        (("approve", "bert", "--as", "a@pricing", "--access", "none.toml"), "cannot be read"),
        (("grants", "admin", "x"), "no kind of role"),
    ],
)
def test_mistakes(rules: Path, cli: Cli, words: tuple[str, ...], said: str) -> None:
    found = cli(*words)
    assert found.code in {1, 2}
    assert said in found.err
    assert "bug" not in found.err


@pytest.mark.parametrize(
    ("words", "verb", "role"),
    [
        (("approve", "bert", "--as", "dana@pricing"), "decide", "pricing"),
        (("reject", "bert", "--as", "dana@pricing"), "decide", "pricing"),
        (("delegate", "bert", "--to", "erin@pricing", "--as", "dana@pricing"), "delegate", ""),
        (("signal", "bert", "correct"), "signal", ""),
        (("kill", "bert"), "kill:case", "operator"),
        (("kill", "--all"), "kill:all", "operator"),
        (("kill", "--all", "--release"), "release:all", "operator"),
        (("resume", "bert"), "resume", "operator"),
        (("settle", "bert", "crm.publish", "--failed", "no", "--as", "dana"), "settle", ""),
        (("erase", "bert", "--as", "dana", "--reason", "asked for it"), "erase", ""),
        (("prune", "--ended", "done=0h"), "prune", ""),
        (("run", "offers.py", "--input", "more.csv"), "start", "operator"),
    ],
)
def test_who_has_no_token_is_told_which_one_it_takes(
    rules: Path, cli: Cli, words: tuple[str, ...], verb: str, role: str
) -> None:
    (rules / "more.csv").write_text("id,wants\nemil,10\n", encoding="utf-8")
    assert cli("run", "offers.py", "--access", "access.toml").code == 0
    unknown = cli(*words)
    assert unknown.code == 1
    for part in ("EN441", "guarded", "--access FILE", "PROVENET_ACCESS", "--token @FILE", "PROVENET_TOKEN"):
        assert part in unknown.err
    refused = cli(*words, "--access", "access.toml")
    assert refused.code == 1
    assert f"{verb!r} takes a token" in refused.err
    if role:
        assert f"with a role that may: {role}\n" in refused.err
        assert "--token @FILE" in refused.err
        assert "PROVENET_TOKEN" in refused.err
    else:
        assert "no role that may" in refused.err
        assert f'may = ["{verb}"]' in refused.err
    made = issued(cli, "--role", "nobody")
    without = cli(*words, "--access", "access.toml", "--token", made.strip()) if "--as" not in words else None
    if without is not None:
        assert f"none of its roles may {verb!r}" in without.err
        assert f"its roles: nobody; those that may: {role or 'none'}\n" in without.err


def test_a_token_file_without_a_token_is_told(rules: Path, cli: Cli) -> None:
    (rules / "empty").touch()
    said = cli("kill", "bert", "--token", "@empty")
    assert said.code == 2
    assert "@empty  this is no token: the file is empty" in said.err


def test_a_shared_secret_signs_as_well(rules: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMALL", "a secret of more than thirty-two bytes")
    text = '[keys.small]\nsecret_env = "SMALL"\nroles = ["pricing"]\n' + RULES
    (rules / "small.toml").write_text(text, encoding="utf-8")
    words = ("token", "issue", "dana", "--secret-env", "SMALL", "--kid", "small", "--role", "pricing")
    made = cli(*words).out.strip()
    said = cli("approve", "bert", "--token", made, "--access", "small.toml")
    assert said.code == 1
    assert "not guarded, and a token says nothing there" in said.err
    assert cli("run", "offers.py", "--access", "small.toml").code == 0
    said = cli("approve", "bert", "--token", made, "--access", "small.toml")
    assert said.code == 0, said.err


def test_grants_are_statements(cli: Cli) -> None:
    assert cli("grants", "admin", "x").code == 2
    said = cli("grants", "post", "asker")
    assert said.code == 0
    assert 'GRANT SELECT ON "public".provenet_meta TO "asker";' in said.out
    assert "UPDATE" not in said.out
