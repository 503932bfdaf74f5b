"""SASL (RFC 4422) without I/O: what a client sends to prove who it is, for IMAP and submission alike.

`credentials` is what comes of it, `mechanisms` the table of what we understand and the exchange that reads it, `bearer`
the messages of the two token mechanisms.
"""
