"""Checksums as people publish them: a value, or a line of a file."""

import codecs
import re
from collections.abc import Iterator
from typing import NamedTuple

from salt_kvm.errors import SpecError

# The weakest first; the length of a value in hexadecimal digits tells which it is.
LENGTHS = {"md5": 32, "sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128}
_BY_LENGTH = {length: name for name, length in LENGTHS.items()}
_VALUE = re.compile(r"(?:([A-Za-z0-9-]+)[=:])?([0-9A-Fa-f]{32,128})")
_BSD = re.compile(r"([A-Za-z0-9-]+) ?\((.+)\) ?= ?([0-9A-Fa-f]+)")
_GNU = re.compile(r"\\?([0-9A-Fa-f]{32,128})[ \t]+\*?(\S.*)")


class Checksum(NamedTuple):
    """An algorithm of hashlib, and the value in lower case."""

    algorithm: str
    value: str


def value(text: str) -> Checksum | None:
    """Return the checksum that ``text`` is: ``64ec88...`` or ``sha256=64ec88...``."""
    found = _VALUE.fullmatch(text.strip())
    return _checksum(found[2], found[1]) if found else None


def text(data: bytes) -> str:
    """Return the text of a checksum file, which an editor may have given a byte order mark."""
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if wide else "utf-8-sig", errors="replace")


def in_file(text: str, name: str, where: str) -> Checksum:
    """Return the strongest checksum of a file in the text of a checksum file.

    :param name: the name of the file, without its folders
    :param where: what the text is of, for messages
    :raises SpecError: where there is none, or two that contradict each other
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found = [checksum for line in lines for checksum in _of_line(line, name)]
    if not found and len(lines) == 1 and (bare := value(lines[0])) is not None:
        return bare
    if not found:
        raise SpecError([f"{where} has no checksum of {name}; correct source_hash"])
    order = list(LENGTHS)
    best = max(found, key=lambda checksum: order.index(checksum.algorithm))
    if any(other.algorithm == best.algorithm and other != best for other in found):
        raise SpecError([f"{where} has different {best.algorithm} checksums of {name}"])
    return best


def _of_line(line: str, name: str) -> Iterator[Checksum]:
    bsd, gnu = _BSD.fullmatch(line), _GNU.fullmatch(line)
    if bsd is not None:
        algorithm, path, digits = bsd.groups()
    elif gnu is not None:
        algorithm, digits, path = None, *gnu.groups()
    else:
        return
    checksum = _checksum(digits, algorithm)
    if checksum is not None and path.rsplit("/", 1)[-1] == name:
        yield checksum


def _checksum(digits: str, algorithm: str | None) -> Checksum | None:
    known = _BY_LENGTH.get(len(digits))
    named = None if algorithm is None else algorithm.lower().replace("-", "")
    return Checksum(known, digits.lower()) if known and named in (None, known) else None
