"""From the configuration to the names that are ours: pure translation."""

from __future__ import annotations

from relay.config.model import Config
from relay.inbound.postmaster import OwnPostmaster


def own_postmaster(config: Config) -> OwnPostmaster:
    """The postmaster of our names and addresses, as far as the configuration tells them."""
    names = (config.node.hostname, *config.world.own_names)
    return OwnPostmaster(names, config.own_addresses, domains=config.domains.accept)
