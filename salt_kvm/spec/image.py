"""A disk image: a file that qemu-img makes."""

from __future__ import annotations

from typing import Literal

from salt_kvm.spec.types import Mode, Size, Spec

Format = Literal["raw", "qcow2", "vmdk", "vdi", "vhdx", "vpc", "qed"]


class Image(Spec, frozen=True, kw_only=True):
    """One entry of ``kvm:images``; its key is the path of the file."""

    state: Literal["present", "absent"] = "present"
    format: Format = "raw"
    size: Size | None = None
    owner: str | None = None
    group: str | None = None
    mode: Mode | None = None
