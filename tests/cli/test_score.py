"""`provenet score`: the table, the exit code, the picture, and what a net without anything to audit says."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Cli

SHOP = """
from provenet import Contract, Effect, NetBuilder, Token, scripted, within

class Offer(Token):
    customer: str
    discount: int

net = NetBuilder("shop")
asked, sold, off = net.entry("asked", Offer), net.final("sold", Offer), net.final("off", Offer)
bill = Effect("bill", lambda request: None, payload=Offer)
ALL = lambda proposal, inputs: True
POLICY = within(Offer, lambda o: o.discount <= 30, name="discount v1")
net.add(Contract(
    "offer", takes=asked, gives=sold, otherwise=off, propose=scripted({}), returns=Offer, verify=VERIFY,
    commit=bill,
))
"""


def shop(folder: Path, verify: str) -> str:
    (folder / "shop.py").write_text(SHOP.replace("VERIFY", verify), encoding="utf-8")
    return "shop.py"


def test_an_explicit_boundary(cli: Cli, folder: Path) -> None:
    said = cli("score", shop(folder, "POLICY"))
    assert said.code == 0
    assert "explicit" in said.out
    assert "offer → bill" in said.out
    assert "As good as its weakest: offer → bill: explicit, policy." in said.out


def test_what_is_demanded_decides(cli: Cli, folder: Path) -> None:
    target = shop(folder, "ALL")
    assert cli("score", target).code == 0
    said = cli("score", target, "--least", "policy", "--json")
    assert said.code == 1
    assert said.json["weakest"]["strength"] == "schema"
    assert said.json["opaque"][0]["at"] == "offer"
    assert not said.json["holds"]
    wrong = cli("score", target, "--least", "iron")
    assert wrong.code == 2
    assert "business rule" in wrong.err


def test_a_hand_built_net_is_missing_everything(cli: Cli, folder: Path) -> None:
    (folder / "raw.py").write_text(
        """
from provenet import NetBuilder, Perform, Token
from provenet.nets import Ask

class Offer(Token):
    customer: str
    discount: int

net = NetBuilder("raw")
start, said, done = net.entry("start", Offer), net.place("said", Offer), net.final("done", Offer)
net.transition("ask", takes={"c": start}, brings={"o": Offer}, puts={said: "o"}, trigger=Ask("m"))
net.transition("do", takes={"o": said}, brings={"r": None}, puts={done: "o"}, trigger=Perform("bill"))
""",
        encoding="utf-8",
    )
    said = cli("score", "raw.py")
    assert said.code == 1
    assert "missing" in said.out
    assert "nothing looks at it: ask → do" in said.out
    assert "refuted" in said.out


def test_a_net_of_places_and_transitions_has_nothing_to_audit(cli: Cli, folder: Path) -> None:
    (folder / "plain.py").write_text(
        """
from provenet import NetBuilder

net = NetBuilder("plain")
p, q = net.place("p", initial=[()]), net.final("q")
net.route("t", takes=p, puts=q)
""",
        encoding="utf-8",
    )
    assert cli("export", "plain.py", "-o", "plain.pnml").code == 0
    for target in ("plain.py", "plain.pnml"):
        said = cli("score", target)
        assert said.code == 0
        assert "nothing to stand before" in said.out


def test_the_picture(cli: Cli, folder: Path) -> None:
    said = cli("score", shop(folder, "POLICY"), "--out", "gates.svg", "--json")
    assert said.code == 0
    assert said.json["counts"]["explicit"] == 1
    assert b"discount v1" in (folder / "gates.svg").read_bytes()
    assert cli("score", "shop.py", "--out", "gates.txt").code == 2
