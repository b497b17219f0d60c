"""Images are a pure function of what is in them, and tell it again."""

import hashlib
import os
import subprocess
import sys
import time

import pytest

from salt_kvm.backend.guests import iso

FILES = {"user-data": b"#cloud-config\n{}\n", "empty": b"", "combustion/script": b"#!/bin/sh\n"}


def digest(files):
    return hashlib.sha256(iso.build("cidata", files, "a guest")).hexdigest()


def test_same_data_is_the_same_bytes():
    first = digest(FILES)
    time.sleep(1.1)
    assert digest(dict(reversed(FILES.items()))) == first
    code = f"""
from salt_kvm.backend.guests import iso
import hashlib
print(hashlib.sha256(iso.build("cidata", {FILES!r}, "a guest")).hexdigest())
"""
    elsewhere = {**os.environ, "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", code]
    other = subprocess.run(command, env=elsewhere, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == first


def test_clock_is_given_back():
    import pycdlib.dates

    iso.build("cidata", FILES)
    assert pycdlib.dates.time is time


def test_image_tells_what_is_in_it():
    assert iso.contents(iso.build("ignition", FILES, "a guest")) == ("ignition", "a guest", FILES)


@pytest.mark.parametrize("end", [0, 100, 32768, 34000, 40000, 60000])
def test_what_is_no_image_tells_nothing(end):
    assert iso.contents(iso.build("cidata", FILES)[:end]) is None


def test_what_only_begins_like_an_image_tells_nothing():
    image = bytearray(iso.build("cidata", FILES))
    image[40000:] = b"\xff" * (len(image) - 40000)
    assert iso.contents(bytes(image)) is None
