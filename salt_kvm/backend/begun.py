"""Volumes that are being filled: what a run that was killed had begun looks whole to libvirt.

A record on this host names each until it is whole, with what tells it from another of that name.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree as ET

from salt_kvm.backend.files import saying, write
from salt_kvm.errors import ApplyError, ObserveError, UnmetError

FOLDER = "/var/lib/salt-kvm/begun"
MARK = "user.salt-kvm.begun"


def begin(uri: str, name: str, document: str | None = None) -> None:
    """Record that a volume is being filled.

    :param name: ``pool/volume``
    :param document: libvirt's, when the volume is there
    """
    identity = None if document is None else _mark(document)
    write(str(_path(uri, name)), json.dumps(identity).encode(), mode=0o600)


def end(uri: str, name: str, document: str | None = None) -> None:
    """Take the record away: the volume is whole, or gone."""
    if document is not None:
        with suppress(OSError):
            os.removexattr(_file(document), MARK)
    path = _path(uri, name)
    with saying(ApplyError, str(path)):
        path.unlink(missing_ok=True)


def is_half(uri: str, name: str, document: str) -> bool:
    """Tell whether a volume is what a run had begun and never ended.

    :raises UnmetError: where that can't be told, as nothing tells it from another of its name
    """
    path = _path(uri, name)
    if not path.exists():
        return False
    with saying(ObserveError, str(path)):
        identity = json.loads(path.read_text())
    if identity is None:
        raise UnmetError(
            f"volume {name} may be what a run that was killed had begun; remove it, or, if it is "
            f"whole, {path}"
        )
    return identity in (_marked(document), _key(document))


def _mark(document: str) -> str | None:
    """Mark a file, as its number may be another file's next; a logical volume has a UUID."""
    token = os.urandom(16).hex()
    try:
        os.setxattr(_file(document), MARK, token.encode())
    except OSError:
        return _key(document)
    return token


def _marked(document: str) -> str | None:
    with suppress(OSError):
        return os.getxattr(_file(document), MARK).decode()
    return None


def _key(document: str) -> str | None:
    """Return libvirt's key of a volume, where that is more than its place."""
    key = ET.fromstring(document).findtext("key")
    return None if key == _file(document) else key


def _file(document: str) -> str:
    return ET.fromstring(document).findtext("target/path") or ""


def _path(uri: str, name: str) -> Path:
    return Path(FOLDER) / quote(f"{uri} {name}", safe="")[-200:]
