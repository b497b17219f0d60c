"""
Disk images
===========

A disk image is a file that ``qemu-img`` makes. What it holds is data: a state never resizes,
converts or overwrites an image that is there.
"""

from salt_kvm import face


def present(
    name, format=None, size=None, owner=None, group=None, mode=None, connection=None, **unknown
):
    """
    Make sure that an image is there, of this format and size.

    An image that is there with another format or size is left alone and the state fails.

    :param str name: absolute path of the image file; its directory must exist
    :param str format: ``raw`` (the default), ``qcow2``, ``vmdk``, ``vdi``, ``vhdx``, ``vpc``
    :param str size: what the guest sees, with a unit (``10GiB``) or in bytes; needed to make it
    :param str owner: user name or number; undeclared is left alone
    :param str group: group name or number; undeclared is left alone
    :param str mode: permissions in octal digits (``'0640'``); undeclared is left alone
    :param str connection: libvirt URI; default ``qemu:///system``

    .. code-block:: yaml

        /opt/CentOS-7-x86_64.raw:
          kvm_image.present:
            - format: raw
            - size: 10GiB
    """
    return face.state("image", "present", globals(), locals())


def absent(name, connection=None, **unknown):
    """
    Make sure that an image file is not there. What it holds is lost.

    :param str name: absolute path of the image file
    :param str connection: libvirt URI; default ``qemu:///system``

    .. code-block:: yaml

        /opt/old.raw:
          kvm_image.absent
    """
    return face.state("image", "absent", globals(), locals())
