"""What keys must agree on across a section, and across sections. Pure: a structure enters, clashes leave.

1. A clash is blamed on the key that the operator has to change or to add; the others that it rests on come after it, so
   that nothing is said about a value that could not be read.
2. Every clash is found at once: no check waits for another.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from relay.accounts.oauth import is_trusted_url
from relay.config.sections import Access, UnknownRecipients
from relay.config.structure import Structure
from relay.primary.settings import TlsMode


class Clash(NamedTuple):
    """Keys that do not fit together."""

    keys: tuple[str, ...]
    """Dotted; the first is to blame."""
    problem: str
    hint: str


def clashes(config: Structure) -> Iterator[Clash]:
    """All of them, in the order of the sections."""
    for check in (_tls, _domains, _primary, _listen, _oauth, _replay, _retention, _smarthost):
        yield from check(config)


def _tls(config: Structure) -> Iterator[Clash]:
    tls = config.tls
    pair = ("tls.certificate", "tls.private_key")
    if (tls.certificate is None) != (tls.private_key is None):
        absent, present = pair if tls.certificate is None else reversed(pair)
        yield Clash((absent, present), "missing: certificate and private_key go together", "Set both or neither")
    if tls.more and tls.certificate is None and tls.private_key is None:
        hint = "Set these two first"
        yield Clash(("tls.more", *pair), "is beside certificate and private_key, not instead of them", hint)


def _domains(config: Structure) -> Iterator[Clash]:
    domains = config.domains
    if config.listen.mx and not domains.accept:
        problem = "listen.mx would refuse every message: domains.accept is empty"
        yield Clash(("domains.accept", "listen.mx"), problem, "Name your domains here")
    if domains.unknown_recipients is UnknownRecipients.REJECT and domains.recipients_file is None:
        yield Clash(
            ("domains.recipients_file", "domains.unknown_recipients"),
            "missing: unknown_recipients = reject without a list would refuse good mail for good",
            "Set domains.recipients_file, or unknown_recipients = tempfail",
        )


def _primary(config: Structure) -> Iterator[Clash]:
    imap = config.primary.imap if config.primary is not None else None
    if imap is None:
        return
    if imap.access is Access.MASTER:
        for name in ("master_user", "master_password_file"):
            if not getattr(imap, name):
                yield Clash(
                    (f"primary.imap.{name}", "primary.imap.access"),
                    "missing: access = master needs master_user and master_password_file",
                    "Set both, or access = none",
                )
    pair = ("primary.imap.probe_user", "primary.imap.probe_password_file")
    if bool(imap.probe_user) != (imap.probe_password_file is not None):
        absent, present = reversed(pair) if imap.probe_user else pair
        yield Clash((absent, present), "missing: probe_user and probe_password_file go together", "Set both or neither")


def _listen(config: Structure) -> Iterator[Clash]:
    if config.tls.certificate is not None or config.tls.private_key is not None:
        return
    listen = config.listen
    for name in ("imaps", "submissions", "https"):
        if getattr(listen, name):
            hint = "Set tls.certificate and tls.private_key, or empty this list"
            yield Clash((f"listen.{name}", "tls.certificate", "tls.private_key"), "needs a certificate", hint)
    if config.imap.plaintext_auth == "never":
        for name in ("imap", "submission"):
            if getattr(listen, name):
                yield Clash(
                    (f"listen.{name}", "tls.certificate", "tls.private_key", "imap.plaintext_auth"),
                    f"nobody could log in on listen.{name}: no TLS, and imap.plaintext_auth = never",
                    "Set tls.certificate and tls.private_key",
                )


def _oauth(config: Structure) -> Iterator[Clash]:
    oauth = config.login.oauth
    if oauth is None:
        return
    url, file, issuer = "login.oauth.jwks_url", "login.oauth.jwks_file", "login.oauth.issuer"
    if oauth.jwks_url and oauth.jwks_file is not None:
        yield Clash((file, url), "jwks_url and jwks_file exclude each other", "Set one, or neither")
    asked = oauth.jwks_url or ("" if oauth.jwks_file else oauth.issuer)
    if asked and not is_trusted_url(asked):
        keys = (url,) if oauth.jwks_url else (issuer, url, file)
        yield Clash(keys, f"keys from {asked} could be anybody's", "Use https://, or http:// on this machine")


def _replay(config: Structure) -> Iterator[Clash]:
    if config.replay.first_delay > config.replay.most_delay:
        keys = ("replay.most_delay", "replay.first_delay")
        yield Clash(keys, "must not be shorter than replay.first_delay", "Raise it, or lower replay.first_delay")


def _retention(config: Structure) -> Iterator[Clash]:
    if config.retention.warn >= config.retention.spool:
        keys = ("retention.warn", "retention.spool")
        problem = "retention.warn must be shorter than retention.spool, or nobody is warned in time"
        yield Clash(keys, problem, "Lower it, or raise retention.spool")


def _smarthost(config: Structure) -> Iterator[Clash]:
    smarthost = config.world.smarthost
    if smarthost is None or not smarthost.user:
        return
    user, file, tls = (f"world.smarthost.{name}" for name in ("user", "password_file", "tls"))
    if smarthost.password_file is None:
        yield Clash((file, user), "missing: user needs password_file", "Set both or neither")
    if smarthost.tls is TlsMode.NONE:
        yield Clash((tls, user), "the password would go out in clear", "Set tls = starttls or implicit")
