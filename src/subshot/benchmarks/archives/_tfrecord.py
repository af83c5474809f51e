"""TensorFlow's record files, without TensorFlow: each record with its length, and a checksum of either.

The checksum is CRC-32C (Castagnoli), rotated and offset so that checksums of checksums are harmless.
"""

import struct
from collections.abc import Iterator
from typing import Final

from subshot.data._byte_source import ByteSource, Malformed

HEADER: Final = 12
_POLYNOMIAL: Final = 0x82F63B78  # Castagnoli's, bits reversed


def records(source: ByteSource, *, longest: int) -> Iterator[bytes]:
    """The records of a file in order.

    Args:
        source: The file.
        longest: No record of such a file has more bytes.

    Raises:
        Malformed: A checksum is wrong, a record too long, or the file is cut short.
    """
    while (start := source.position) < source.limit:
        header = source.take(HEADER)
        if not is_header(header):
            raise Malformed(f"the checksum of the length at byte {start:,} is wrong")
        (length,) = struct.unpack("<Q", header[:8])
        if length > longest:
            raise Malformed(f"it announces a record of {length:,} bytes at byte {start:,}, more than {longest:,}")
        record = source.take(length)
        if source.take(4) != _masked(record):
            raise Malformed(f"the checksum of the record at byte {start:,} is wrong")
        yield record


def is_header(data: bytes) -> bool:
    """Whether these are a length and its checksum, as every such file begins."""
    return len(data) == HEADER and data[8:] == _masked(data[:8])


def _masked(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    table = _TABLE
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _remainder(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
    return byte


_TABLE: Final = tuple(map(_remainder, range(256)))
