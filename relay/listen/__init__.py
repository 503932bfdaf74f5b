"""What every listener needs before a protocol begins: sockets, PROXY headers, the gate, TLS and its limits.

Octets of a new connection enter; a conversation whose client is known and admitted leaves. Used by `inbound` and
`serve`, each of which brings a `front`: what speaks on the port.

`listener` binds (`sockets`), learns who is there (`proxy`), asks the `gate`, does the handshake of implicit TLS with
the chain that the client asks for (`certificates`), and at the end drains. What stays for long is shared evenly among
the workers before any of that (`sharing`, `balance`).
"""
