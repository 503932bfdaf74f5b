"""Keys and sealed bytes: what enters is plain, what leaves can lie on any disk.

```
key file --KeyRing--> wraps --> a random key per message --> chunks (STREAM) and blobs of that message
                        \\-----> meta key   --> addresses, folder names, credentials
                         \\----> lookup key --> keyed HMACs that rows are found by
```

1. The only importer of `cryptography` and `zstd`. No I/O but the key file; knows nothing of the store.
2. Whatever does not verify raises `Damaged`; nothing unauthenticated is ever decompressed or returned.
3. Rotation makes a new active key and re-wraps small rows; no body is written again.
4. No key is in a `repr`, an exception or a log. Overwriting keys in memory is not promised: Python copies bytes as it
   likes, so the process's memory, its cores and its swap must be protected by the machine.
"""
