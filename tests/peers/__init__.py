"""Real peers for tests: Debian's Postfix and Dovecot, a TCP proxy that breaks things, and a strict SMTP client.

Every peer runs on loopback in a directory of its own, never the system's instance, and is started and ended by pid.
"""
