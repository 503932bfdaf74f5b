-- Version 1. Rules of this file:
--   Times are Unix seconds (REAL). Item ids are the 26 characters that logs show. States are the words of core.item.
--   Whoever changes a row by hand (or by a bug) meets the same rules as the engine: the transition table and the
--   ledger are triggers, counters of mailboxes are triggers, rows are STRICT.

-- Legal steps, filled from core.item.LEGAL at every start. `was` = '' stands for birth.
CREATE TABLE legal_step (
    was     TEXT NOT NULL,
    becomes TEXT NOT NULL,
    PRIMARY KEY (was, becomes)
) STRICT, WITHOUT ROWID;

-- One spool item. `n` is its short name inside this file: chunks, recipients and changes refer to it.
CREATE TABLE item (
    n               INTEGER PRIMARY KEY,
    id              TEXT    NOT NULL UNIQUE,
    state           TEXT    NOT NULL,
    route           TEXT    NOT NULL,
    received_at     REAL    NOT NULL,
    size            INTEGER NOT NULL,
    key_id          TEXT    NOT NULL,
    wrapped_key     BLOB    NOT NULL,
    envelope        BLOB    NOT NULL,
    chunk_count     INTEGER NOT NULL,
    attempts        INTEGER NOT NULL DEFAULT 0,
    next_attempt_at REAL    NOT NULL DEFAULT 0,
    changed_at      REAL    NOT NULL,
    note            BLOB,
    message_mac     BLOB,
    dedup           BLOB,                              -- NULL once confirmed
    shown           INTEGER NOT NULL DEFAULT 0,        -- 1 once it was put into its mailboxes
    lease_owner     TEXT,
    lease_token     INTEGER NOT NULL DEFAULT 0,        -- grows with each grant, stays when the lease ends
    lease_until     REAL    NOT NULL DEFAULT 0         -- 0 = free
) STRICT;

-- Claims, listings and figures read this index alone, never the rows of a long queue.
CREATE INDEX item_queue ON item (state, route, id, next_attempt_at, lease_until, size, received_at);
CREATE INDEX item_dedup ON item (dedup) WHERE dedup IS NOT NULL;
CREATE INDEX item_leased ON item (lease_until) WHERE lease_owner IS NOT NULL;

-- `inbox` = the mailbox this recipient's copy is shown in; NULL where nobody here reads it.
CREATE TABLE recipient (
    item   INTEGER NOT NULL REFERENCES item (n) ON DELETE CASCADE,
    idx    INTEGER NOT NULL,
    mac    BLOB    NOT NULL,
    state  TEXT    NOT NULL,
    detail BLOB,
    inbox  INTEGER,
    PRIMARY KEY (item, idx)
) STRICT, WITHOUT ROWID;

-- Sealed chunks: key = n * 2^20 + index, so that a message lies together and appends at the end of the tree.
-- Staged before their item exists, hence no reference to it.
CREATE TABLE chunk (
    key  INTEGER PRIMARY KEY,
    data BLOB NOT NULL
) STRICT;

-- Messages being received: chunks written ahead of their accept.
CREATE TABLE staged (
    n  INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    at REAL NOT NULL
) STRICT;

-- Values computed from bodies: a cache.
CREATE TABLE derived (
    item INTEGER NOT NULL REFERENCES item (n) ON DELETE CASCADE,
    kind TEXT    NOT NULL,
    data BLOB    NOT NULL,
    UNIQUE (item, kind)
) STRICT;

-- Change feed and ledger. `seq` is given out under the write lock, so commit order is its order. The highest row is
-- never deleted, so no `seq` is given out twice.
CREATE TABLE change (
    seq     INTEGER PRIMARY KEY,
    at      REAL NOT NULL,
    kind    TEXT NOT NULL,
    item    INTEGER,
    mailbox INTEGER,
    uid     INTEGER,
    was     TEXT,
    becomes TEXT
) STRICT;
CREATE INDEX change_item ON change (item) WHERE item IS NOT NULL;

CREATE TABLE account (
    id      INTEGER PRIMARY KEY,
    mac     BLOB NOT NULL UNIQUE,
    address BLOB NOT NULL,
    inbox   INTEGER NOT NULL
) STRICT;

CREATE TABLE mailbox (
    id          INTEGER PRIMARY KEY,
    account     INTEGER NOT NULL REFERENCES account (id) DEFERRABLE INITIALLY DEFERRED,
    name_mac    BLOB    NOT NULL,
    name        BLOB    NOT NULL,
    uidvalidity INTEGER NOT NULL,
    uidnext     INTEGER NOT NULL DEFAULT 1,
    messages    INTEGER NOT NULL DEFAULT 0,
    unseen      INTEGER NOT NULL DEFAULT 0,
    size        INTEGER NOT NULL DEFAULT 0,
    subscribed  INTEGER NOT NULL DEFAULT 1,
    special_use TEXT,
    UNIQUE (account, name_mac)
) STRICT;

CREATE TABLE message (
    mailbox       INTEGER NOT NULL REFERENCES mailbox (id),
    uid           INTEGER NOT NULL,
    item          INTEGER NOT NULL REFERENCES item (n),
    id            TEXT    NOT NULL,                      -- the item's id again: listings need no join
    internal_date REAL    NOT NULL,
    size          INTEGER NOT NULL,
    flags         INTEGER NOT NULL DEFAULT 0,
    keywords      BLOB,
    changed       INTEGER NOT NULL,
    PRIMARY KEY (mailbox, uid)
) STRICT, WITHOUT ROWID;
CREATE INDEX message_item ON message (item);

-- What users did, for reconcile.
CREATE TABLE journal (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    at      REAL    NOT NULL,
    account BLOB    NOT NULL,
    mailbox INTEGER NOT NULL,
    kind    TEXT    NOT NULL,
    session TEXT    NOT NULL,
    base    INTEGER NOT NULL,
    body    BLOB    NOT NULL
) STRICT;

CREATE TABLE known_recipient (
    mac     BLOB    PRIMARY KEY,
    domain  BLOB    NOT NULL,
    valid   INTEGER NOT NULL,
    source  TEXT    NOT NULL,
    seen_at REAL    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE domain (
    mac        BLOB PRIMARY KEY,
    first_seen REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE credential (
    mac        BLOB NOT NULL,
    kind       TEXT NOT NULL,
    login      BLOB NOT NULL,
    verifier   BLOB NOT NULL,
    updated_at REAL NOT NULL,
    PRIMARY KEY (mac, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE setting (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Singletons: who probes, replays, sweeps.
CREATE TABLE named_lease (
    name  TEXT    PRIMARY KEY,
    owner TEXT,
    token INTEGER NOT NULL,
    until REAL    NOT NULL
) STRICT, WITHOUT ROWID;

-- Contract 5 and 6: no step outside the table, no step without its ledger entry.
CREATE TRIGGER item_born_legal BEFORE INSERT ON item
WHEN NOT EXISTS (SELECT 1 FROM legal_step WHERE was = '' AND becomes = new.state)
BEGIN
    SELECT RAISE(ABORT, 'illegal transition');
END;

CREATE TRIGGER item_born AFTER INSERT ON item
BEGIN
    INSERT INTO change (at, kind, item, becomes) VALUES (new.changed_at, 'item', new.n, new.state);
END;

CREATE TRIGGER item_step_legal BEFORE UPDATE OF state ON item
WHEN NOT EXISTS (SELECT 1 FROM legal_step WHERE was = old.state AND becomes = new.state)
BEGIN
    SELECT RAISE(ABORT, 'illegal transition');
END;

CREATE TRIGGER item_step AFTER UPDATE OF state ON item
BEGIN
    INSERT INTO change (at, kind, item, was, becomes)
    VALUES (new.changed_at, 'item', new.n, old.state, new.state);
END;

-- A message appears: UIDNEXT, figures and feed move with it.
CREATE TRIGGER message_shown AFTER INSERT ON message
BEGIN
    UPDATE mailbox
       SET uidnext = new.uid + 1, messages = messages + 1, unseen = unseen + (new.flags & 1 = 0),
           size = size + new.size
     WHERE id = new.mailbox;
    INSERT INTO change (seq, at, kind, item, mailbox, uid)
    VALUES (new.changed, (SELECT changed_at FROM item WHERE n = new.item), 'arrived', new.item, new.mailbox, new.uid);
END;

CREATE TRIGGER message_flagged AFTER UPDATE OF flags ON message
BEGIN
    UPDATE mailbox SET unseen = unseen + (new.flags & 1 = 0) - (old.flags & 1 = 0) WHERE id = new.mailbox;
END;

CREATE TRIGGER message_gone AFTER DELETE ON message
BEGIN
    UPDATE mailbox SET messages = messages - 1, unseen = unseen - (old.flags & 1 = 0), size = size - old.size
     WHERE id = old.mailbox;
END;
