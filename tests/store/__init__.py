"""The store contract, checked line by line on every engine, and what only an engine with a disk can get wrong."""
