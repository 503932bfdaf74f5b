"""`relay config`: the sample file and the reference, printed from the structure."""

from __future__ import annotations

import click

from relay.cli.common import json_option, print_json


@click.group()
def config() -> None:
    """Print a configuration to start from, or the reference of all keys.

    \b
    Example:
      relay config sample
    """


@config.command()
@json_option
def sample(*, as_json: bool) -> None:
    """Print a commented configuration file.

    \b
    Example:
      relay config sample > /etc/relay/relay.toml
    """
    from relay.config import printed

    text = printed.sample()
    if as_json:
        import tomllib

        print_json(tomllib.loads(text))
    else:
        click.echo(text, nl=False)


@config.command()
@json_option
def docs(*, as_json: bool) -> None:
    """Print the reference of all keys in Markdown (docs/configuration.md).

    \b
    Example:
      relay config docs > docs/configuration.md
    """
    from relay.config import printed

    if as_json:
        print_json(
            {
                key.path: {
                    "default": None if key.required else key.default,
                    "required": key.required,
                    "meaning": key.info.description,
                }
                for group in printed.groups()
                for key in group.keys
            }
        )
    else:
        click.echo(printed.reference(), nl=False)
