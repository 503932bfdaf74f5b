"""MIME and header fields, pure: bytes in, values out (RFC 5322, 2045-2047, 2231; RFC 9051 for what IMAP shows).

`header` finds fields, `structure` takes a message apart, `section` says which bytes a client asked for, `text` reads
them for a search, `build` writes the lines and reports that are ours. Nothing here raises on what a peer sent.
"""
