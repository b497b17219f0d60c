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


def history(name, connection=None):
    """
    Return the versions of a pool's definition that were replaced or removed on this host.

    :param str name: name of the pool
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: a list of versions, oldest first: when each was replaced, in UTC; the last 20 are kept
    :raises CommandExecutionError: when they can't be read

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_pool.history default
    """
    return _run("history", globals(), connection=connection, name=name)


def revert_definition(name, version, connection=None):
    """
    Define a version that was replaced again; what is defined now is kept in turn.

    An active pool stays as it is; the definition counts from its next start.

    :param str name: name of the pool
    :param str version: one of ``kvm_pool.history``
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true when the definition changed
    :raises CommandExecutionError: when there is no such version, or libvirt refuses it

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_pool.revert_definition default 20261124T101112.131415Z
    """
    return _run("revert_definition", globals(), connection=connection, name=name, version=version)


def refresh(name, connection=None):
    """
    Have libvirt look anew at what an active pool holds.

    :param str name: name of the pool
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true
    :raises CommandExecutionError: when there is no such pool, it is off, or libvirt can't be
        reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_pool.refresh default
    """
    return _run("refresh", globals(), connection=connection, name=name)


def types(connection=None):
    """
    Return the types of pool that libvirt on this host has drivers for.

    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: a sorted list; empty where an old libvirt does not tell
    :raises CommandExecutionError: when libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_pool.types
    """
    return _run("types", globals(), connection=connection)


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
