"""The queue runner: what the spool owes goes to the primary, each message once.

`runner` claims and paces, `destination` carries one message, `outcome` (pure) says what its replies mean, `gate` (pure)
how many may be under way, `verify` settles what nobody knows, `retention` and `notice` care for what cannot go.
"""
