"""From the configuration to what users may send, and how: pure translation."""

from __future__ import annotations

from collections.abc import Callable

from relay import wiring
from relay.accounts.names import Naming
from relay.config.model import Config
from relay.inbound.policy import LocalDomainsOnly, UsersMayWrite
from relay.inbound.ports import Submitting
from relay.inbound.senders import Grant, Senders
from relay.primary.settings import Deadlines, SmtpSettings
from relay.store.records import Route


def takes_submission(config: Config) -> bool:
    """Whether users can send through us."""
    return bool(config.listen.submission or config.listen.submissions)


def submitting(config: Config, naming: Naming) -> Submitting:
    """What users may do who are logged in."""
    grants = (Grant(one.user, one.addresses) for one in config.submission.send_as)
    return Submitting(
        senders=Senders(naming, grants),
        policy=UsersMayWrite(LocalDomainsOnly(config.domains.accept)),
        route_of=route_of_submitted(config),
    )


def route_of_submitted(config: Config) -> Callable[[str], Route]:
    """Where mail that a user sends goes, by the recipient."""
    ours = LocalDomainsOnly(config.domains.accept)
    foreign = Route.PRIMARY if config.world.hold else Route.WORLD
    return lambda address: Route.PRIMARY if "@" not in address or ours.has(address) else foreign


def route_of_notices(config: Config) -> Callable[[str], Route]:
    """Where reports to senders go: with a way out as users' mail does, else the platform is asked to deliver them."""
    return route_of_submitted(config) if takes_submission(config) else lambda _address: Route.PRIMARY


def primary(config: Config) -> SmtpSettings | None:
    """The primary's submission, as users are passed through to it."""
    section = None if config.primary is None else config.primary.submission
    if section is None:
        return None
    return SmtpSettings(
        endpoint=wiring.endpoint(section),
        helo=config.node.hostname,
        deadlines=Deadlines(
            open=section.open_timeout,
            command=section.command_timeout,
            block=section.final_timeout,
            final=section.final_timeout,
        ),
    )
