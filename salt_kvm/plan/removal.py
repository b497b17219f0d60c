"""What goes with a domain that is removed: its own images, where that was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol
from xml.etree import ElementTree as ET

from salt_kvm.plan.steps import RemoveImage, Step, change
from salt_kvm.seen import FileSeen, Observed
from salt_kvm.xml.document import parse


class Images(Protocol):
    """The image files of the host by path; only those that a plan asks for are looked at."""

    def get(self, path: str, format: str, /) -> FileSeen | None:
        """Return an image that is declared to be of a format; ``None`` where there is none."""

    def holders(self, path: str, /, *, but: str) -> list[str]:
        """Return the other domains that use an image in any way, and what stands on it."""

    def runners(self, path: str, /) -> list[tuple[str, str]]:
        """Return the running domains that have an image itself as a disk, with its target."""


def own_images(seen: Observed | None, images: Images) -> Iterator[Step]:
    """Yield the removal of each image that only this domain writes.

    Never of a medium, a read-only or shareable disk, a device, or what another domain uses or
    another image stands on.
    """
    disks = parse(seen.xml).iterfind("devices/disk") if seen is not None else ()
    own = dict.fromkeys(path for disk in disks if (path := _written(disk)) is not None)
    for path in own:
        there = images.get(path, "raw")
        if seen is not None and there is not None and there.kind == "file":
            if not own.keys() >= set(images.holders(path, but=seen.name)):
                continue
            yield RemoveImage(path=path, changes={f"image[{path}]": change("present", None)})


def _written(disk: ET.Element) -> str | None:
    shared = disk.find("readonly") is not None or disk.find("shareable") is not None
    source = disk.find("source")
    if shared or source is None or disk.get("device", "disk") != "disk":
        return None
    return source.get("file")
