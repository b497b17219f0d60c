"""
Networks
========

Networks through libvirt.
"""

from salt.exceptions import CommandExecutionError

from salt_kvm import face

__func_alias__ = {"list_": "list"}
_run = face.command("network", CommandExecutionError)


def list_(connection=None):
    """
    Return every network with its state.

    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: a mapping of names to ``running`` or ``off``
    :raises CommandExecutionError: when libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_network.list
    """
    return _run("list_", globals(), connection=connection)


def info(name, connection=None):
    """
    Return state, forward mode, bridge and addresses of a network.

    :param str name: name of the network
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: a mapping
    :raises CommandExecutionError: when there is no such network, or libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_network.info default
    """
    return _run("info", globals(), connection=connection, name=name)


def leases(name, connection=None):
    """
    Return the leases that the network's dnsmasq has handed out.

    :param str name: name of the network
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: a list of mappings: ``ipaddr``, ``mac``, ``hostname``, ``expirytime`` (Unix time)
    :raises CommandExecutionError: when there is no such network, or libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_network.leases default
    """
    return _run("leases", globals(), connection=connection, name=name)


def xml(name, live=False, connection=None):
    """
    Return libvirt's document of a network; secrets in it are hidden.

    :param str name: name of the network
    :param bool live: the running object's document, not the persistent one; default false
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: the XML as a string
    :raises CommandExecutionError: when there is no such network, or libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_network.xml default
    """
    return _run("xml", globals(), connection=connection, name=name, live=live)


def start(name, connection=None):
    """
    Start a network that is off.

    :param str name: name of the network
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true when it was off
    :raises CommandExecutionError: when there is no such network, or libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_network.start default
    """
    return _run("start", globals(), connection=connection, name=name)


def destroy(name, connection=None):
    """
    Take a network down at once.

    :param str name: name of the network
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true when it was on
    :raises CommandExecutionError: when there is no such network, or libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_network.destroy default
    """
    return _run("destroy", globals(), connection=connection, name=name)


def history(name, connection=None):
    """
    Return the versions of a network's definition that were replaced or removed on this host.

    :param str name: name of the network
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: a list of versions, oldest first: when each was replaced, in UTC; the last 20 are kept
    :raises CommandExecutionError: when they can't be read

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_network.history default
    """
    return _run("history", globals(), connection=connection, name=name)


def revert_definition(name, version, connection=None):
    """
    Define a version that was replaced again; what is defined now is kept in turn.

    An active network stays as it is; the definition counts from its next start.

    :param str name: name of the network
    :param str version: one of ``kvm_network.history``
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true when the definition changed
    :raises CommandExecutionError: when there is no such version, or libvirt refuses it

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_network.revert_definition default 20261124T101112.131415Z
    """
    return _run("revert_definition", globals(), connection=connection, name=name, version=version)


def plan(name, connection=None, state="running", **fields):
    """
    Return what a state with these fields would do; nothing is changed.

    :param str name: name of the network
    :param str connection: libvirt URI; default ``qemu:///system``
    :param str state: the state function; default ``running``
    :param fields: the other arguments of the state function
    :returns: ``steps`` (sentences), ``changes`` as the state would return them, and ``waiting``:
        what the next start will bring
    :raises CommandExecutionError: when the fields are not valid, or libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_network.plan default forward=nat ip=192.168.122.1/24
    """
    wanted = {key: value for key, value in fields.items() if not key.startswith("__")}
    return _run(
        "plan", globals(), connection=connection, name=name, fields={**wanted, "state": state}
    )
