"""A storage pool."""

from __future__ import annotations

from typing import Literal

from salt_kvm.spec.types import Path, Spec


class Pool(Spec, frozen=True, kw_only=True):
    """One entry of ``kvm:pools``; its key is the name of the pool."""

    state: Literal["present", "running", "stopped", "absent"] = "running"
    type: Literal["dir"] | None = None
    path: Path | None = None
    autostart: bool | None = None
    xml: str | None = None
