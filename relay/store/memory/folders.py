"""Accounts and folders of the model."""

from __future__ import annotations

from collections.abc import Sequence

from relay.store.mailbox_api import StaleFolders
from relay.store.mailbox_records import (
    CreateFolder,
    DeleteFolder,
    FolderChange,
    FolderTree,
    RenameFolder,
    Subscribe,
    Subscription,
    Unsubscribe,
    Usage,
)
from relay.store.memory.state import Account, Box, State
from relay.store.records import ChangeKind, Effect, JournalEntry, Mac, MailboxRow, NewAccount, Sealed, SystemFlag
from relay.store.rules import check_folder_changes, next_uidvalidity


class MemoryFolders:
    """What may fail is looked at before anything is changed."""

    _state: State

    async def ensure_account(self, account: NewAccount, *, now: float) -> MailboxRow:
        """See the contract."""
        return self._row(self._state.boxes[self._state.inbox(account, now)])

    def _row(self, box: Box) -> MailboxRow:
        shown = box.messages.values()
        return MailboxRow(
            id=box.id,
            account=box.account,
            name_mac=box.name_mac,
            name=box.name,
            uidvalidity=box.uidvalidity,
            uidnext=box.uidnext,
            messages=len(shown),
            unseen=sum(not one.flags & SystemFlag.SEEN for one in shown),
            size=sum(one.size for one in shown),
            subscribed=box.name_mac in self._state.accounts[box.account].subscriptions,
            special_use=box.special_use,
            deleted=sum(bool(one.flags & SystemFlag.DELETED) for one in shown),
        )

    async def folders(self, account: Mac) -> FolderTree | None:
        """See the contract."""
        known = self._state.accounts.get(account)
        return None if known is None else self._tree(account, known)

    def _tree(self, mac: Mac, account: Account) -> FolderTree:
        return FolderTree(
            account.version,
            account.inbox,
            tuple(self._row(box) for box in self._state.there(mac)),
            tuple(Subscription(*one) for one in sorted(account.subscriptions.items())),
        )

    async def mailbox(self, account: Mac, name_mac: Mac) -> MailboxRow | None:
        """See the contract."""
        return next((self._row(box) for box in self._state.there(account) if box.name_mac == name_mac), None)

    async def change_folders(
        self, account: Mac, version: int, changes: Sequence[FolderChange], entry: JournalEntry, *, now: float
    ) -> FolderTree:
        """See the contract."""
        known = self._state.accounts[account]
        if version != known.version:
            raise StaleFolders(f"the folders are at version {known.version}, not {version}")
        check_folder_changes(changes, known.inbox)
        self._check_names(account, known, changes)
        for change in changes:
            if isinstance(change, RenameFolder) and change.mailbox != known.inbox:
                self._leave(known, self._state.boxes[change.mailbox])
        known.version += 1
        touched = [self._change(account, known, change, now) for change in changes]
        box, target, effects = touched[0]
        self._state.record(self._state.boxes[box], entry, now, effects, target)
        return self._tree(account, known)

    def _check_names(self, mac: Mac, account: Account, changes: Sequence[FolderChange]) -> None:
        """KeyError, ValueError."""
        names = {box.id: box.name_mac for box in self._state.there(mac)}
        wanted: list[Mac] = []
        for change in changes:
            if isinstance(change, (RenameFolder, DeleteFolder)):
                if change.mailbox == account.inbox and isinstance(change, DeleteFolder):
                    raise ValueError("INBOX is never deleted")
                if change.mailbox not in names:
                    raise KeyError(change.mailbox)
                if change.mailbox != account.inbox:
                    del names[change.mailbox]
            if isinstance(change, (CreateFolder, RenameFolder)):
                wanted.append(change.name_mac)
        if len(set(wanted)) < len(wanted) or set(wanted) & set(names.values()):
            raise ValueError("the name is taken")

    def _leave(self, account: Account, box: Box) -> None:
        account.left[box.name_mac] = max(box.uidvalidity, account.left.get(box.name_mac, 0))

    def _change(
        self, mac: Mac, account: Account, change: FolderChange, now: float
    ) -> tuple[int, int | None, list[Effect]]:
        """The mailbox it is about, where messages went, what became of them."""
        state = self._state
        match change:
            case CreateFolder(name_mac, name, special_use):
                box = self._create(mac, account, name_mac, name, now)
                box.special_use = special_use
                return box.id, None, []
            case RenameFolder(number, name_mac, name):
                box = state.boxes[number]
                target = None
                effects: list[Effect] = []
                if number == account.inbox:
                    goal = self._create(mac, account, name_mac, name, now)
                    target = goal.id
                    effects = self._state.transfer(box, sorted(box.messages), goal, now, remove=True)
                else:
                    box.name_mac, box.name = name_mac, name
                    if account.left.get(name_mac, 0) > box.uidvalidity:
                        box.uidvalidity = account.uidvalidity = next_uidvalidity(account.uidvalidity, now)
                state.announce(ChangeKind.MAILBOX, now, mailbox=number, new="renamed")
                return number, target, effects
            case DeleteFolder(number):
                box = state.boxes[number]
                self._leave(account, box)
                effects = [Effect(row.uid, row.item, was=row.flags) for _, row in sorted(box.messages.items())]
                box.messages.clear()
                box.gone = True
                state.announce(ChangeKind.MAILBOX, now, mailbox=number, new="deleted")
                return number, None, effects
            case Subscribe(name_mac, name):
                if name_mac not in account.subscriptions:
                    account.subscriptions[name_mac] = name
                    state.announce(ChangeKind.MAILBOX, now, mailbox=account.inbox, new="subscribed")
            case Unsubscribe(name_mac):
                if account.subscriptions.pop(name_mac, None) is not None:
                    state.announce(ChangeKind.MAILBOX, now, mailbox=account.inbox, new="unsubscribed")
        return account.inbox, None, []

    def _create(self, mac: Mac, account: Account, name_mac: Mac, name: Sealed, now: float) -> Box:
        account.uidvalidity = next_uidvalidity(account.uidvalidity, now)
        return self._state.new_box(mac, name_mac, name, account.uidvalidity, now)

    async def usage(self, account: Mac) -> Usage:
        """See the contract."""
        return self._state.usage(account)
