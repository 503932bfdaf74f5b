"""aioimaplib: a client on asyncio that pipelines nothing and waits for pushes in IDLE."""

from __future__ import annotations

import asyncio

import pytest
from aioimaplib import aioimaplib

from tests.clients.account import Account
from tests.peers.process import PATIENCE

pytestmark = [pytest.mark.peers, pytest.mark.timeout(120)]


async def _login(account: Account) -> aioimaplib.IMAP4_SSL:
    client = aioimaplib.IMAP4_SSL("localhost", account.office.ports.imaps, ssl_context=account.trust, timeout=PATIENCE)
    await client.wait_hello_from_server()
    assert (await client.login(account.address, account.password)).result == "OK"
    return client


async def test_reading_changing_and_idling(account: Account) -> None:
    await asyncio.to_thread(account.receives, "one", "two")
    client = await _login(account)
    try:
        assert (await client.select("INBOX")).result == "OK"
        assert (await client.search("SUBJECT two")).lines[0] == b"2"
        fetched = await client.uid("fetch", "1", "(FLAGS BODY.PEEK[TEXT])")
        assert b"Good morning.\r\n" in fetched.lines
        assert (await client.uid("store", "1", "+FLAGS", "(\\Flagged)")).result == "OK"
        assert (await client.create("Projects")).result == "OK"
        assert (await client.uid("copy", "1", "Projects")).result == "OK"
        assert (await client.append(account.letter("three"), mailbox="Projects", flags="\\Seen")).result == "OK"
        assert set(await asyncio.to_thread(account.shows, "Projects")) == {"one", "three"}
        assert (await client.uid("store", "2", "+FLAGS", "(\\Deleted)")).result == "OK"
        assert (await client.expunge()).result == "OK"
        assert set(await asyncio.to_thread(account.shows)) == {"one"}

        waiting = await client.idle_start(timeout=PATIENCE)
        await asyncio.to_thread(account.receives, "four")
        assert b"2 EXISTS" in await client.wait_server_push(PATIENCE)
        client.idle_done()
        await asyncio.wait_for(waiting, PATIENCE)
        assert (await client.rename("Projects", "Past")).result == "OK"
        assert (await client.subscribe("Past")).result == "OK"
        assert (await client.delete("Past")).result == "OK"
        assert (await client.namespace()).result == "OK"
        assert (await client.close()).result == "OK"
    finally:
        await client.logout()
