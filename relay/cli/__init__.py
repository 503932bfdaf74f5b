"""The operator's hand: `relay`, also `python -m relay`. One file per group of commands.

Commands act on the store directly, so they work while the node is down as well; `status` also asks the running node.

Exit codes: 0 = well; 1 = a problem was found, or the command could not do what it was told; 2 = wrong usage or
configuration; 3 = what had to be reached cannot be reached; 78 = `relay run` cannot start before something is changed.
"""

from relay.cli.app import main

__all__ = ["main"]
