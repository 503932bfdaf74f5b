"""`relay demo`: the main job in one terminal, on real SMTP and IMAP over loopback.

The primary of the demo is a second node of our own without a primary behind it: it takes mail by SMTP and shows it by
IMAP, which is all that the relay asks of one. Both run as processes, by `relay run`, exactly as in production.
"""
