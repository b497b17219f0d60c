"""
Secrets
=======

What libvirt needs to log in at storage servers and to open encrypted disks. No value is told in a
return, a log or a document.

Told ``pillar: kvm:secrets``, a function takes what it is not told from the entry of its name
there, so that none of it stands in an SLS, which Salt logs.
"""

from salt_kvm import face


@face.state_function
def present(
    name,
    usage=None,
    uuid=None,
    description=None,
    private=None,
    ephemeral=None,
    value=None,
    value_file=None,
    encoding=None,
    connection=None,
    **unknown,
):
    """
    Make sure that libvirt keeps a secret.

    :param str name: what its usage names: Ceph's and TLS' a name, iSCSI's a target, a volume's a
        path, a TPM's a name
    :param str usage: ``ceph``, ``iscsi``, ``volume``, ``vtpm``, ``tls``
    :param str uuid: its UUID, by which guests and pools may name it; libvirt chooses one
    :param str description: what it is for
    :param bool private: libvirt tells the value to nobody but its own drivers; this can't be taken
        back
    :param bool ephemeral: kept in memory only; gone with libvirt's daemon
    :param str value: the value, ``sdb://profile/key``, or ``pillar://name``: the value of that name
        under ``kvm:secrets``; undeclared is left alone
    :param str value_file: absolute path of a file of the minion that holds it
    :param str encoding: ``text`` (the default), or ``base64``, as Ceph writes its keys
    :param str connection: libvirt URI; default ``qemu:///system``

    .. code-block:: yaml

        client.libvirt:
          kvm_secret.present:
            - usage: ceph
            - value: sdb://vault/ceph
            - encoding: base64
    """
    return face.state("secret", "present", globals(), locals())


@face.state_function
def absent(name, usage=None, connection=None, **unknown):
    """
    Make sure that libvirt does not keep a secret.

    :param str name: what its usage names
    :param str usage: ``ceph``, ``iscsi``, ``volume``, ``vtpm``, ``tls``
    :param str connection: libvirt URI; default ``qemu:///system``

    .. code-block:: yaml

        client.old:
          kvm_secret.absent:
            - usage: ceph
    """
    return face.state("secret", "absent", globals(), locals())
