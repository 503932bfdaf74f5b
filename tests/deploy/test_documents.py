"""The documents point at things that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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
        assert (ROOT / place).exists() or (ROOT / "relay" / place).exists(), place


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_make_has_what_the_documents_tell_to_make(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)", document.read_text())) <= targets


def test_every_decision_has_its_date() -> None:
    for path in (ROOT / "docs" / "decisions").glob("*-*.md"):
        date = path.name[:10]
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", date), path.name
        assert f"\n{date}\n" in path.read_text(), path.name
