"""A secret that libvirt keeps for guests, pools and volumes."""

import base64
import binascii
from typing import Literal

from salt_kvm.spec.types import Path, Spec, Value
from salt_kvm.spec.values import Line, Uuid

# What a secret is known by, next to its UUID: libvirt's element for each usage.
USAGES = {"ceph": "name", "iscsi": "target", "volume": "volume", "vtpm": "name", "tls": "name"}


class StoredSecret(Spec, frozen=True, kw_only=True):
    """One entry of ``kvm:secrets``; its key is what libvirt's usage names: a target, a path, ..."""

    state: Literal["present", "absent"] = "present"
    usage: Literal["ceph", "iscsi", "volume", "vtpm", "tls"] | None = None
    uuid: Uuid | None = None
    description: Line | None = None
    private: bool | None = None
    ephemeral: bool | None = None
    value: Value | None = None
    value_file: Path | None = None
    encoding: Literal["text", "base64"] | None = None

    def __post_init__(self) -> None:
        if self.value is not None and self.value_file is not None:
            raise ValueError("declare either 'value' or 'value_file'")
        # What is kept elsewhere is looked up when it is needed.
        if self.value is not None and not self.value.startswith("sdb://"):
            decoded(self.value.encode(), self.encoding)


def decoded(value: bytes, encoding: str | None) -> bytes:
    """Return the bytes that libvirt is to keep.

    :raises ValueError: where they are none; the message tells nothing of them
    """
    if encoding == "base64":
        try:
            value = base64.b64decode(b"".join(value.split()), validate=True)
        except binascii.Error:
            raise ValueError("the secret's value is no base64") from None
    if not value:
        raise ValueError("the secret's value is empty")
    return value
