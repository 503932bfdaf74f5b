"""The sample and the reference say what the structure says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import relay
from relay.config.load import parse
from relay.config.printed import CHOSEN, SHOWN, groups, reference, sample

SMALLEST = '[node]\nhostname = "mx1.example.org"\n'
DOCUMENT = Path(relay.__path__[0]).parent / "docs" / "configuration.md"


def leaves(model: BaseModel, path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in type(model).model_fields:
        value = getattr(model, name)
        below = f"{path}.{name}" if path else name
        found |= leaves(value, below) if isinstance(value, BaseModel) else {below: value}
    return found


def test_the_sample_is_the_defaults_but_for_what_a_site_chooses() -> None:
    sampled = leaves(parse(sample()))
    hosts = "".join(f'[primary.{service}]\nhost = "10.0.0.5"\n' for service in ("smtp", "imap", "submission"))
    plain = leaves(parse(SMALLEST + hosts))
    assert sampled.keys() == plain.keys()
    assert {key for key in plain if sampled[key] != plain[key]} <= CHOSEN


def test_every_commented_key_may_be_uncommented() -> None:
    uncommented = re.sub(r"^#(\[|[a-z_]+ = )", r"\1", sample(), flags=re.MULTILINE)
    config = parse(uncommented)
    every = {key.path for group in groups() for key in group.keys}
    assert leaves(config).keys() == every
    assert every >= SHOWN >= CHOSEN


def test_a_commented_key_shows_its_default() -> None:
    text = sample()
    for group in groups():
        for key in group.keys:
            if key.path not in SHOWN and not key.required and key.default is not None:
                line = rf"^#?\[{re.escape(group.path)}\]$.*?^#{key.name} = ([^\n]*)$"
                shown = re.search(line, text, re.MULTILINE | re.DOTALL)
                assert shown is not None, key.path
                assert tomllib.loads(f"it = {shown[1]}") == {"it": key.default}, key.path


def test_every_key_and_section_is_explained() -> None:
    for group in groups():
        assert group.description.endswith("."), group.path
        for key in group.keys:
            assert key.info.description, key.path


def test_the_document_is_what_is_printed() -> None:
    assert DOCUMENT.read_text() == reference(), "print it again: relay config docs > docs/configuration.md"
    for group in groups():
        assert f"## [{group.path}]" in reference()
