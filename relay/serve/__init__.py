"""IMAP front: what a listener speaks, the door, pass-through while the primary is up, and the standby's own service.

```
front -> connection -> door -+-> passing   the primary serves, byte for byte
                             +-> session   the standby serves: folders, fetching, searching, changing, idling
```
"""
