"""
Disk images
===========

A disk image is a file that ``qemu-img`` makes. What it holds is data: it grows in place, and
nothing else is done to an image that is there unless ``shrink`` or ``replace`` says so.

Told ``pillar: kvm:images``, a function takes what it is not told from the entry of its name
there, so that none of it stands in an SLS, which Salt logs.
"""

from salt_kvm import face


@face.state_function
def present(
    name,
    size=None,
    backing=None,
    backing_format=None,
    options=None,
    source=None,
    source_hash=None,
    source_format=None,
    clone=None,
    format=None,
    encryption=None,
    shrink=None,
    replace=None,
    owner=None,
    group=None,
    mode=None,
    label=None,
    connection=None,
    **unknown,
):
    """
    Make sure that an image is there, of this format and size.

    An image that is too small grows, also while a guest runs on it. One with another format,
    backing file or layout is left alone and the state fails, unless ``replace`` is given.

    :param str name: absolute path of the image file; its directory must exist
    :param str size: what the guest sees, with a unit (``10GiB``) or in bytes; needed to make it,
        unless it stands on a backing file
    :param str backing: absolute path of the image that this one stands on and only adds to;
        ``''``: on none; undeclared is left alone
    :param str backing_format: format of the backing file; default ``raw``, and needed where the
        file begins like an image of another format
    :param dict options: how it is laid out, by ``qemu-img``'s names: ``preallocation`` (``off``,
        ``metadata``, ``falloc``, ``full``), ``cluster_size``, ``compat``, ``lazy_refcounts``,
        ``extended_l2``, ``subformat``
    :param str source: what a new image is made from: absolute path, ``salt://``, ``https://`` or
        what else Salt's file client fetches; compressed with gzip, bzip2, xz or zstd or not.
        It is fetched into the host's store once, and not looked at when the image is there
    :param str source_hash: its checksum, or the address of a checksum file that names it; needed
        unless it comes from this host or the master
    :param str source_format: refuse it unless it is of this format
    :param str clone: ``overlay`` (the default of qcow2), ``reflink`` (the default of others: shares
        blocks where the file system can, else a copy) or ``copy``
    :param str format: ``raw`` (the default), ``qcow2``, ``vmdk``, ``vdi``, ``vhdx``, ``vpc``,
        ``qed``
    :param dict encryption: LUKS for a new raw or qcow2 image: ``secret`` is the UUID of the libvirt
        secret with the passphrase, which must not be private, or the path that it is known by
    :param bool shrink: cut off the end of an image that is too large, with what it holds
    :param bool replace: write an image of another format, backing file or layout again, with what
        it holds; the old one stays until the new one is whole
    :param str owner: user name or number; undeclared is left alone
    :param str group: group name or number; undeclared is left alone
    :param str mode: permissions in octal digits (``'0640'``); undeclared is left alone
    :param str label: SELinux label (``system_u:object_r:virt_image_t:s0``); refused where the host
        has no SELinux
    :param str connection: libvirt URI; default ``qemu:///system``

    .. code-block:: yaml

        /opt/CentOS-7-x86_64.raw:
          kvm_image.present:
            - format: raw
            - size: 10GiB

        /var/lib/libvirt/images/web1.qcow2:
          kvm_image.present:
            - format: qcow2
            - backing: /var/lib/libvirt/images/base.qcow2
            - backing_format: qcow2
            - options: {cluster_size: 128KiB, extended_l2: true}

        /var/lib/libvirt/images/web2.qcow2:
          kvm_image.present:
            - format: qcow2
            - source: https://cloud.debian.org/images/cloud/bookworm/latest/debian-12-nocloud-amd64.qcow2
            - source_hash: https://cloud.debian.org/images/cloud/bookworm/latest/SHA512SUMS
            - size: 20GiB
    """
    return face.state("image", "present", globals(), locals())


@face.state_function
def absent(name, connection=None, **unknown):
    """
    Make sure that an image file is not there. What it holds is lost.

    Refused while a running guest uses it, or while another image stands on it.

    :param str name: absolute path of the image file
    :param str connection: libvirt URI; default ``qemu:///system``

    .. code-block:: yaml

        /opt/old.raw:
          kvm_image.absent
    """
    return face.state("image", "absent", globals(), locals())
