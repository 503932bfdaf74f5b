"""What is sealed beside a body: its envelope and origin, and the reasons written down about it."""

from __future__ import annotations

import msgspec

from relay.core.envelope import Envelope, Origin
from relay.core.errors import Damaged
from relay.core.reply import Reply


class Record(msgspec.Struct, frozen=True, array_like=True):
    """The sealed envelope blob of an item."""

    envelope: Envelope
    origin: Origin


_ENCODER = msgspec.msgpack.Encoder()
_RECORDS = msgspec.msgpack.Decoder(Record)
_REPLIES = msgspec.msgpack.Decoder(Reply)


def encode_record(record: Record) -> bytes:
    """Bytes to be sealed."""
    return _ENCODER.encode(record)


def decode_record(data: bytes) -> Record:
    """The record of an opened blob; Damaged where it is not one."""
    try:
        return _RECORDS.decode(data)
    except msgspec.MsgspecError as error:
        raise Damaged("the envelope record does not decode") from error


def encode_reply(reply: Reply) -> bytes:
    """Bytes to be sealed as a recipient's last reply."""
    return _ENCODER.encode(reply)


def decode_reply(data: bytes) -> Reply:
    """The reply of an opened detail; Damaged where it is not one."""
    try:
        return _REPLIES.decode(data)
    except msgspec.MsgspecError as error:
        raise Damaged("a stored reply does not decode") from error
