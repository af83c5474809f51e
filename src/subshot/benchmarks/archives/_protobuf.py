"""The wire format of protocol buffers, without protobuf: a message as its fields by number.

A message is a row of fields, each a key (number and wire type in one) and a value: a whole number of variable length, 8
bytes, 4 bytes, or a length and so many bytes, which may be a message again.
"""

import struct
from typing import Final

from subshot.data._byte_source import Malformed

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_LONGEST_VARINT: Final = 10

Field = int | bytes


def read_message(data: bytes) -> dict[int, list[Field]]:
    """Fields by number, values in order: whole numbers as they are, all else as bytes.

    Raises:
        Malformed: It is cut short or has a field of another form.
    """
    fields: dict[int, list[Field]] = {}
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, wire_type = key >> 3, key & 7
        value: Field
        if wire_type == _VARINT:
            value, position = _varint(data, position)
        elif wire_type in (_EIGHT, _FOUR, _BYTES):
            length = 8 if wire_type == _EIGHT else 4
            if wire_type == _BYTES:
                length, position = _varint(data, position)
            if length > len(data) - position:
                raise Malformed(f"field {number} of a message is cut short")
            value = data[position : position + length]
            position += length
        else:
            raise Malformed(f"field {number} of a message has the wire type {wire_type}")
        fields.setdefault(number, []).append(value)
    return fields


def number(fields: dict[int, list[Field]], field: int) -> float:
    """A field of type ``double``; 0 where the message leaves it out, as protocol buffers say. The last one counts.

    Raises:
        Malformed: The field has another type.
    """
    value = fields.get(field, [bytes(8)])[-1]
    if not isinstance(value, bytes) or len(value) != 8:
        raise Malformed(f"field {field} of a message is no number of 8 bytes")
    return float(struct.unpack("<d", value)[0])


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for place in range(_LONGEST_VARINT):
        if position + place >= len(data):
            raise Malformed("a message ends within a number")
        byte = data[position + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, position + place + 1
    raise Malformed("a message has a number without an end")
