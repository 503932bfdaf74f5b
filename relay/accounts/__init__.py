"""Who may log in, and which recipients exist, for the time when the primary cannot be asked.

Addresses and passwords enter, verdicts leave. What is kept is sealed and looked up by keyed HMAC; nothing here knows
SMTP or IMAP.
"""
