"""The command tree, loaded as needed; and what becomes of errors: one line that names the thing and the remedy."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from types import MappingProxyType

import click

from relay import __version__
from relay.cli.common import OK, PROBLEM, UNREACHABLE, USAGE, Problem, Unreachable
from relay.core.errors import ConfigFault, RelayError
from relay.obs import logs
from relay.store.api import StoreUnavailable

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "run": "relay.cli.run:run",
        "demo": "relay.cli.demo.command:demo",
        "check": "relay.cli.check:check",
        "config": "relay.cli.config:config",
        "keys": "relay.cli.keys:keys",
        "status": "relay.cli.status:status",
        "queue": "relay.cli.queue:queue",
        "mode": "relay.cli.mode:mode",
        "replay": "relay.cli.replay:replay",
        "audit": "relay.cli.audit:audit",
        "user": "relay.cli.user:user",
    }
)
"""Name -> where it is; in the order of the help text."""


class LazyGroup(click.Group):
    """Imports a command when it is used, so that `relay --help` and health checks are quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of COMMANDS."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None where there is none of that name."""
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="relay")
@click.option("--debug", is_flag=True, help="Show the trace of an error, and the log of what is done.")
@click.pass_context
def cli(ctx: click.Context, *, debug: bool) -> None:
    """A standby mail relay: takes the mail while the primary is down, lets users read it, gives it back once.

    Exit codes: 0 well, 1 problem found, 2 wrong usage or configuration, 3 cannot reach, 78 `run` cannot start.

    \b
    Example:
      relay check -c /etc/relay/relay.toml
    """
    ctx.obj = debug
    logs.configure(logs.LogSettings(level="debug" if debug else "error", json=False), sys.stderr)


def main(arguments: list[str] | None = None) -> None:
    """Run a command and end the process with its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in words
    try:
        code = cli.main(words, prog_name="relay", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as nothing:
        click.echo(nothing.format_message())
        sys.exit(USAGE)
    except click.ClickException as wrong:
        wrong.show()
        sys.exit(USAGE)
    except click.Abort:
        _say("interrupted")
        sys.exit(130)
    except Problem as problem:
        sys.exit(_failed(problem, PROBLEM, debug=debug))
    except Unreachable as unreachable:
        sys.exit(_failed(unreachable, UNREACHABLE, debug=debug))
    except ConfigFault as fault:
        sys.exit(_failed(fault, USAGE, debug=debug))
    except StoreUnavailable as unavailable:
        sys.exit(_failed(unavailable, UNREACHABLE, debug=debug))
    except RelayError as error:
        sys.exit(_failed(error, PROBLEM, debug=debug))
    except BrokenPipeError:
        sys.exit(OK)  # `relay queue list | head`
    except Exception as bug:  # the operator gets a sentence and an exit code, not a trace
        if debug:
            raise
        _say(f"a defect in this program ({type(bug).__name__}); please report it with the output of --debug")
        sys.exit(PROBLEM)
    sys.exit(code if isinstance(code, int) else OK)


def _failed(error: Exception, code: int, *, debug: bool) -> int:
    if debug:
        raise error
    for line in str(error).splitlines():
        _say(line)
    return code


def _say(line: str) -> None:
    click.echo(f"relay: {line}", err=True)
