"""How a command ends otherwise than by its own reply."""

from __future__ import annotations

from relay.core.reply import Reply


class Close(Exception):
    """End the connection, after this reply if there is one."""

    def __init__(self, answer: Reply | None = None) -> None:
        super().__init__()
        self.reply = answer


class Refusal(Exception):
    """The command is refused; nobody is to blame."""

    def __init__(self, answer: Reply) -> None:
        super().__init__(answer.text)
        self.reply = answer


async def leave() -> None:
    """The work of the last command: there is none, and no line is looked at after it."""
