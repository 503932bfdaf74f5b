"""DKIM signatures (RFC 6376, RFC 8463) for mail that users send: blocks of a message in, header fields out.

1. The domain of the one From mailbox chooses the keys: those of the domain itself, else of the nearest parent that has
   any, so that the signature is aligned (RFC 7489 3.1.1). Every key of that domain signs.
2. relaxed/relaxed; From is signed once more than it occurs, so that nobody can add a second one.
3. What cannot be signed (no From, two of them, a header section that is broken or beyond the limits) goes unsigned.
4. The message is never in memory as a whole. `Signing` is used in a thread.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence

import dkim
import msgspec
from dkim.canonicalization import CanonicalizationPolicy

from relay.core.clock import Clock
from relay.obs.logs import logger
from relay.proto.mime.envelope import parse_addresses
from relay.proto.mime.header import HeaderScanner, HeaderSection
from relay.vault.signing import SigningKey
from relay.world.canonical import BodyHash
from relay.world.resolver import a_label

_log = logger("world.dkim")

SIGNED = frozenset(dkim.DKIM.SHOULD)
_CANONICALISATION = b"relaxed/relaxed"


class DkimKey(msgspec.Struct, frozen=True):
    """One key and where its other half is published: `<selector>._domainkey.<domain>`."""

    domain: str
    selector: str
    key: SigningKey


class Signed(msgspec.Struct, frozen=True):
    """What became of it."""

    fields: bytes = b""
    """DKIM-Signature fields with CRLF, to go ahead of the message."""
    domain: str = ""
    """Empty = not signed."""


class Signer:
    """All keys of the node."""

    def __init__(self, keys: Sequence[DkimKey], clock: Clock) -> None:
        self._clock = clock
        found: dict[str, tuple[DkimKey, ...]] = {}
        for key in keys:
            domain = a_label(key.domain)
            found[domain] = (*found.get(domain, ()), key)
        self.keys: Mapping[str, tuple[DkimKey, ...]] = found

    def begin(self) -> Signing:
        """For one message."""
        return Signing(self, int(self._clock.now()))

    def chosen(self, header: HeaderSection) -> tuple[str, tuple[DkimKey, ...]]:
        """The domain and its keys (invariant 1); none where nothing fits."""
        fields = list(header.all(b"from"))
        people = parse_addresses(fields[0], 2) if len(fields) == 1 else ()
        if len(people) != 1 or not people[0].mailbox or not people[0].host:
            return "", ()
        try:
            domain = a_label(people[0].host.decode("utf-8"))
        except ValueError:
            return "", ()
        while domain:
            if domain in self.keys:
                return domain, self.keys[domain]
            domain = domain.partition(".")[2]
        return "", ()


class Signing:
    """One message on its way through: `feed` its blocks, then `finish`."""

    def __init__(self, signer: Signer, now: int) -> None:
        self._signer = signer
        self._now = now
        self._scanner = HeaderScanner()
        self._header: HeaderSection | None = None
        self._seen = 0
        self._body = BodyHash()

    def feed(self, block: bytes) -> None:
        """The next octets of the message."""
        if self._header is None:
            self._header = self._scanner.feed(block)
            if self._header is not None:
                self._body.feed(block[len(self._header.data) - self._seen :])
        else:
            self._body.feed(block)
        self._seen += len(block)

    def finish(self) -> Signed:
        """The fields; none where it cannot be signed (invariant 3)."""
        header = self._header or self._scanner.finish()
        domain, keys = self._signer.chosen(header) if header.complete else ("", ())
        if not keys:
            return Signed()
        digest = self._body.digest()
        try:
            return Signed(b"".join(_field(header, one, domain, digest, self._now) for one in keys), domain)
        except (dkim.DKIMException, IndexError) as error:  # IndexError: the section begins with a folded line
            _log.info("not_signed", reason=type(error).__name__)
            return Signed()


class _Hand:
    """A key in the shape that dkimpy signs with: it hands over a digest and takes an object with the signature."""

    def __init__(self, key: SigningKey) -> None:
        self._key = key
        self.signature = b""

    def sign(self, digest: bytes) -> _Hand:
        self.signature = self._key.sign(digest)
        return self


def _field(header: HeaderSection, key: DkimKey, domain: str, digest: bytes, now: int) -> bytes:
    # Of dkimpy's two ways to sign, the one named for Ed25519 leaves the key to its owner: ours are in the vault, which
    # signs in C, outside the interpreter's lock. The algorithm that is announced is the key's.
    work = dkim.DKIM(  # type: ignore[no-untyped-call]  # untyped library
        b"\r\n".join(header.data.rstrip(b"\r\n").splitlines()) + b"\r\n\r\n",
        signature_algorithm=b"ed25519-sha256",
    )
    work.hasher = hashlib.sha256
    names = [name.lower() for name, _ in work.headers if name.lower() in SIGNED]
    fields = [
        (b"v", b"1"),
        (b"a", key.key.algorithm.encode()),
        (b"c", _CANONICALISATION),
        (b"d", domain.encode("ascii")),
        (b"s", a_label(key.selector).encode("ascii")),
        (b"t", str(now).encode()),
        (b"h", b" : ".join([*names, b"from"])),  # RFC 6376 8.15
        (b"bh", base64.b64encode(digest)),
        (b"b", b"0" * 60),
    ]
    policy = CanonicalizationPolicy.from_c_value(_CANONICALISATION)  # type: ignore[no-untyped-call]  # untyped library
    value: bytes = work.gen_header(  # type: ignore[no-untyped-call]  # untyped library
        fields, (*names, b"from"), policy, b"DKIM-Signature", _Hand(key.key)
    )
    return b"DKIM-Signature: " + value
