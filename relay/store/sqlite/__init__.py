"""The embedded engine: one SQLite file in WAL mode, through apsw, shared by the workers of one machine.

```
calls --jobs--> writer thread: group commit -----> log (fsync) --checkpoint thread--> file
      --reads-> reader threads: one snapshot each
```

`open_store` is the way in. `migrations/` holds the schema; SQL stands beside the code that runs it.
"""

from relay.store.sqlite.settings import SqliteSettings
from relay.store.sqlite.store import SqliteStore, open_store

__all__ = ["SqliteSettings", "SqliteStore", "open_store"]
