"""Protocols as pure values: bytes in, values out, and back. No I/O, no asyncio, no clock, no logging.

`smtp`, `imap` and `mime` each read whatever a peer may send, in any slicing, within limits; `proxy` is the PROXY header
that comes ahead of either.
"""
