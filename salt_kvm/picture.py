"""A screenshot as PNG: QEMU before 7.1 sends PPM. Pure."""

from __future__ import annotations

import re
import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PPM = re.compile(rb"P6\s+(\d+)\s+(\d+)\s+255\s")


def png(picture: bytes) -> bytes:
    """Return a picture as PNG.

    :param picture: a PNG, which is returned as it is, or a binary PPM with 8 bits a colour
    :raises ValueError: for any other picture
    """
    if picture.startswith(SIGNATURE):
        return picture
    match = _PPM.match(picture)
    if match is None:
        raise ValueError(f"neither PNG nor PPM: {picture[:8]!r}")
    width, height = int(match[1]), int(match[2])
    pixels, row = picture[match.end() :], width * 3
    # Each row starts with its filter type; 0 is none.
    rows = b"".join(b"\0" + pixels[y * row : (y + 1) * row] for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return SIGNATURE + b"".join(
        _chunk(kind, data)
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
