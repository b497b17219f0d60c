"""Screens as PNG, whatever QEMU sends."""

import struct
import zlib

import pytest

from salt_kvm.picture import SIGNATURE, png


def test_png_is_left_alone():
    assert png(SIGNATURE + b"rest") == SIGNATURE + b"rest"


def test_ppm_becomes_png():
    pixels = bytes(range(18))
    made = png(b"P6\n3 2\n255\n" + pixels)
    assert made.startswith(SIGNATURE)
    length, kind = struct.unpack(">I4s", made[8:16])
    assert kind == b"IHDR"
    assert struct.unpack(">II", made[16:24]) == (3, 2)
    data = made[8 + 12 + length :]
    (size,) = struct.unpack(">I", data[:4])
    rows = zlib.decompress(data[8 : 8 + size])
    assert rows == b"\0" + pixels[:9] + b"\0" + pixels[9:]


def test_another_picture_is_refused():
    with pytest.raises(ValueError, match="neither PNG nor PPM"):
        png(b"GIF89a")
