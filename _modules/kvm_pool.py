"""
Storage pools
=============

Storage pools through libvirt.
"""

from salt.exceptions import CommandExecutionError

from salt_kvm import face

__func_alias__ = {"list_": "list"}
_run = face.command("pool", CommandExecutionError)


def list_(connection=None):
    """
    Return every pool with its state.

    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: a mapping of names to ``running`` or ``off``
    :raises CommandExecutionError: when libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_pool.list
    """
    return _run("list_", globals(), connection=connection)


def info(name, connection=None):
    """
    Return state, type, path and sizes (bytes) of a pool.

    :param str name: name of the pool
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: a mapping
    :raises CommandExecutionError: when there is no such pool, or libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_pool.info default
    """
    return _run("info", globals(), connection=connection, name=name)


def xml(name, live=False, connection=None):
    """
    Return libvirt's document of a pool; secrets in it are hidden.

    :param str name: name of the pool
    :param bool live: the running object's document, not the persistent one; default false
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: the XML as a string
    :raises CommandExecutionError: when there is no such pool, or libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_pool.xml default
    """
    return _run("xml", globals(), connection=connection, name=name, live=live)


def start(name, connection=None):
    """
    Start a pool that is off.

    :param str name: name of the pool
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true when it was off
    :raises CommandExecutionError: when there is no such pool, or libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_pool.start default
    """
    return _run("start", globals(), connection=connection, name=name)


def destroy(name, connection=None):
    """
    Take a pool down at once.

    :param str name: name of the pool
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true when it was on
    :raises CommandExecutionError: when there is no such pool, or libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_pool.destroy default
    """
    return _run("destroy", globals(), connection=connection, name=name)


def plan(name, connection=None, state="running", **fields):
    """
    Return what a state with these fields would do; nothing is changed.

    :param str name: name of the pool
    :param str connection: libvirt URI; default ``qemu:///system``
    :param str state: the state function; default ``running``
    :param fields: the other arguments of the state function
    :returns: ``steps`` (sentences), ``changes`` as the state would return them, and ``waiting``:
        what the next start will bring
    :raises CommandExecutionError: when the fields are not valid, or libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_pool.plan default path=/var/lib/libvirt/images
    """
    wanted = {key: value for key, value in fields.items() if not key.startswith("__")}
    return _run(
        "plan", globals(), connection=connection, name=name, fields={**wanted, "state": state}
    )
