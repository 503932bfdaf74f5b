"""What every listener needs before a protocol begins: sockets, PROXY headers, the gate, TLS and its limits.

Bytes of a new connection enter, a connection whose client is known and admitted leaves. Used by `inbound` and `serve`.
"""
