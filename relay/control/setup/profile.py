"""Apple's configuration profile (iOS, iPadOS, macOS): a property list, unsigned, without a password.

The same domain and address give the same identifiers, so that a profile which is loaded again replaces itself.
"""

from __future__ import annotations

import plistlib
import uuid

from relay.control.setup.settings import ClientSetup, Mailbox

CONTENT_TYPE = "application/x-apple-aspen-config"


def profile(setup: ClientSetup, asked: Mailbox) -> bytes:
    """The profile for an address; `setup` must have both kinds of servers."""
    title = setup.title(asked.domain)
    namespace = uuid.uuid5(uuid.NAMESPACE_DNS, asked.domain)
    outer = str(uuid.uuid5(namespace, asked.address.lower()))
    inner = str(uuid.uuid5(namespace, f"{asked.address.lower()}/mail"))
    identifier = ".".join([*reversed(asked.domain.split(".")), "mail", outer])
    incoming, outgoing, login = setup.imap[0], setup.submission[0], asked.login(setup)
    account = {
        "PayloadType": "com.apple.mail.managed",
        "PayloadVersion": 1,
        "PayloadIdentifier": f"{identifier}.account",
        "PayloadUUID": inner,
        "PayloadDisplayName": title,
        "EmailAccountDescription": title,
        "EmailAccountType": "EmailTypeIMAP",
        "EmailAddress": asked.address,
        "IncomingMailServerAuthentication": "EmailAuthPassword",
        "IncomingMailServerHostName": incoming.host,
        "IncomingMailServerPortNumber": incoming.port,
        "IncomingMailServerUseSSL": True,  # on 143 and 587 it means STARTTLS
        "IncomingMailServerUsername": login,
        "OutgoingMailServerAuthentication": "EmailAuthPassword",
        "OutgoingMailServerHostName": outgoing.host,
        "OutgoingMailServerPortNumber": outgoing.port,
        "OutgoingMailServerUseSSL": True,
        "OutgoingMailServerUsername": login,
        "OutgoingPasswordSameAsIncomingPassword": True,
    }
    content = {
        "PayloadType": "Configuration",
        "PayloadVersion": 1,
        "PayloadIdentifier": identifier,
        "PayloadUUID": outer,
        "PayloadDisplayName": title,
        "PayloadDescription": f"Mail for {asked.address}",
        "PayloadOrganization": title,
        "PayloadRemovalDisallowed": False,
        "PayloadContent": [account],
    }
    return plistlib.dumps(content)
