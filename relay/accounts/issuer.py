"""Where the issuer's keys come from: a URL, the issuer's own description of itself, or a file. Leaves: a JWK set.

1. One deadline for all of it; nothing longer than LONGEST_DOCUMENT is read, nothing is unpacked, no redirect followed.
2. Only https, or this machine; a description that names another issuer is not believed (OpenID Connect Discovery 4.3).
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Protocol

import httpx
import msgspec

from relay.accounts.jwks import LONGEST_DOCUMENT
from relay.accounts.oauth import OAuthSettings, is_trusted_url
from relay.core.errors import NotNow


class Source(Protocol):
    """Something that has the keys."""

    async def fetch(self) -> bytes:
        """The JWK set as it is now. NotNow."""
        ...


class _Description(msgspec.Struct):
    issuer: str
    jwks_uri: str


class Issuer:
    """The configured source."""

    def __init__(self, settings: OAuthSettings) -> None:
        self._settings = settings

    async def fetch(self) -> bytes:
        """The JWK set as it is now. NotNow."""
        try:
            async with asyncio.timeout(self._settings.timeout):
                if self._settings.jwks_file is not None:
                    return await asyncio.to_thread(self._read)
                return await self._ask()
        except TimeoutError:
            raise NotNow("the issuer did not answer in time") from None
        except (OSError, httpx.HTTPError, httpx.InvalidURL) as error:
            raise NotNow("the issuer cannot be asked") from error

    def _read(self) -> bytes:
        assert self._settings.jwks_file is not None
        with self._settings.jwks_file.open("rb") as file:
            return _bounded(file.read(LONGEST_DOCUMENT + 1))

    async def _ask(self) -> bytes:
        settings = self._settings
        trust = await asyncio.to_thread(ssl.create_default_context, cafile=settings.ca_file)
        async with httpx.AsyncClient(
            verify=trust,
            trust_env=False,
            follow_redirects=False,
            timeout=settings.timeout,
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        ) as client:
            return await _get(client, settings.jwks_url or await self._discover(client))

    async def _discover(self, client: httpx.AsyncClient) -> str:
        try:
            found = msgspec.json.decode(await _get(client, self._settings.discovery), type=_Description)
        except msgspec.MsgspecError:
            raise NotNow("the issuer does not describe itself") from None
        if found.issuer != self._settings.issuer:
            raise NotNow("the issuer calls itself something else")
        return found.jwks_uri


async def _get(client: httpx.AsyncClient, url: str) -> bytes:
    if not is_trusted_url(url):
        raise NotNow("keys are taken over https only")
    async with client.stream("GET", url) as response:
        if response.status_code != httpx.codes.OK or "content-encoding" in response.headers:
            raise NotNow("the issuer answered something else")
        document = b""
        async for block in response.aiter_raw():
            document = _bounded(document + block)
        return document


def _bounded(document: bytes) -> bytes:
    if len(document) > LONGEST_DOCUMENT:
        raise NotNow("the issuer's document is too long")
    return document
