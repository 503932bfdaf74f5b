"""The section about who may send as whom."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import BeforeValidator

from relay.config.faults import wrong
from relay.config.types import REQUIRED, Section, key, split_list


def _senders(given: object) -> object:
    listed = split_list(given)
    for one in listed if isinstance(listed, list | tuple) else ():
        if not isinstance(one, str) or not one.partition("@")[2]:
            raise wrong(f"{one!r} is no address", 'Write "sales@example.org", or "@example.net" for a whole domain')
    return listed


Senders: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_senders)]


class SendAsSection(Section):
    """Addresses that a user may send as, besides their own."""

    user: str = key(REQUIRED, "A login; * = everybody who is logged in.", example="alice@example.org")
    addresses: Senders = key(REQUIRED, "Addresses; @domain = all of it.", example=["sales@example.org", "@example.net"])


class SubmissionSection(Section):
    """Mail from users while the primary cannot take it. While it can, it alone decides."""

    send_as: Annotated[tuple[SendAsSection, ...], BeforeValidator(split_list)] = key(
        [],
        """Who may send as whom. Without an entry users send as their own address, its subaddresses and its aliases. May
        also be written as [[submission.send_as]] tables.""",
        example=[{"user": "alice@example.org", "addresses": ["sales@example.org"]}],
    )
