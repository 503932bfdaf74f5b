"""GETQUOTA, GETQUOTAROOT and SETQUOTA on the standby (RFC 9208): one root, all mailboxes of the account in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.proto.imap import codes, responses
from relay.proto.imap import commands as c
from relay.serve.answers import DONE, Answer, no
from relay.serve.folders import find
from relay.serve.refusals import NO_MAILBOX

if TYPE_CHECKING:
    from relay.serve.session import Session

ROOT = "User quota"
"""As Dovecot names it: clients show it."""
_UNIT = 1024
"""RFC 9208 5.1: octets that STORAGE counts by."""


async def get_quota(session: Session, command: c.GetQuota) -> Answer:
    """RFC 9208 4.1.1."""
    if command.root != ROOT or session.services.mailboxes.quota is None:
        return no("No such quota root", codes.NONEXISTENT)
    await _tell(session)
    return DONE


async def get_quota_root(session: Session, command: c.GetQuotaRoot) -> Answer:
    """RFC 9208 4.1.2; without a quota there is no root."""
    folder = await find(session, command.mailbox)
    if folder is None:
        return NO_MAILBOX
    limited = session.services.mailboxes.quota is not None
    session.talk.send(responses.quota_root(folder.name, [ROOT] if limited else [], utf8=session.utf8))
    if limited:
        await _tell(session)
    return DONE


async def set_quota(session: Session, command: c.SetQuota) -> Answer:
    """RFC 9208 4.1.3: the operator's, not the user's."""
    return no("Quotas are set by the operator", codes.NOPERM)


async def _tell(session: Session) -> None:
    quota, used = session.services.mailboxes.quota, await session.services.mailboxes.usage(session.account)
    assert quota is not None
    resources = []
    if quota.size is not None:
        resources.append(("STORAGE", -(-used.size // _UNIT), quota.size // _UNIT))
    if quota.messages is not None:
        resources.append(("MESSAGE", used.messages, quota.messages))
    session.talk.send(responses.quota(ROOT, resources))
