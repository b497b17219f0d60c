"""What is being filled or built: what a run that was killed had begun may look whole, or foreign.

A record on this host names each volume, and each pool with its devices, until that is whole, with
what tells it from another of that name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from salt_kvm.backend.system import device
from salt_kvm.backend.system.files import sync, write
from salt_kvm.backend.system.lock import short
from salt_kvm.backend.system.saying import saying
from salt_kvm.errors import ApplyError, ObserveError, UnmetError
from salt_kvm.seen import DeviceSeen
from salt_kvm.xml.document import parse

FOLDER = "/var/lib/salt-kvm/begun"
MARK = "user.salt-kvm.begun"


def begin(uri: str, name: str, document: str | None = None) -> None:
    """Record that a volume is being filled.

    :param name: ``pool/volume``
    :param document: libvirt's, when the volume is there
    """
    _record(uri, name, None if document is None else _mark(document))


def begin_build(uri: str, name: str, identities: Mapping[str, Mapping[str, str]]) -> None:
    """Record that a pool is being built.

    :param identities: what each of its devices is known by, by its path
    """
    _record(uri, name, {"boot": device.boot(), "devices": identities})


def _record(uri: str, name: str, what: object) -> None:
    write(str(_path(uri, name)), json.dumps(what).encode(), mode=0o600)
    with saying(ApplyError, FOLDER):
        sync(FOLDER)


def is_half_built(uri: str, name: str, format: str, seen: DeviceSeen) -> bool:
    """Tell whether a device holds what a run had begun to build there and never ended.

    It was blank before. Written to since this host was started, it is another's; and what the
    program of a format writes last must not be there.
    """
    path = _path(uri, name)
    if not path.exists():
        return False
    with saying(ObserveError, str(path)):
        record = json.loads(path.read_text())
    if record["devices"].get(seen.path) != device.identity(seen.path):
        return False
    untouched = record["boot"] == device.boot() or not device.written(seen.path)
    return untouched and device.unfinished(seen, format)


def end(uri: str, name: str, document: str | None = None) -> None:
    """Take the record away: the volume or the pool is whole, or gone."""
    if document is not None:
        with suppress(OSError):
            os.removexattr(_file(document), MARK)
    path = _path(uri, name)
    with saying(ApplyError, str(path)):
        path.unlink(missing_ok=True)


def is_half(uri: str, name: str, document: str, holds: Callable[[], bool | None]) -> bool:
    """Tell whether a volume is what a run had begun and never ended.

    A run that was killed before it could mark what it had made had written nothing into it: a
    volume that holds nothing can be given up, whoever made it, and one that holds something is not
    that one.

    :param holds: tells whether the volume holds anything; ``None`` where that can't be told
    :raises UnmetError: where that can't be told, as nothing tells it from another of its name
    """
    path = _path(uri, name)
    if not path.exists():
        return False
    with saying(ObserveError, str(path)):
        identity = json.loads(path.read_text())
    numbered = isinstance(identity, dict)
    if numbered and identity != _number(document):
        return False
    if identity is None or numbered:
        something = holds()
        # By its number alone no file is given up that holds something.
        if something is None or (something and numbered):
            raise UnmetError(
                f"volume {name} may be what a run that was killed had begun; remove it, or, if it "
                f"is whole, {path}"
            )
        return not something
    return identity in (_marked(document), _key(document))


def _mark(document: str) -> object:
    """Mark a file, as its number may be another file's next; a logical volume has a UUID.

    Some file systems (NFS, FAT) take no mark: there the number is all that tells a file.
    """
    token = os.urandom(16).hex()
    try:
        os.setxattr(_file(document), MARK, token.encode())
    except OSError:
        return _key(document) or _number(document)
    return token


def _number(document: str) -> dict[str, int] | None:
    with suppress(OSError):
        return {"inode": os.stat(_file(document)).st_ino}
    return None


def _marked(document: str) -> str | None:
    with suppress(OSError):
        return os.getxattr(_file(document), MARK).decode()
    return None


def _key(document: str) -> str | None:
    """Return libvirt's key of a volume, where that is more than its place."""
    key = parse(document).findtext("key")
    return None if key == _file(document) else key


def _file(document: str) -> str:
    return parse(document).findtext("target/path") or ""


def _path(uri: str, name: str) -> Path:
    return Path(FOLDER) / short(quote(f"{uri} {name}", safe=""))
