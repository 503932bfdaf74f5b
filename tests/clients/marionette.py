"""A client of Mozilla's remote protocol, as small as we need it: run a script with the application's own rights.

In: the port that `--marionette` listens on. Out: what scripts return, as plain JSON values.

The wire is `length:json` both ways. The server speaks first; a request is `[0, id, command, parameters]` and its answer
`[1, id, error, result]`.
"""

from __future__ import annotations

import json
import socket
from typing import Any, Final, Self

from tests.peers.ports import LOOPBACK
from tests.peers.process import PATIENCE

_MOST_DIGITS: Final = 9


class ScriptFailed(Exception):
    """The application said why."""


class Marionette:
    """One session in chrome context, where a script may do whatever the application itself can."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((LOOPBACK, port), timeout=2 * PATIENCE)
        self._file = self._socket.makefile("rb")
        self._next = 0
        self._receive()
        self.call("WebDriver:NewSession", {})
        self.call("Marionette:SetContext", {"value": "chrome"})
        self.call("WebDriver:SetTimeouts", {"script": int(PATIENCE * 1000)})

    def call(self, command: str, parameters: dict[str, Any]) -> Any:
        """One command; ScriptFailed with the application's own words when it fails."""
        self._next += 1
        packet = json.dumps([0, self._next, command, parameters]).encode()
        self._socket.sendall(b"%d:%b" % (len(packet), packet))
        kind, number, error, result = self._receive()
        assert (kind, number) == (1, self._next), "answers come in order"
        if error:
            raise ScriptFailed(f"{error['error']}: {error['message']}\n{error.get('stacktrace', '')}")
        return result["value"] if isinstance(result, dict) and "value" in result else result

    def run(self, body: str, *arguments: Any) -> Any:
        """Run `body` as an async function of `arguments`; what it returns."""
        # The last argument is the protocol's own callback.
        script = f"""
            const [args, done] = [Array.from(arguments).slice(0, -1), arguments[arguments.length - 1]];
            (async (...args) => {{ {body} }})(...args).then(
                value => done({{ value: value === undefined ? null : value }}),
                problem => done({{ problem: `${{problem}}\\n${{problem && problem.stack}}` }}),
            );
        """
        parameters = {"script": script, "args": list(arguments), "newSandbox": True, "sandbox": "system"}
        result = self.call("WebDriver:ExecuteAsyncScript", parameters)
        if "problem" in result:
            raise ScriptFailed(result["problem"])
        return result["value"]

    def close(self) -> None:
        """Leave it alone."""
        self._file.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _receive(self) -> Any:
        digits = b""
        while (octet := self._file.read(1)) != b":":
            if not octet.isdigit() or len(digits) > _MOST_DIGITS:
                raise ScriptFailed(f"the application has closed the connection ({digits + octet!r})")
            digits += octet
        return json.loads(self._file.read(int(digits)))
