"""The documents point at things that exist."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from relay.cli.app import cli
from tests.house.sources import ROOT

DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
PLACE = re.compile(
    r"`((?:relay|tests|deploy|certs|docs|core|proto|vault|spool|store|obs|primary|accounts|control|inbound|serve|replay|reconcile)/[\w./-]*)`"
)


def anchors(path: Path) -> set[str]:
    """Headings as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def ids(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_links_lead_somewhere(document: Path) -> None:
    for link in LINK.findall(document.read_text()):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = (document.parent / file).resolve() if file else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_named_files_exist(document: Path) -> None:
    for place in PLACE.findall(document.read_text()):
        names = (ROOT / place, ROOT / "relay" / place, ROOT / "relay" / f"{place}.py")
        assert any(name.exists() for name in names), place


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_make_has_what_the_documents_tell_to_make(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)", document.read_text())) <= targets


def commands(text: str) -> set[tuple[str, ...]]:
    """Words after `relay` where a document shows a command: at the start of a code span or of a line of a block."""
    spans = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)
    blocks = "\n".join(re.findall(r"^```[a-z]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)).splitlines()
    words = [line.split("#")[0].split() for line in [*spans, *blocks]]
    return {tuple(line[1:]) for line in words if line[:1] == ["relay"] and len(line) > 1 and line[1].isalpha()}


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_commands_in_the_documents_exist(document: Path) -> None:
    for words in commands(document.read_text()):
        found: click.Command = cli
        used: list[str] = []
        for word in words:
            if not isinstance(found, click.Group):
                break
            context = click.Context(found)
            below = found.get_command(context, word)
            assert below is not None, " ".join(words)
            found = below
            used.append(word)
        options = {option for parameter in found.params for option in parameter.opts} | {"--help", "-h"}
        assert {word for word in words if word.startswith("-")} <= options, " ".join(words)


def test_the_documents_show_commands() -> None:
    shown = commands((ROOT / "docs" / "operations.md").read_text())
    assert {words[0] for words in shown} >= {"status", "queue", "mode", "audit", "check", "keys", "replay"}


@pytest.mark.parametrize("name", ["README.md", "docs/operations.md", "docs/clients.md"])
def test_nobody_is_promised_that_users_outage_work_goes_back(name: str) -> None:
    """To be taken out, with the sentences, by the change that brings it back (reconcile)."""
    text = " ".join((ROOT / name).read_text().replace("**", "").split())
    assert re.search(r"does not go back to the primary yet[,;] only mail does", text)
    assert not re.search(r"everything (that happened|back)|: everything, once", text)


def test_every_decision_has_its_date() -> None:
    for path in (ROOT / "docs" / "decisions").glob("*-*.md"):
        date = path.name[:10]
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", date), path.name
        assert f"\n{date}\n" in path.read_text(), path.name
