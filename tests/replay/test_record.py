"""Each result of an attempt is one line: which item, what came of it, what the primary said in numbers."""

from __future__ import annotations

from pathlib import Path

from tests.obs.written import written
from tests.primary.fake import FakeSmtp
from tests.replay.harness import rig


async def test_every_result_is_one_line(tmp_path: Path) -> None:
    def script(verb: str, line: str, _session: object) -> str | None:
        for mark, answer in said.items():
            if verb == "RCPT" and mark in line:
                return answer
        return None

    said = {"b1@": "550 5.1.1 <b1@example.org> unknown", "b2@": "451 4.3.0 b2@example.org later"}

    with written() as log:
        async with FakeSmtp(script) as server, rig(tmp_path, server) as r:
            items = [await r.accept(n, f"b{n}@example.org") for n in range(3)]
            await r.until_drained()
    found = {line["item"]: (line["route"], line["result"], line.get("code")) for line in log.lines("replayed")}
    assert found == {
        items[0]: ("primary", "delivered", 250),
        items[1]: ("primary", "refused", 550),
        items[2]: ("primary", "deferred", 451),
    }
    assert len(log.lines("replayed")) == 3
    assert all(line["seconds"] >= 0 for line in log.lines("replayed"))
    assert "@" not in log.text
