"""Bytes of an untrusted file, one piece after another: never more than are there, never more than a limit."""

from typing import Final, Protocol

_PIECE: Final = 1 << 20
_LONGEST_LINE: Final = 256


class Malformed(Exception):
    """The file isn't what it should be; whoever knows its name turns this into a DataError."""


class Readable(Protocol):
    """What a source reads from: a file, a decompressor, an entry of an archive."""

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes; none at the end."""
        ...


class ByteSource:
    """Takes bytes from a stream in order.

    A file may announce far more than it has, so long pieces are read bit by bit; and a packed file may unpack to far
    more than its own size, so there is a limit.

    Attributes:
        limit: Bytes that may be read altogether.
    """

    def __init__(self, stream: Readable, *, limit: int) -> None:
        self.limit = limit
        self._stream = stream
        self._data = b""
        self._position = 0
        self._before = 0  # bytes that came before ``_data``

    @property
    def position(self) -> int:
        """Bytes taken so far."""
        return self._before + self._position

    def byte(self) -> int:
        """Take one byte."""
        position = self._position
        if position < len(self._data):
            self._position = position + 1
            return self._data[position]
        return self.take(1)[0]

    def take(self, count: int) -> bytes:
        """Take ``count`` bytes.

        Raises:
            Malformed: They are not there, or beyond the limit.
        """
        start = self._position
        end = start + count
        if start <= end <= len(self._data):
            self._position = end
            return self._data[start:end]
        return self._take_more(count)

    def line(self) -> bytes:
        """Take a short line; its end is taken too and not returned.

        Raises:
            Malformed: It has no end nearby.
        """
        start = self.position
        line = bytearray()
        while (byte := self.byte()) != 0x0A:
            line.append(byte)
            if len(line) > _LONGEST_LINE:
                raise Malformed(f"a name is missing at byte {start:,}")
        return bytes(line)

    def rest(self) -> int:
        """Take whatever is left and say how many bytes it was; checksums at the end of a stream are checked by this."""
        before = self.position
        while self._data:
            self._position = len(self._data)
            self._refill()
        return self.position - before

    def _take_more(self, count: int) -> bytes:
        if count < 0:
            raise Malformed(f"it announces {count:,} bytes at byte {self.position:,}")
        announced = self.position
        pieces = []
        missing = count
        while missing:
            if self._position == len(self._data):
                self._refill()
                if not self._data:
                    raise Malformed(
                        f"it is truncated: {count:,} bytes are announced at byte {announced:,}, and "
                        f"{count - missing:,} are there"
                    )
            piece = self._data[self._position : self._position + missing]
            self._position += len(piece)
            missing -= len(piece)
            pieces.append(piece)
        return b"".join(pieces)

    def _refill(self) -> None:
        self._before += len(self._data)
        self._position = 0
        self._data = self._stream.read(_PIECE)
        if self._before + len(self._data) > self.limit:
            raise Malformed(f"it has more than the {self.limit:,} bytes that such a file may take")
