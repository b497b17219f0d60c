"""
Disk images
===========

Disk images through qemu-img.
"""

from salt.exceptions import CommandExecutionError

from salt_kvm import face

_run = face.command("image", CommandExecutionError)


def info(path, connection=None):
    """
    Return what qemu-img says of an image, with its owner, group and mode.

    :param str path: absolute path of the image file
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: a mapping as of ``qemu-img info --output=json``; sizes in bytes
    :raises CommandExecutionError: when there is no image

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_image.info /opt/CentOS-7-x86_64.raw
    """
    return _run("info", globals(), connection=connection, path=path)


def create(path, connection=None, **fields):
    """
    Make an image; one that is there is never overwritten.

    :param str path: absolute path of the image file
    :param str connection: libvirt URI; default ``qemu:///system``
    :param fields: the other arguments of the state ``kvm_image.present``
    :returns: false when it was there as described
    :raises CommandExecutionError: when it can't be made, or something else is there

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_image.create /opt/CentOS-7-x86_64.raw format=raw size=10GiB
    """
    wanted = {key: value for key, value in fields.items() if not key.startswith("__")}
    return _run("create", globals(), connection=connection, path=path, fields=wanted)


def plan(name, connection=None, state="present", **fields):
    """
    Return what a state with these fields would do; nothing is changed.

    :param str name: path of the image
    :param str connection: libvirt URI; default ``qemu:///system``
    :param str state: the state function; default ``present``
    :param fields: the other arguments of the state function
    :returns: ``steps`` (sentences), ``changes`` as the state would return them, and ``waiting``:
        what the next start will bring
    :raises CommandExecutionError: when the fields are not valid, or libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_image.plan /opt/web1.raw size=10GiB
    """
    wanted = {key: value for key, value in fields.items() if not key.startswith("__")}
    return _run(
        "plan", globals(), connection=connection, name=name, fields={**wanted, "state": state}
    )
