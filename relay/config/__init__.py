"""The configuration: one typed structure, from which defaults, checks, the sample file and its reference are printed.

`load(path)` answers with a `Config` or raises `ConfigFaults`, which names every fault at once.
"""

from relay.config.faults import ConfigFaults, Fault
from relay.config.load import load
from relay.config.model import Config
from relay.config.secrets import read_secret

__all__ = ["Config", "ConfigFaults", "Fault", "load", "read_secret"]
