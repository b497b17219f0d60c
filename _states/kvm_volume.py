"""
Volumes
=======

A volume is a part of a storage pool that a guest has as a disk: a file, a logical volume, a
partition. What it holds is data: it grows in place, and is never rewritten or cut unasked.

Told ``pillar: kvm:volumes``, a function takes what it is not told from the entry of its name
there, so that none of it stands in an SLS, which Salt logs.
"""

from salt_kvm import face


@face.state_function
def present(
    name,
    capacity=None,
    allocation=None,
    format=None,
    backing=None,
    permissions=None,
    encryption=None,
    source=None,
    source_hash=None,
    shrink=None,
    xml=None,
    connection=None,
    **unknown,
):
    """
    Make sure that a volume is in an active pool, at least this large.

    :param str name: ``pool/volume``
    :param str capacity: what the guest sees, with a unit (``10GiB``) or in bytes; needed to make it
    :param str allocation: what a new volume takes of its pool at once; default nothing where the
        pool is a directory, else all
    :param str format: ``raw``, ``qcow2``, ...; a new one is ``raw`` if none is declared
    :param dict backing: ``path`` and ``format`` of the image that a new volume stands on
    :param dict permissions: ``owner``, ``group``, ``mode``; undeclared is left alone
    :param dict encryption: ``secret``: the libvirt secret of a new LUKS volume: its UUID, or the
        path that it is known by
    :param str source: what a new volume gets as its contents, in the volume's format: an absolute
        path, or an address that Salt's file client fetches; it may be compressed
    :param str source_hash: its checksum, or the address of a file with it; needed for what is from
        elsewhere
    :param bool shrink: cut off the end of a volume that is larger, with what it holds; default
        false
    :param str xml: libvirt XML (what stands inside ``<volume>``) to merge in:
        https://libvirt.org/formatstorage.html
    :param str connection: libvirt URI; default ``qemu:///system``

    .. code-block:: yaml

        default/web1.qcow2:
          kvm_volume.present:
            - capacity: 10GiB
            - format: qcow2
    """
    return face.state("volume", "present", globals(), locals())


@face.state_function
def wiped(
    name,
    capacity=None,
    allocation=None,
    format=None,
    backing=None,
    permissions=None,
    encryption=None,
    source=None,
    source_hash=None,
    shrink=None,
    xml=None,
    connection=None,
    **unknown,
):
    """
    Make sure that a volume holds nothing but zeros; arguments as in :func:`present`, of which none
    is used. What it holds is lost, its format too. It fails while a running guest uses the volume.

    .. code-block:: yaml

        default/old.raw:
          kvm_volume.wiped
    """
    return face.state("volume", "wiped", globals(), locals())


@face.state_function
def absent(name, connection=None, **unknown):
    """
    Make sure that a volume is not there. What it holds is lost. It fails while a guest has it as a
    disk or medium, or another volume stands on it.

    :param str name: ``pool/volume``
    :param str connection: libvirt URI; default ``qemu:///system``

    .. code-block:: yaml

        default/old.qcow2:
          kvm_volume.absent
    """
    return face.state("volume", "absent", globals(), locals())
