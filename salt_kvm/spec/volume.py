"""A volume of a storage pool."""

from typing import Literal

from salt_kvm.spec.image import Address, Encryption, check_backing, trusted
from salt_kvm.spec.pool import Permissions
from salt_kvm.spec.types import Allocation, Path, Size, Spec
from salt_kvm.spec.values import Text

FileFormat = Literal["raw", "qcow2", "qcow", "qed", "vmdk", "vdi", "vpc"]
# A partition of a ``disk`` pool has a type in place of a format.
VolumeFormat = (
    FileFormat
    | Literal[
        "none", "linux", "fat16", "fat32", "linux-swap", "linux-lvm", "linux-raid", "extended"
    ]
)


class Backing(Spec, frozen=True, kw_only=True):
    """The image that a volume stands on; its format is never guessed."""

    path: Path
    format: FileFormat


class StorageVolume(Spec, frozen=True, kw_only=True):
    """One entry of ``kvm:volumes``; its key is ``pool/volume``."""

    state: Literal["present", "absent", "wiped"] = "present"
    capacity: Size | None = None
    allocation: Allocation | None = None
    format: VolumeFormat | None = None
    backing: Backing | None = None
    permissions: Permissions | None = None
    encryption: Encryption | None = None
    source: Address | None = None
    source_hash: Text | None = None
    shrink: bool | None = None
    xml: str | None = None

    def __post_init__(self) -> None:
        if self.backing is not None and self.format not in ("qcow2", "qed", "vmdk"):
            raise ValueError("a volume with 'backing' has format: qcow2 (or qed, vmdk)")
        if self.backing is not None:
            check_backing(self.format, self.backing.format)
        if self.capacity is not None and (self.allocation or 0) > self.capacity:
            raise ValueError("'allocation' is not larger than 'capacity'")
        if self.source_hash is not None and self.source is None:
            raise ValueError("'source_hash' goes with 'source'")
        if self.source is not None and self.source_hash is None and not trusted(self.source):
            raise ValueError(
                "'source_hash' is needed with a 'source' from elsewhere; "
                "give the checksum, or the address of the file with it"
            )
        if self.source is not None and (self.backing is not None or self.encryption is not None):
            raise ValueError("a 'source' is the whole volume; leave out 'backing' and 'encryption'")
