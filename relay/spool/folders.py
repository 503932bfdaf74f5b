"""Folders in plain words: the hierarchy of names, which the store cannot read, and the rules of changing it.

1. A name is a path of levels. A level above a mailbox that is no mailbox itself is shown and cannot be selected; so
   a mailbox with others below it is deleted alone, and its name stays as such a level.
2. Every change is computed from one reading of the folders and committed only if they are still the same; else it is
   computed again. Two sessions cannot make half a hierarchy each.
3. A usual mailbox (Drafts, Sent, ...) is shown where its name and its special use are free, and made when somebody
   first uses it. So nothing is made, and journalled, that nobody wanted.
4. INBOX is always there. Renaming it moves its messages to a new mailbox; nothing below it moves (RFC 9051 6.3.6).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from relay.core.clock import Clock
from relay.core.errors import Damaged, NotNow, Refused
from relay.proto.imap import names as grammar
from relay.proto.imap.names import DELIMITER
from relay.spool import deeds
from relay.spool.deeds import Details, Renamed, Seen
from relay.spool.names import INBOX, Names
from relay.store.api import Store
from relay.store.mailbox_api import StaleFolders
from relay.store.mailbox_records import (
    CreateFolder,
    DeleteFolder,
    FolderChange,
    FolderTree,
    RenameFolder,
    Subscribe,
    Unsubscribe,
)
from relay.store.records import Mac, MailboxRow
from relay.vault.sealing import Vault

MOST = 2_000
"""Mailboxes of an account, and subscriptions."""
_TRIES = 10


class NoSuchFolder(Refused):
    """There is no mailbox of this name."""

    public = "No such mailbox"


class FolderExists(Refused):
    """The name is taken."""

    public = "Mailbox already exists"


class SpecialUseTaken(Refused):
    """Another mailbox has this use (RFC 6154 3)."""

    public = "Another mailbox has this special use"


class FolderRefused(Refused):
    """The name or the step is not allowed; `public` says why."""


class TooManyFolders(FolderRefused):
    """An account has no room for more names."""

    public = "Too many mailboxes"


class OnlyALevel(FolderRefused):
    """There are mailboxes below this name, and it is none itself."""

    public = "Mailbox has others below it and is none itself"


class Usual(msgspec.Struct, frozen=True):
    r"""A mailbox that every account has without having made it; `special_use` is its attribute, such as `\Sent`."""

    name: str
    special_use: str


class Account(msgspec.Struct, frozen=True):
    """A user of the standby."""

    address: str
    mac: Mac


class Folder(msgspec.Struct, frozen=True):
    """A mailbox with its name."""

    account: Account
    name: str
    row: MailboxRow

    @property
    def object_id(self) -> str:
        """MAILBOXID (RFC 8474 4): stays over renames, never names another one."""
        return f"F{self.row.id}"


class Entry(msgspec.Struct, frozen=True):
    """One name of a listing; `folder` is None for a level that is no mailbox (or only a subscription)."""

    name: str
    folder: Folder | None
    children: bool
    subscribed: bool
    usual: Usual | None = None
    """It is made at its first use (`awaken`); until then there is no `folder`."""


class Listing(msgspec.Struct, frozen=True):
    """All names of an account as of one moment, INBOX first, then in order."""

    entries: tuple[Entry, ...]
    """Mailboxes, the levels above them, and subscribed names that do not exist."""

    def folder(self, name: str) -> Folder | None:
        """The mailbox of a name; INBOX in any case."""
        wanted = INBOX if name.upper() == INBOX else name
        return next((entry.folder for entry in self.entries if entry.name == wanted), None)


class _Tree:
    """One reading of the folders, opened. Those whose name does not open are left out: they cannot be named."""

    def __init__(self, vault: Vault, account: Account, rows: FolderTree) -> None:
        self.version = rows.version
        self.inbox = rows.inbox
        self.folders: dict[str, Folder] = {}
        self.subscribed: set[str] = set()
        for row in rows.mailboxes:
            name = _open(vault, row.name)
            if name is not None:
                self.folders[name] = Folder(account, name, row)
        for one in rows.subscriptions:
            name = _open(vault, one.name)
            if name is not None:
                self.subscribed.add(name)

    def below(self, name: str) -> list[str]:
        """Mailboxes below a name."""
        head = name + DELIMITER
        return [other for other in self.folders if other.startswith(head)]

    def uses(self) -> set[str]:
        """Special uses that a mailbox has."""
        return {use for folder in self.folders.values() for use in (folder.row.special_use or "").split()}

    def listing(self, usual: Sequence[Usual]) -> Listing:
        """Linear in the levels of all names."""
        taken = self.uses()
        asleep = {one.name: one for one in usual if one.name not in self.folders and one.special_use not in taken}
        parents = {name[:at] for name in (*self.folders, *asleep) for at in _cuts(name)}
        entries = [
            Entry(
                name,
                self.folders.get(name),
                name in parents,
                name in self.subscribed or name in asleep,
                asleep.get(name),
            )
            for name in {*self.folders, *parents, *self.subscribed, *asleep}
        ]
        return Listing(tuple(sorted(entries, key=lambda entry: (entry.name != INBOX, entry.name))))


def _open(vault: Vault, sealed: bytes) -> str | None:
    try:
        return vault.open("folder", sealed).decode()
    except Damaged:
        return None


def _cuts(name: str) -> list[int]:
    """Where the levels above a name end."""
    return [at for at, char in enumerate(name) if char == DELIMITER]


class FolderKeeper:
    """Lists and changes folders. All names as `proto.imap.names` gives them; all changes are journalled."""

    def __init__(self, store: Store, vault: Vault, clock: Clock, usual: Sequence[Usual] = ()) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._names = Names(vault)
        self._usual = tuple(usual)

    async def open_account(self, address: str) -> Account:
        """The account of a login (already mapped to its address), its INBOX created at first sight."""
        new = self._names.new_account(address)
        await self._store.ensure_account(new, now=self._clock.now())
        return Account(address, new.mac)

    async def listing(self, account: Account) -> Listing:
        """Every name with its figures, children and subscription, in one read."""
        return (await self._read(account)).listing(self._usual)

    async def folders(self, account: Account) -> list[Folder]:
        """All mailboxes, INBOX first, then by name."""
        return [entry.folder for entry in (await self.listing(account)).entries if entry.folder is not None]

    async def folder(self, account: Account, name: str) -> Folder | None:
        """One mailbox by name; INBOX in any case."""
        row = await self._store.mailbox(account.mac, self._names.folder(account.mac, name))
        if row is None:
            return None
        return Folder(account, INBOX if name.upper() == INBOX else name, row)

    async def create(self, account: Account, name: str, seen: Seen, *, special_use: Sequence[str] = ()) -> Folder:
        r"""CREATE; `special_use` are attributes such as `\Drafts`. FolderExists, SpecialUseTaken, FolderRefused."""
        name = name.removesuffix(DELIMITER)  # RFC 9051 6.3.4: it only announces that names will be made below
        use = " ".join(special_use) or None

        def plan(tree: _Tree) -> tuple[list[FolderChange], Details]:
            self._check_new(tree, name)
            if len(tree.folders) >= MOST:
                raise TooManyFolders("too many mailboxes")
            if tree.uses().intersection(special_use):
                raise SpecialUseTaken("special use is taken")
            change = CreateFolder(self._names.folder(account.mac, name), self._seal(name), use)
            return [change], Details(name, special_use=use)

        tree = await self._change(account, "create", seen, plan)
        return tree.folders[name]

    async def awaken(self, account: Account, name: str, seen: Seen) -> Folder | None:
        """Make a usual mailbox, subscribed; None where no usual one of this name is shown."""
        usual = next((one for one in self._usual if one.name == name), None)
        if usual is None or all(entry.usual != usual for entry in (await self.listing(account)).entries):
            return None

        def plan(tree: _Tree) -> tuple[list[FolderChange], Details]:
            if name in tree.folders or usual.special_use in tree.uses():
                raise FolderExists("the name or its use is taken")
            change = CreateFolder(self._names.folder(account.mac, name), self._seal(name), usual.special_use)
            return [change], Details(name, special_use=usual.special_use)

        await self.subscribe(account, name, seen)  # first: it is shown as subscribed, so nobody sees the half of this
        try:
            tree = await self._change(account, "create", seen, plan)
        except FolderExists:
            return await self.folder(account, name)
        return tree.folders[name]

    async def rename(self, account: Account, old: str, new: str, seen: Seen) -> None:
        """RENAME with everything below, or of INBOX alone. NoSuchFolder, FolderExists, FolderRefused."""
        new = new.removesuffix(DELIMITER)

        def plan(tree: _Tree) -> tuple[list[FolderChange], Details]:
            self._check_new(tree, new)
            moved = [old] if old == INBOX else [name for name in (old, *tree.below(old)) if name in tree.folders]
            if not moved or (old == INBOX and INBOX not in tree.folders):
                raise NoSuchFolder("nothing of this name")
            if new.startswith(old + DELIMITER) and old != INBOX:
                raise FolderRefused("into itself", public="A mailbox cannot be moved below itself")
            steps = [(tree.folders[name], new + name[len(old) :]) for name in moved]
            for folder, name in steps:
                self._check_length(name)
                if name in tree.folders:
                    raise FolderExists(f"mailbox {folder.row.id} would take a name that is taken")
            changes: list[FolderChange] = [
                RenameFolder(folder.row.id, self._names.folder(account.mac, name), self._seal(name))
                for folder, name in steps
            ]
            renamed = tuple(Renamed(folder.row.id, folder.name, name) for folder, name in steps)
            return changes, Details(old, target=new, renamed=renamed)

        await self._change(account, "rename", seen, plan)

    async def delete(self, account: Account, name: str, seen: Seen) -> None:
        """DELETE: the mailbox and its messages; what is below stays. NoSuchFolder, FolderRefused."""

        def plan(tree: _Tree) -> tuple[list[FolderChange], Details]:
            if name == INBOX:
                raise FolderRefused("INBOX stays", public="INBOX cannot be deleted")
            folder = tree.folders.get(name)
            if folder is None:
                if tree.below(name):  # RFC 9051 6.3.5
                    raise OnlyALevel("only a level")
                raise NoSuchFolder("nothing of this name")
            return [DeleteFolder(folder.row.id)], Details(name)

        await self._change(account, "delete", seen, plan)

    async def subscribe(self, account: Account, name: str, seen: Seen) -> None:
        """SUBSCRIBE, also of a name that does not exist. FolderRefused."""

        def plan(tree: _Tree) -> tuple[list[FolderChange], Details]:
            self._check_name(name)
            if len(tree.subscribed) >= MOST:
                raise TooManyFolders("too many subscriptions", public="Too many subscriptions")
            return [Subscribe(self._names.folder(account.mac, name), self._seal(name))], Details(name)

        await self._change(account, "subscribe", seen, plan)

    async def unsubscribe(self, account: Account, name: str, seen: Seen) -> None:
        """UNSUBSCRIBE; nothing happens where there is no subscription."""

        def plan(tree: _Tree) -> tuple[list[FolderChange], Details]:
            return [Unsubscribe(self._names.folder(account.mac, name))], Details(name)

        await self._change(account, "unsubscribe", seen, plan)

    def _seal(self, name: str) -> bytes:
        return self._vault.seal("folder", name.encode())

    def _check_new(self, tree: _Tree, name: str) -> None:
        self._check_name(name)
        if name in tree.folders or name == INBOX:
            raise FolderExists("the name is taken")

    def _check_name(self, name: str) -> None:
        if not grammar.creatable(name):
            raise FolderRefused("not a name", public="Mailbox name is not allowed")
        self._check_length(name)

    def _check_length(self, name: str) -> None:
        if len(grammar.encode(name)) > grammar.LONGEST:
            raise FolderRefused("too long a name", public="Mailbox name is too long")

    async def _read(self, account: Account) -> _Tree:
        rows = await self._store.folders(account.mac)
        if rows is None:
            await self.open_account(account.address)
            rows = await self._store.folders(account.mac)
            assert rows is not None
        return _Tree(self._vault, account, rows)

    async def _change(
        self,
        account: Account,
        kind: str,
        seen: Seen,
        plan: Callable[[_Tree], tuple[list[FolderChange], Details]],
    ) -> _Tree:
        """Plan on what is there and commit if it still is."""
        for _ in range(_TRIES):
            tree = await self._read(account)
            changes, details = plan(tree)
            entry = deeds.encode(self._vault, kind, seen, details)
            try:
                rows = await self._store.change_folders(
                    account.mac, tree.version, changes, entry, now=self._clock.now()
                )
            except StaleFolders:
                continue
            return _Tree(self._vault, account, rows)
        raise NotNow("the folders change all the time")
