"""The commits that a drill may kill this process around."""

from __future__ import annotations

from collections.abc import Set
from enum import Enum, auto

from relay.obs import crash


class Moment(Enum):
    """What kind of promise a job makes."""

    ACCEPT = auto()
    INTEND = auto()
    SETTLE = auto()


def before_commit(moments: Set[Moment]) -> None:
    """Everything of the group is written, nothing of it is promised."""
    if Moment.ACCEPT in moments:
        crash.point("store.accept.before_commit")
    if Moment.INTEND in moments:
        crash.point("store.intend.before_commit")
    if Moment.SETTLE in moments:
        crash.point("store.settle.before_commit")


def after_commit(moments: Set[Moment]) -> None:
    """The group is durable, nobody was told."""
    if Moment.ACCEPT in moments:
        crash.point("store.accept.after_commit")
    if Moment.INTEND in moments:
        crash.point("store.intend.after_commit")
    if Moment.SETTLE in moments:
        crash.point("store.settle.after_commit")
