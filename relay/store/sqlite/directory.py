"""Recipients, credentials, settings, named leases (`store.api.DirectoryStore`)."""

# ruff: noqa: S608 -- statements are joined from our own words; values are always bound
from __future__ import annotations

from collections.abc import Sequence

import apsw

from relay.store.records import Credential, KnownRecipient, Mac
from relay.store.sqlite.jobs import Tx
from relay.store.sqlite.part import Part

_PUT_KNOWN = (
    "INSERT INTO known_recipient (mac, domain, valid, source, seen_at) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (mac) DO UPDATE SET domain = excluded.domain, valid = excluded.valid, source = excluded.source, "
    "seen_at = excluded.seen_at WHERE excluded.seen_at >= known_recipient.seen_at"
)


def _put_setting(tx: Tx, name: str, value: bytes, now: float) -> None:
    tx.execute("INSERT OR REPLACE INTO setting (name, value) VALUES (?, ?)", (name, value))
    tx.execute("INSERT INTO change (at, kind, becomes) VALUES (?, 'setting', ?)", (now, name))


class Directory(Part):
    """Small tables by key."""

    async def known_recipients(self, macs: Sequence[Mac]) -> dict[Mac, KnownRecipient]:
        """See the contract."""

        def read(connection: apsw.Connection) -> dict[Mac, KnownRecipient]:
            found: dict[Mac, KnownRecipient] = {}
            for mac in macs:
                row = connection.execute("SELECT valid, source, seen_at FROM known_recipient WHERE mac = ?", (mac,)).get
                if row is not None:
                    found[mac] = KnownRecipient(mac, bool(row[0]), *row[1:])
            return found

        return await self._read(read)

    async def learn_recipients(self, domain: Mac, known: Sequence[KnownRecipient]) -> None:
        """See the contract. Not flushed: what is lost is learned again."""

        def run(tx: Tx) -> None:
            if known:
                first = min(one.seen_at for one in known)
                tx.execute("INSERT INTO domain (mac, first_seen) VALUES (?, ?) ON CONFLICT DO NOTHING", (domain, first))
            tx.connection.executemany(
                _PUT_KNOWN, [(one.mac, domain, one.valid, one.source, one.seen_at) for one in known]
            )

        await self._write(run, durable=False)

    async def domain_first_seen(self, domain: Mac) -> float | None:
        """See the contract."""

        def read(connection: apsw.Connection) -> float | None:
            first: float | None = connection.execute("SELECT first_seen FROM domain WHERE mac = ?", (domain,)).get
            return first

        return await self._read(read)

    async def credential(self, mac: Mac, kind: str) -> Credential | None:
        """See the contract."""
        found = await self._credentials("WHERE mac = ? AND kind = ?", (mac, kind))
        return found[0] if found else None

    async def put_credential(self, credential: Credential) -> None:
        """See the contract."""
        one = credential

        def run(tx: Tx) -> None:
            tx.execute(
                "INSERT OR REPLACE INTO credential (mac, kind, login, verifier, updated_at) VALUES (?, ?, ?, ?, ?)",
                (one.mac, one.kind, one.login, one.verifier, one.updated_at),
            )

        await self._write(run)

    async def delete_credential(self, mac: Mac, kind: str | None = None) -> int:
        """See the contract."""

        def run(tx: Tx) -> int:
            gone = tx.execute(
                "DELETE FROM credential WHERE mac = ?1 AND (?2 IS NULL OR kind = ?2) RETURNING 1", (mac, kind)
            ).fetchall()
            return len(gone)

        return await self._write(run)

    async def credentials(self, kind: str | None = None) -> list[Credential]:
        """See the contract."""
        return await self._credentials("WHERE ?1 IS NULL OR kind = ?1 ORDER BY mac, kind", (kind,))

    async def sweep_credentials(self, kind: str, *, before: float, limit: int) -> int:
        """See the contract. Not flushed: what comes back is swept again."""

        def run(tx: Tx) -> int:
            gone = tx.execute(
                "DELETE FROM credential WHERE kind = ?1 AND mac IN "
                "(SELECT mac FROM credential WHERE kind = ?1 AND updated_at < ?2 LIMIT ?3) RETURNING 1",
                (kind, before, limit),
            ).fetchall()
            return len(gone)

        return await self._write(run, durable=False)

    async def _credentials(self, where: str, bindings: tuple[bytes | str | None, ...]) -> list[Credential]:
        return await self._read(
            lambda connection: [
                Credential(*row)
                for row in connection.execute(
                    f"SELECT mac, kind, login, verifier, updated_at FROM credential {where}", bindings
                )
            ]
        )

    async def setting(self, name: str) -> bytes | None:
        """See the contract."""

        def read(connection: apsw.Connection) -> bytes | None:
            value: bytes | None = connection.execute("SELECT value FROM setting WHERE name = ?", (name,)).get
            return value

        return await self._read(read)

    async def put_setting(self, name: str, value: bytes, *, now: float) -> None:
        """See the contract."""
        await self._write(lambda tx: _put_setting(tx, name, value, now))

    async def put_setting_if_absent(self, name: str, value: bytes, *, now: float) -> bytes:
        """See the contract. Announced where it was absent."""

        def run(tx: Tx) -> bytes:
            there: bytes | None = tx.execute("SELECT value FROM setting WHERE name = ?", (name,)).get
            if there is not None:
                return there
            _put_setting(tx, name, value, now)
            return value

        return await self._write(run)

    async def swap_setting(self, name: str, value: bytes, *, expected: bytes | None, now: float) -> bool:
        """See the contract. The comparison runs in the writing transaction, which excludes every other process."""

        def run(tx: Tx) -> bool:
            there: bytes | None = tx.execute("SELECT value FROM setting WHERE name = ?", (name,)).get
            if there != expected:
                return False
            _put_setting(tx, name, value, now)
            return True

        return await self._write(run)

    async def acquire(self, name: str, owner: str, *, now: float, until: float) -> int | None:
        """See the contract. A new grant (not a renewal) has a higher token. Not flushed: see `claim`."""

        def run(tx: Tx) -> int | None:
            token: int | None = tx.execute(
                "INSERT INTO named_lease (name, owner, token, until) VALUES (?1, ?2, 1, ?4) "
                "ON CONFLICT (name) DO UPDATE SET token = token + (owner IS NOT ?2 OR until <= ?3), owner = ?2, "
                "until = ?4 WHERE owner IS ?2 OR owner IS NULL OR until <= ?3 RETURNING token",
                (name, owner, now, until),
            ).get
            return token

        return await self._write(run, durable=False)

    async def give_up(self, name: str, owner: str) -> None:
        """See the contract."""

        def run(tx: Tx) -> None:
            tx.execute("UPDATE named_lease SET owner = NULL, until = 0 WHERE name = ? AND owner = ?", (name, owner))

        await self._write(run, durable=False)
