"""The sample file and the reference, printed from the structure. Leaves: TOML and Markdown text.

1. The sample parses to a configuration whose values are the defaults, except where a site must choose its own
   (`CHOSEN`); with every `#key` line uncommented it parses as well.
2. Nothing is described twice: the comments are the descriptions of the keys, the headings those of the sections.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from enum import Enum
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from relay.config.faults import example, submodel, toml_value
from relay.config.model import Config
from relay.config.types import limits_of

CHOSEN = frozenset(
    {
        "node.name",
        "node.hostname",
        "store.url",
        "vault.key_file",
        "tls.certificate",
        "tls.private_key",
        "domains.accept",
        "primary.smtp.host",
        "primary.imap.host",
        "primary.submission.host",
        "listen.mx",
        "listen.submission",
        "listen.submissions",
        "listen.imap",
        "listen.imaps",
    }
)
"""Keys that the sample sets to an example: a site has its own."""
SHOWN = CHOSEN | {
    "node.data_dir",
    "node.workers",
    "domains.unknown_recipients",
    "primary.smtp.port",
    "primary.smtp.tls",
    "primary.imap.port",
    "primary.imap.tls",
    "primary.imap.access",
    "primary.submission.port",
    "primary.submission.tls",
    "listen.http",
    "imap.plaintext_auth",
    "failover.probe_interval",
    "failover.failures",
    "failover.successes",
    "failover.timeout",
    "replay.messages_per_second",
    "replay.concurrency",
    "retention.spool",
    "retention.shadow",
}
"""Keys that the sample sets; all others are shown as `#key = default`."""

_WIDTH = 110
_SAMPLE_HEAD = """\
# Configuration of a standby mail relay. Printed by: relay config sample
# Lines that start with "#key =" show the default. Every key can also be set by the environment,
# section.key as RELAY_SECTION__KEY. Secrets are named by files. Check with: relay check -c FILE
"""
_REFERENCE_HEAD = """\
# Configuration

One TOML file (`relay run -c FILE`), every key also by the environment: `primary.smtp.host` is
`RELAY_PRIMARY__SMTP__HOST`; the environment wins. Lists are written `["a", "b"]` in both, or `a, b` in the environment.
Times and sizes carry their unit: `500ms`, `2s`, `10m`, `12h`, `30d`; `512kB`, `50MB`, `1GiB`. Secrets are never written
here: a `*_file` key names the file whose first line is the secret. Relative paths start at the working directory.

`relay config sample` prints a commented file to start from, `relay check -c FILE` tries what it says, and every fault
is shown at once with its key and a remedy. This page is printed by `relay config docs`.
"""


class Key(NamedTuple):
    """One key, ready to be printed."""

    path: str
    name: str
    info: FieldInfo

    @property
    def default(self) -> Any:
        """As the operator would write it; None = not set."""
        value = self.info.get_default(call_default_factory=False)
        return value.value if isinstance(value, Enum) else value

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.info.is_required()


class Group(NamedTuple):
    """One section with its keys; `optional` = absent unless it is written."""

    path: str
    description: str
    keys: tuple[Key, ...]
    optional: bool


def groups(model: type[BaseModel] = Config, path: str = "", optional: bool = False) -> Iterator[Group]:
    """All sections, outer ones first, in the order of the structure."""
    keys, inner = [], []
    for name, info in model.model_fields.items():
        below = f"{path}.{name}" if path else name
        section = submodel(info)
        if section is None:
            keys.append(Key(below, name, info))
        else:
            inner.append((section, below, optional or (not info.is_required() and info.default is None)))
    if path:
        yield Group(path, (model.__doc__ or "").strip(), tuple(keys), optional)
    for section, below, maybe in inner:
        yield from groups(section, below, maybe)


def sample() -> str:
    """The commented configuration file."""
    blocks = [_SAMPLE_HEAD]
    for group in groups():
        if not group.keys:
            continue  # a section of sections; its parts say it all
        shown = [key.path for key in group.keys if key.path in SHOWN]
        lead = "#" if group.optional and not shown else ""
        lines = [_comment(group.description), f"{lead}[{group.path}]"]
        for key in group.keys:
            lines.append(_comment(_explained(key)))
            lines.append(_assignment(key))
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def reference() -> str:
    """The Markdown page."""
    parts = [_REFERENCE_HEAD]
    for group in groups():
        heading = f"## [{group.path}]\n\n{group.description}{' Optional.' if group.optional else ''}\n"
        if not group.keys:
            parts.append(heading)
            continue
        rows = ["| key | default | meaning |", "|---|---|---|"]
        rows += [f"| `{key.name}` | {_default_cell(key)} | {_cell(key)} |" for key in group.keys]
        parts.append(heading + "\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _explained(key: Key) -> str:
    text = key.info.description or ""
    if key.required:
        text = f"{text} Required."
    text += _limits(key)
    if key.info.examples and key.path not in SHOWN and key.default is not None and not key.required:
        text += f" Example: {toml_value(example(key.info))}"
    return text


def _assignment(key: Key) -> str:
    if key.path in CHOSEN:
        return f"{key.name} = {toml_value(example(key.info))}"
    if key.path in SHOWN:
        return f"{key.name} = {toml_value(key.default)}"
    value = example(key.info) if key.default is None or key.required else key.default
    return f"#{key.name} = {toml_value(value)}"


def _comment(text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent="# ", subsequent_indent="# ")


def _default_cell(key: Key) -> str:
    if key.required:
        return "**required**"
    return "not set" if key.default is None else f"`{toml_value(key.default)}`"


def _limits(key: Key) -> str:
    limits = limits_of(key.info)
    if limits is None:
        return ""
    words = ((limits.least, "At least"), (limits.most, "At most"))
    return "".join(f" {word} {limit}." for limit, word in words if limit is not None)


def _cell(key: Key) -> str:
    text = (key.info.description or "") + _limits(key)
    if key.info.examples:
        text += f" Example: `{toml_value(example(key.info))}`"
    return text.replace("|", "\\|").replace("<", "&lt;")
