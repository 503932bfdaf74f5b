"""From the configuration to what every account has on the standby; as `wiring`, for the mailboxes."""

from __future__ import annotations

from relay.config.model import Config
from relay.spool.folders import Usual
from relay.store.mailbox_records import Quota


def quota(config: Config) -> Quota | None:
    """What an account may hold."""
    return None if config.imap.quota is None else Quota(size=config.imap.quota)


def usual_folders(config: Config) -> list[Usual]:
    """Mailboxes that every account has, in the order in which people look for them."""
    named = config.imap.folders
    uses = (
        (named.drafts, "\\Drafts"),
        (named.sent, "\\Sent"),
        (named.trash, "\\Trash"),
        (named.junk, "\\Junk"),
        (named.archive, "\\Archive"),
    )
    return [Usual(name, use) for name, use in uses if name]
