"""The words of the domain, as pure values: no I/O, no clock, no logging.

Everything above speaks in these: `ItemId`, `Envelope`, `Origin`, `ItemState`, `Mode`, `Reply`, and errors sorted by
whose fault they are. A module here may be imported from anywhere and imports nothing of ours but its siblings.
"""
