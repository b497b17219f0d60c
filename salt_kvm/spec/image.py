"""A disk image: a file that qemu-img makes."""

import re
from typing import Annotated, Literal

from salt_kvm.spec import layout
from salt_kvm.spec.layout import Options
from salt_kvm.spec.types import Medium, Mode, Size, Spec, matching
from salt_kvm.spec.values import Line, Passphrase, Text

Format = Literal["raw", "qcow2", "vmdk", "vdi", "vhdx", "vpc", "qed"]
# Which formats can stand on a backing file, and which LUKS encrypts.
BACKED = ("qcow2", "qed", "vmdk")
ENCRYPTED = ("raw", "qcow2")
SOURCE_FIELDS = ("source_hash", "source_format", "clone")
# An absolute path, or what Salt's file client fetches.
Address = Annotated[
    str,
    matching(
        r"(/[^\x00-\x1f\ud800-\udfff\ufffe\uffff]+"
        r"|[a-z][a-z0-9+]*://[^\x00-\x20\ud800-\udfff\ufffe\uffff]+)",
        max_length=4096,
    ),
]


def trusted(source: str) -> bool:
    """What comes from this host or from its master needs no checksum to be what it should be."""
    return source.startswith(("/", "file://", "salt://"))


def shown_address(address: str) -> str:
    """Return an address without the name and the password that may stand in it."""
    return re.sub(r"(?<=://)[^/@]*@", "", address)


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
        if self.backing:
            check_backing(format, self.backing_format)
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
        overlay = format == "qcow2" and self.source is not None and self.clone in (None, "overlay")
        options = self.options.given() if self.options is not None else {}
        layout.check(format, options, self.size, backed=overlay or bool(self.backing))


def check_backing(format: str | None, backing_format: str | None) -> None:
    """Refuse a backing file that an image of this format can't stand on.

    :raises ValueError: with the cure
    """
    if format == "vmdk" and backing_format != "vmdk":
        raise ValueError(
            "a vmdk image stands on vmdk images only; declare that the backing file is one, or "
            "format: qcow2"
        )


CONTENT_FIELDS = Content.__struct_fields__


class Encryption(Spec, frozen=True, kw_only=True):
    """LUKS, with the passphrase of a libvirt secret."""

    secret: Passphrase


def check_encryption(encryption: Encryption | None, format: Format, content: Content) -> None:
    """Refuse what an image that is made encrypted can't be.

    :raises ValueError: naming the field
    """
    if encryption is None:
        return
    if content.source is not None:
        raise ValueError("a 'source' is the whole image; leave out 'encryption'")
    if format not in ENCRYPTED:
        raise ValueError(f"'encryption' goes with format: {' or '.join(ENCRYPTED)}")


class Image(Content, frozen=True, kw_only=True):
    """One entry of ``kvm:images``; its key is the path of the file."""

    state: Literal["present", "absent"] = "present"
    format: Format = "raw"
    encryption: Encryption | None = None
    shrink: bool | None = None
    replace: bool | None = None
    owner: str | int | None = None
    group: str | int | None = None
    mode: Mode | None = None
    label: Line | None = None

    def __post_init__(self) -> None:
        self.check(self.format)
        check_encryption(self.encryption, self.format, self)
