"""`relay run`."""

from __future__ import annotations

from pathlib import Path

import click

from relay.cli.common import config_file, config_option, load_config
from relay.config import ConfigFaults


@click.command()
@config_option
@click.option("--worker", type=int, hidden=True, help="Number of this worker; used by the supervisor.")
def run(path: Path | None, worker: int | None) -> int:
    """Run the node in the foreground until TERM or INT.

    HUP reads the certificates again. Exit code 78: it cannot start before the configuration is changed.

    \b
    Example:
      relay run -c /etc/relay/relay.toml
    """
    from relay import node
    from relay.workers import EXIT_CONFIG

    try:
        config = load_config(path)
    except ConfigFaults as faults:
        for fault in faults.faults:
            click.echo(f"relay: {fault}", err=True)
        return EXIT_CONFIG
    return node.run(config, config_file(path), worker=worker)
