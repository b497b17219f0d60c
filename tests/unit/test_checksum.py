"""Checksums as they are published: a value, or a line of a file."""

import hashlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salt_kvm.errors import SpecError
from salt_kvm.spec import checksum

DATA = b"image"
DIGESTS = {name: hashlib.new(name, DATA).hexdigest() for name in checksum.LENGTHS}
SHA = DIGESTS["sha256"]
OTHER = hashlib.sha256(b"other").hexdigest()
NAME = "debian-12.qcow2"


@pytest.mark.parametrize("name", checksum.LENGTHS)
def test_a_value_tells_its_algorithm(name):
    for text in (DIGESTS[name], f"{name}={DIGESTS[name]}", f" {name.upper()}:{DIGESTS[name]}\n"):
        assert checksum.value(text) == (name, DIGESTS[name])
    assert checksum.value(DIGESTS[name].upper()) == (name, DIGESTS[name])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "abc",
        SHA[:-1],
        f"{SHA}0",
        f"md5={SHA}",
        f"sha3={SHA}",
        "https://a/SHA256SUMS",
        f"{SHA} a",
    ],
)
def test_what_is_no_value(text):
    assert checksum.value(text) is None


FILES = [
    SHA,
    f"{SHA}\n",
    f"sha256={SHA}\n",
    f"{SHA}  {NAME}\n",
    f"{SHA} *{NAME}\n",
    f"{SHA} {NAME}\r\n",
    f"{SHA}  ./{NAME}\n",
    f"{SHA}  images/{NAME}\n",
    f"SHA256 ({NAME}) = {SHA}\n",
    f"SHA256(./{NAME})= {SHA}\n",
    f"SHA-256 ({NAME}) = {SHA}\n",
    f"# a comment\n\n{OTHER}  other.qcow2\n{SHA}  {NAME}\n",
    f"{OTHER}  x{NAME}\n{SHA}  {NAME}\n{OTHER}  {NAME}.asc\n",
    f"{DIGESTS['md5']}  {NAME}\n{SHA}  {NAME}\n{DIGESTS['sha1']}  {NAME}\n",
    f"MD5 ({NAME}) = {DIGESTS['md5']}\nSHA256 ({NAME}) = {SHA}\n",
    f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n{SHA}  {NAME}\n-----END-----\nabc\n",
]


@pytest.mark.parametrize("text", FILES)
def test_a_file_has_the_checksum(text):
    assert checksum.in_file(text, NAME, "SUMS") == ("sha256", SHA)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "SUMS has no checksum of debian-12.qcow2; correct source_hash"),
        (f"{OTHER}  other\n", "SUMS has no checksum"),
        (f"{SHA[:-1]}  {NAME}\n", "SUMS has no checksum"),
        (f"MD5 ({NAME}) = {SHA}\n", "SUMS has no checksum"),
        ("<html>Not found</html>", "SUMS has no checksum"),
        (f"{SHA}\n{OTHER}\n", "SUMS has no checksum"),
        (f"{SHA}  {NAME}\n{OTHER}  old/{NAME}\n", "SUMS has different sha256 checksums"),
    ],
)
def test_a_file_has_it_not(text, words):
    with pytest.raises(SpecError, match=words):
        checksum.in_file(text, NAME, "SUMS")


@given(st.text())
def test_any_text_is_refused_or_read(text):
    checksum.value(text)
    with suppress(SpecError):
        checksum.in_file(text, NAME, "SUMS")
