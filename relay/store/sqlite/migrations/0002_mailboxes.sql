-- Version 2: what users do in their mailboxes. Folders that come and go, keywords one by one, mail put in by users,
-- the journal's effects.

-- `version` grows with each change of names and subscriptions; `uidvalidity` is the highest one given out.
ALTER TABLE account ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
ALTER TABLE account ADD COLUMN uidvalidity INTEGER NOT NULL DEFAULT 0;
UPDATE account SET uidvalidity = (SELECT max(uidvalidity) FROM mailbox WHERE mailbox.account = account.id);

-- Subscribed names, of mailboxes that exist or not.
CREATE TABLE subscription (
    account  INTEGER NOT NULL REFERENCES account (id),
    name_mac BLOB    NOT NULL,
    name     BLOB    NOT NULL,
    PRIMARY KEY (account, name_mac)
) STRICT, WITHOUT ROWID;
INSERT INTO subscription (account, name_mac, name) SELECT account, name_mac, name FROM mailbox WHERE subscribed = 1;
ALTER TABLE mailbox DROP COLUMN subscribed;

-- `gone`: when it was deleted; the row stays, so that its id never names another one.
ALTER TABLE mailbox ADD COLUMN gone REAL;
ALTER TABLE mailbox ADD COLUMN deleted INTEGER NOT NULL DEFAULT 0;
UPDATE mailbox SET deleted = (SELECT count(*) FROM message WHERE mailbox = mailbox.id AND flags & 8);

-- The highest UIDVALIDITY that a name showed before its mailbox left it.
CREATE TABLE left_name (
    account     INTEGER NOT NULL REFERENCES account (id),
    name_mac    BLOB    NOT NULL,
    uidvalidity INTEGER NOT NULL,
    PRIMARY KEY (account, name_mac)
) STRICT, WITHOUT ROWID;

-- Keywords of an account; rows are never changed. `mac` is NULL for a sealed list of several, which is how version 1 kept
-- them: whoever holds the key splits it (store contract, split_keywords).
CREATE TABLE keyword (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    account INTEGER NOT NULL REFERENCES account (id),
    mac     BLOB,
    name    BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX keyword_mac ON keyword (account, mac) WHERE mac IS NOT NULL;
CREATE INDEX keyword_account ON keyword (account);
CREATE INDEX keyword_listed ON keyword (name);

-- message.keywords: ids in decimal, ascending, with blanks between them; NULL = none. message.saved: when the message
-- came into this mailbox; NULL = at its internal_date.
INSERT INTO keyword (account, name)
SELECT DISTINCT b.account, m.keywords FROM message m JOIN mailbox b ON b.id = m.mailbox WHERE m.keywords IS NOT NULL;
UPDATE message SET keywords = (SELECT CAST(CAST(k.id AS TEXT) AS BLOB) FROM keyword k WHERE k.name = message.keywords)
 WHERE keywords IS NOT NULL;
DROP INDEX keyword_listed;
ALTER TABLE message ADD COLUMN saved REAL;

-- What an action did, message by message; `target` = the other mailbox of a copy or move.
ALTER TABLE journal ADD COLUMN target INTEGER;
ALTER TABLE journal ADD COLUMN effects BLOB;
CREATE INDEX journal_account ON journal (account, at);

-- What was put into a mailbox by its user is never in a queue, and nothing else rests there.
CREATE TRIGGER item_born_in_place BEFORE INSERT ON item
WHEN (new.route = 'mailbox') <> (new.state = 'stored')
BEGIN
    SELECT RAISE(ABORT, 'illegal transition');
END;

CREATE TRIGGER item_step_in_place BEFORE UPDATE OF state ON item
WHEN (new.state = 'stored' AND new.route <> 'mailbox') OR (new.state IN ('pending', 'intent') AND new.route = 'mailbox')
BEGIN
    SELECT RAISE(ABORT, 'illegal transition');
END;

DROP TRIGGER message_shown;
CREATE TRIGGER message_shown AFTER INSERT ON message
BEGIN
    UPDATE mailbox
       SET uidnext = new.uid + 1, messages = messages + 1, unseen = unseen + (new.flags & 1 = 0),
           deleted = deleted + (new.flags & 8 <> 0), size = size + new.size
     WHERE id = new.mailbox;
    INSERT INTO change (seq, at, kind, item, mailbox, uid)
    VALUES (new.changed, coalesce(new.saved, (SELECT changed_at FROM item WHERE n = new.item)), 'arrived', new.item,
            new.mailbox, new.uid);
END;

DROP TRIGGER message_flagged;
CREATE TRIGGER message_flagged AFTER UPDATE OF flags ON message
BEGIN
    UPDATE mailbox
       SET unseen = unseen + (new.flags & 1 = 0) - (old.flags & 1 = 0),
           deleted = deleted + (new.flags & 8 <> 0) - (old.flags & 8 <> 0)
     WHERE id = new.mailbox;
END;

DROP TRIGGER message_gone;
CREATE TRIGGER message_gone AFTER DELETE ON message
BEGIN
    UPDATE mailbox
       SET messages = messages - 1, unseen = unseen - (old.flags & 1 = 0), deleted = deleted - (old.flags & 8 <> 0),
           size = size - old.size
     WHERE id = old.mailbox;
END;
