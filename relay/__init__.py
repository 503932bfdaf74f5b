"""A standby mail relay: takes the mail when the primary is down, lets users read it, and gives it back once.

```
      senders                                              users (IMAP, submission)
         |                                                       |
         v                                                       v
 primary <-- inbound/ ---> spool/ (sealed, durable) <-------- serve/ ----> primary (while it is up)
  (cut-      accept or       |    ^                              |
  through)   refuse          |    |                              | journal
                             v    |                              v
                          replay/ +-------------------------- store/
                             |
                             v
                          primary (recovered)

 control/ decides which arrows are open.    store/ + vault/ keep the bytes.    proto/ + core/ are pure.
```

Promises, each with tests that try to break it
1. 250 means durable.            2. Nothing vanishes.               3. Nothing twice.
4. Nothing readable at rest.     5. Users notice little.            6. A half-recovered primary cannot hurt.
7. The standby is never the reason for an outage.

Imports go downward only (`pyproject.toml`, checked by import-linter):
cli > node, parts, wiring > config > inbound | serve | replay | reconcile | control > spool | accounts > primary
> store | vault > obs > proto > core. Siblings do not know each other; they meet in the store's change feed.
"""

__version__ = "0.1.0"
