"""A disk image: a file that qemu-img makes."""

from __future__ import annotations

from typing import Annotated, Literal

from salt_kvm.spec.types import Medium, Mode, Size, Spec, matching
from salt_kvm.spec.values import Text, Uuid

Format = Literal["raw", "qcow2", "vmdk", "vdi", "vhdx", "vpc", "qed"]
# Which formats can stand on a backing file, and which options each has.
BACKED = ("qcow2", "qed", "vmdk")
OPTIONS = {
    "raw": ("preallocation",),
    "qcow2": ("preallocation", "cluster_size", "compat", "lazy_refcounts", "extended_l2"),
    "qed": ("cluster_size",),
    "vmdk": ("subformat",),
    "vdi": ("preallocation",),
    "vhdx": ("subformat",),
    "vpc": ("subformat",),
}
SOURCE_FIELDS = ("source_hash", "source_format", "clone")
# An absolute path, or what Salt's file client fetches.
Address = Annotated[
    str,
    matching(r"(/|[a-z][a-z0-9+]*://)[^\x00-\x20\ud800-\udfff\ufffe\uffff]+", max_length=4096),
]
# A version like 1.1 is a number for YAML.
_COMPAT = {"0.1": "0.10", "0.10": "0.10", "1.1": "1.1"}


class Options(Spec, frozen=True, kw_only=True):
    """How an image is laid out, by qemu-img's names; a format has some of them."""

    preallocation: Literal["off", "metadata", "falloc", "full"] | None = None
    cluster_size: Size | None = None
    compat: str | float | None = None
    lazy_refcounts: bool | None = None
    extended_l2: bool | None = None
    subformat: Literal["monolithicSparse", "streamOptimized", "dynamic", "fixed"] | None = None

    def __post_init__(self) -> None:
        if self.compat is not None and str(self.compat) not in _COMPAT:
            raise ValueError(f"compat {self.compat} is neither '0.10' nor '1.1'")

    def given(self) -> dict[str, str | int | bool]:
        """Return what is declared, as an image says it."""
        named = {name: getattr(self, name) for name in self.__struct_fields__}
        declared = {name: value for name, value in named.items() if value is not None}
        if self.compat is not None:
            declared["compat"] = _COMPAT[str(self.compat)]
        return declared


def trusted(source: str) -> bool:
    """What comes from this host or from its master needs no checksum to be what it should be."""
    return source.startswith(("/", "file://", "salt://"))


class Content(Spec, frozen=True, kw_only=True):
    """What an image is made of when it is not there."""

    size: Size | None = None
    backing: Medium | None = None
    backing_format: Format | None = None
    options: Options | None = None
    source: Address | None = None
    source_hash: Text | None = None
    source_format: Format | None = None
    clone: Literal["overlay", "reflink", "copy"] | None = None

    @property
    def makes(self) -> bool:
        """True where enough is declared to make the image."""
        return bool(self.size or self.source or self.backing)

    def check(self, format: Format) -> None:
        """Refuse what an image of this format can't have.

        :raises ValueError: naming the field
        """
        if self.backing and format not in BACKED:
            raise ValueError(f"a {format} image has no backing file; {' or '.join(BACKED)} has")
        if self.backing_format is not None and not self.backing:
            raise ValueError("'backing_format' goes with 'backing'")
        if self.source is None:
            needless = [n for n in SOURCE_FIELDS if getattr(self, n) is not None]
            if needless:
                raise ValueError(f"{needless[0]!r} goes with 'source'")
        elif self.backing:
            raise ValueError("an image has either a 'source' or a 'backing' file")
        elif self.source_hash is None and not trusted(self.source):
            raise ValueError(
                "'source_hash' is needed with a 'source' from elsewhere; "
                "give the checksum, or the address of the file with it"
            )
        if self.clone == "overlay" and format != "qcow2":
            raise ValueError(f"a {format} image is no overlay; qcow2 is")
        for name in self.options.given() if self.options is not None else ():
            if name not in OPTIONS[format]:
                raise ValueError(f"a {format} image has no option {name!r}")


CONTENT_FIELDS = Content.__struct_fields__


class Encryption(Spec, frozen=True, kw_only=True):
    """LUKS, with the passphrase of a libvirt secret."""

    secret: Uuid


class Image(Content, frozen=True, kw_only=True):
    """One entry of ``kvm:images``; its key is the path of the file."""

    state: Literal["present", "absent"] = "present"
    format: Format = "raw"
    encryption: Encryption | None = None
    shrink: bool | None = None
    replace: bool | None = None
    owner: str | None = None
    group: str | None = None
    mode: Mode | None = None

    def __post_init__(self) -> None:
        self.check(self.format)
        if self.encryption is not None and self.format != "qcow2":
            raise ValueError("'encryption' goes with format: qcow2")
        if self.encryption is not None and self.source is not None:
            raise ValueError("a 'source' is the whole image; leave out 'encryption'")
