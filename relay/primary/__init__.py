"""The primary as objects: what it answers, whether it lives, how fast it may be fed.

Envelopes and byte streams enter, `Reply` values leave; trouble on the way is `NoContact` (safe to try again) or
`ReplyLost` (it may have been delivered). Nothing here knows the spool, the queue or the mode.
"""
