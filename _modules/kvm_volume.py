"""
Volumes
=======

Volumes of storage pools through libvirt.
"""

from salt.exceptions import CommandExecutionError

from salt_kvm import face

__func_alias__ = {"list_": "list"}
_run = face.command("volume", CommandExecutionError)


def list_(pool, connection=None):
    """
    Return every volume of an active pool.

    :param str pool: name of the pool
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: a mapping of names to ``path``, ``capacity`` and ``allocation`` (bytes)
    :raises CommandExecutionError: when there is no such volume, it can't be done, or libvirt can't
        be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_volume.list default
    """
    return _run("list_", globals(), connection=connection, pool=pool)


def info(name, connection=None):
    """
    Return path, format, sizes (bytes), owner and backing image of a volume.

    :param str name: ``pool/volume``
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: a mapping
    :raises CommandExecutionError: when there is no such volume, it can't be done, or libvirt can't
        be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_volume.info default/web1.qcow2
    """
    return _run("info", globals(), connection=connection, name=name)


def xml(name, connection=None):
    """
    Return libvirt's document of a volume.

    :param str name: ``pool/volume``
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: the XML as a string
    :raises CommandExecutionError: when there is no such volume, it can't be done, or libvirt can't
        be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_volume.xml default/web1.qcow2
    """
    return _run("xml", globals(), connection=connection, name=name)


def clone(name, target, connection=None):
    """
    Copy a volume that no running guest uses to a new one in its pool.

    :param str name: ``pool/volume``
    :param str target: the new volume, in the same pool: ``pool/volume``
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true
    :raises CommandExecutionError: when there is no such volume, it can't be done, or libvirt can't
        be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_volume.clone default/web1.qcow2 default/web2.qcow2
    """
    return _run("clone", globals(), connection=connection, name=name, target=target)


def resize(name, capacity, shrink=False, connection=None):
    """
    Change the capacity of a volume, also while a guest runs on it.

    :param str name: ``pool/volume``
    :param str capacity: with a unit, or in bytes
    :param bool shrink: allow to cut off the end with what it holds; default false
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: false when it had that capacity
    :raises CommandExecutionError: when there is no such volume, it can't be done, or libvirt can't
        be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_volume.resize default/web1.qcow2 20GiB
    """
    return _run(
        "resize", globals(), connection=connection, name=name, capacity=capacity, shrink=shrink
    )


def upload(name, source, connection=None):
    """
    Write a file of the minion over a volume that no running guest uses.

    :param str name: ``pool/volume``
    :param str source: absolute path of the file, in the volume's format
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true
    :raises CommandExecutionError: when there is no such volume, it can't be done, or libvirt can't
        be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_volume.upload default/web1.raw /srv/web1.raw
    """
    return _run("upload", globals(), connection=connection, name=name, source=source)


def download(name, target, connection=None):
    """
    Write what a volume holds into a new file of the minion.

    :param str name: ``pool/volume``
    :param str target: absolute path of the file, which must not exist
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true
    :raises CommandExecutionError: when there is no such volume, it can't be done, or libvirt can't
        be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_volume.download default/web1.raw /srv/web1.raw
    """
    return _run("download", globals(), connection=connection, name=name, target=target)


def wipe(name, algorithm="zero", connection=None):
    """
    Write over all that a volume holds, its format too; no running guest may use it.

    :param str name: ``pool/volume``
    :param str algorithm: ``zero``, ``random``, ``nnsa``, ``dod``, ``bsi``, ``trim``, ...; most of
        them need the program scrub
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true
    :raises CommandExecutionError: when there is no such volume, it can't be done, or libvirt can't
        be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_volume.wipe default/old.raw
    """
    return _run("wipe", globals(), connection=connection, name=name, algorithm=algorithm)


def plan(name, connection=None, state="present", **fields):
    """
    Return what a state with these fields would do; nothing is changed.

    :param str name: ``pool/volume``
    :param str connection: libvirt URI; default ``qemu:///system``
    :param str state: the state function; default ``present``
    :param fields: the other arguments of the state function
    :returns: ``steps`` (sentences), ``changes`` as the state would return them, and ``waiting``:
        what the next start will bring
    :raises CommandExecutionError: when the fields are not valid, or libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_volume.plan default/web1.qcow2 capacity=10GiB
    """
    wanted = {key: value for key, value in fields.items() if not key.startswith("__")}
    return _run(
        "plan", globals(), connection=connection, name=name, fields={**wanted, "state": state}
    )
