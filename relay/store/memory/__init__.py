"""The contract in plain dictionaries: the model that other engines are compared with, and a quick store for tests.

Nothing is durable. Written for reading: where this and an engine disagree, one of them misreads `store.api`.
"""

from relay.store.memory.store import MemoryStore

__all__ = ["MemoryStore"]
