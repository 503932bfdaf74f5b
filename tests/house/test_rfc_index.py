"""`docs/rfc.md` is the list of the RFCs that the code cites, no more and no less, each with how far it is kept."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Final

from tests.house.sources import ROOT, modules

CITATION: Final = re.compile(r"\bRFC (\d{3,5})\b")
ROW: Final = re.compile(r"^\| \[(\d+)\]\((\S+)\) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
STATUSES: Final = {"yes", "partly", "grammar", "background"}


def _cited() -> dict[int, set[str]]:
    """RFC number to the files of `relay/` that name it."""
    cited: dict[int, set[str]] = defaultdict(set)
    for module in modules("relay"):
        for number in CITATION.findall(module.path.read_text()):
            cited[int(number)].add(module.name)
    return cited


def _rows() -> list[tuple[int, str, str, str, str]]:
    """Number, link, subject, status, note."""
    text = (ROOT / "docs" / "rfc.md").read_text()
    return [(int(row[1]), row[2], row[3].strip(), row[4].strip(), row[5].strip()) for row in ROW.finditer(text)]


def test_the_index_names_what_the_code_names() -> None:
    listed = {row[0] for row in _rows()}
    cited = _cited()
    assert {number: sorted(cited[number]) for number in cited.keys() - listed} == {}, "add them to docs/rfc.md"
    assert listed - cited.keys() == set(), "no code names these: remove them from docs/rfc.md"


def test_rows_are_sorted_linked_and_have_a_known_status() -> None:
    rows = _rows()
    assert len(rows) > 20
    numbers = [row[0] for row in rows]
    assert numbers == sorted(set(numbers))
    assert [row for row in rows if row[1] != f"https://www.rfc-editor.org/rfc/rfc{row[0]}"] == []
    assert [row for row in rows if row[3] not in STATUSES] == []
    assert [row for row in rows if not row[2] or not row[4]] == []
