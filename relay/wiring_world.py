"""From the configuration to the way out: pure translation, but for the secret files that it names."""

from __future__ import annotations

import msgspec

from relay.config.model import Config
from relay.config.secrets import read_secret
from relay.config.world import DkimSection, SmarthostSection
from relay.core.errors import ConfigFault
from relay.primary.settings import Endpoint, PoolSettings
from relay.proto.sasl.credentials import Credentials
from relay.vault.signing import SigningKey
from relay.world.dkim_signer import DkimKey
from relay.world.settings import DnsSettings, Smarthost, WorldSettings
from relay.world.wayout import WayOutSettings

_MOST_KEY_BYTES = 65_536


def way_out(config: Config) -> WayOutSettings:
    """How mail leaves for the world. ConfigFault when a secret or a key cannot be read."""
    section = config.world
    world = WorldSettings(
        hostname=config.node.hostname,
        own_names=section.own_names,
        own_addresses=config.own_addresses,
        port=section.port,
        mta_sts=section.mta_sts,
        dane=section.dane,
        connections=section.connections,
    )
    if section.smarthost is not None:
        most = section.smarthost.connections
        world = msgspec.structs.replace(
            world,
            smarthost=_smarthost(section.smarthost),
            pool=PoolSettings(connections=most, wait=60.0, idle=5.0, uses=100),
            connections=most,
        )
    dns = DnsSettings(servers=section.dns_servers, port=section.dns_port, validates=section.dns_validates)
    return WayOutSettings(world, dns, keys=tuple(map(_key, section.dkim)))


def _smarthost(section: SmarthostSection) -> Smarthost:
    credentials = None
    if section.user and section.password_file is not None:
        credentials = Credentials(
            section.user, read_secret(section.password_file, "world.smarthost.password_file").encode()
        )
    ca_file = str(section.ca_file) if section.ca_file else None
    return Smarthost(Endpoint(section.host, section.port, section.tls, section.verify, ca_file), credentials)


def _key(section: DkimSection) -> DkimKey:
    name = "world.dkim.key_file"
    try:
        with section.key_file.open("rb") as file:
            data = file.read(_MOST_KEY_BYTES)
    except OSError as error:
        raise ConfigFault(
            f"{name}: {section.key_file} cannot be read ({error.strerror}). Let the relay's user read it"
        ) from None
    return DkimKey(section.domain, section.selector, SigningKey.read(data, name))
