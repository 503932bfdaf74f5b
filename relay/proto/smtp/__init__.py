"""SMTP as bytes in and values out (RFC 5321 and its extensions); no I/O, no clock, no logging.

Server side: `command` (lines), `path` and `parameters` (their grammar), `data` (the end of DATA), `content` (what a
body may not hold), `sasl` (AUTH PLAIN, LOGIN). Client side: `reader` (replies), `ehlo` (keywords), `stuffing` (DATA),
`xclient` (XCLIENT, XFORWARD). Shared: `xtext`.
"""
