"""
The agent in a guest
====================

The functions of ``kvm_domain`` that ask ``qemu-guest-agent``, a program in the guest. The guest
needs it, and the domain its channel (``agent: true``, which a new domain has). A guest without one
is told at once; one whose agent is silent after five seconds.
"""

from salt.exceptions import CommandExecutionError

from salt_kvm import face

__virtualname__ = "kvm_domain"
_run = face.command("agent", CommandExecutionError)


def __virtual__():
    return __virtualname__


def agent_ping(name=None, connection=None):
    """
    Tell whether the agent in a guest answers.

    :param str name: name of the domain; without it all running guests are asked at a time, and
        those that have no agent are not waited for
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true; of all guests a mapping of names to true, or to the sentence that says why not
    :raises CommandExecutionError: when the agent of the named guest does not answer

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.agent_ping web1
        salt '*' kvm_domain.agent_ping
    """
    return _run("ping", globals(), connection=connection, name=name)


def agent_info(name, connection=None):
    """
    Return the agent's version and the commands that the guest allows it.

    :param str name: name of the domain
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: ``version``, and ``commands``, a list
    :raises CommandExecutionError: when the agent does not answer

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.agent_info web1
    """
    return _run("info", globals(), connection=connection, name=name)


def agent_os_info(name, connection=None):
    """
    Return the guest's operating system, as it tells it.

    :param str name: name of the domain
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: of ``id``, ``name``, ``pretty_name``, ``version``, ``version_id``, ``variant``,
        ``machine``, ``kernel_release``, ``kernel_version``, ``hostname`` and ``zone`` those that
        the guest knows
    :raises CommandExecutionError: when the agent does not answer

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.agent_os_info web1
    """
    return _run("os_info", globals(), connection=connection, name=name)


def agent_interfaces(name, connection=None):
    """
    Return the guest's network cards and their addresses, as the guest knows them.

    :param str name: name of the domain
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: a list of mappings with ``name``, ``mac`` and ``addresses`` (``10.0.0.5/24``)
    :raises CommandExecutionError: when the agent does not answer

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.agent_interfaces web1
    """
    return _run("interfaces", globals(), connection=connection, name=name)


def agent_exec(name, command, args=None, env=None, stdin=None, timeout=60, connection=None):
    """
    Run a program in the guest, as the user that the agent runs as, and wait until it ends.

    No shell sees the arguments. What is given to the program as an argument or in its environment
    can be seen by others in the guest; a secret belongs into ``stdin``, or into a file.

    :param str name: name of the domain
    :param str command: the program's path, or its name in the agent's ``PATH``
    :param list args: its arguments; a text is one argument
    :param dict env: its environment; default the agent's
    :param str stdin: what it reads; 64 KiB at most, together with ``args`` and ``env``
    :param int timeout: seconds to wait for its end, 1 to 86400; default 60. Afterwards it goes on
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: ``exit_code`` (null where a signal ended it), ``signal``, ``stdout``, ``stderr`` (what
        is no UTF-8 in them is replaced) and ``truncated``. libvirt can't pass on more than 2 MiB,
        and drops an agent that sends more than 7: such a program has to write to a file
    :raises CommandExecutionError: when the agent does not answer or may not run programs, the
        program can't be started, or does not end in time

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.agent_exec web1 /bin/sh args='["-c", "uptime; df -h"]'
    """
    return _run(
        "execute",
        globals(),
        connection=connection,
        name=name,
        command=command,
        args=args,
        env=env,
        stdin=stdin,
        timeout=timeout,
    )


def agent_file_read(name, path, limit=None, base64=False, connection=None):
    """
    Return what a file of the guest holds.

    :param str name: name of the domain
    :param str path: the file's path in the guest
    :param str limit: a size with a unit; a larger file is refused; default and most ``16MiB``
    :param bool base64: return it in base64, as what is no text needs; default false
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: the text, or its base64
    :raises CommandExecutionError: when the agent does not answer or may not read files, the file
        can't be read, is too large, or is no text

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.agent_file_read web1 /etc/os-release
    """
    return _run(
        "file_read",
        globals(),
        connection=connection,
        name=name,
        path=path,
        limit=limit,
        base64=base64,
    )


def agent_file_write(name, path, content, append=False, base64=False, connection=None):
    """
    Write a file of the guest. A new one gets the mode that the agent's umask leaves.

    :param str name: name of the domain
    :param str path: the file's path in the guest; its directory must be there
    :param str content: what it is to hold, 16 MiB at most
    :param bool append: write it behind what the file holds; default false
    :param bool base64: ``content`` is base64; default false
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: how many bytes were written
    :raises CommandExecutionError: when the agent does not answer or may not write files, or the
        file can't be written; how much of it was sent is told

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.agent_file_write web1 /etc/motd $'Made by Salt\\n'
    """
    return _run(
        "file_write",
        globals(),
        connection=connection,
        name=name,
        path=path,
        content=content,
        append=append,
        base64=base64,
    )


def agent_fsfreeze(name, mountpoints=None, connection=None):
    """
    Freeze file systems of the guest: what was written is on the disks, and all writing waits.

    They stay frozen until ``kvm_domain.agent_fsthaw``; while they are the agent does little else.
    Where freezing fails, none stays frozen.

    :param str name: name of the domain
    :param list mountpoints: which; default all
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: how many file systems are frozen
    :raises CommandExecutionError: when the agent does not answer, or they can't be frozen

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.agent_fsfreeze web1
        salt '*' kvm_domain.agent_fsfreeze web1 mountpoints='[/srv]'
    """
    return _run("fsfreeze", globals(), connection=connection, name=name, mountpoints=mountpoints)


def agent_fsthaw(name, connection=None):
    """
    Thaw all frozen file systems of the guest.

    :param str name: name of the domain
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: how many were frozen
    :raises CommandExecutionError: when the agent does not answer

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.agent_fsthaw web1
    """
    return _run("fsthaw", globals(), connection=connection, name=name)


def agent_fsfreeze_status(name, connection=None):
    """
    Tell whether the guest's file systems are frozen.

    :param str name: name of the domain
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: ``frozen`` or ``thawed``
    :raises CommandExecutionError: when the agent does not answer

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.agent_fsfreeze_status web1
    """
    return _run("fsfreeze_status", globals(), connection=connection, name=name)


def agent_set_password(name, user, password, crypted=False, connection=None):
    """
    Set the password of a user of the guest. It is told nowhere.

    :param str name: name of the domain
    :param str user: the user, who must be there
    :param str password: where it is kept, ``sdb://profile/key`` or ``pillar://name`` (of
        ``kvm:secrets``); the password itself would stand in the shell's history and in Salt's job
        cache
    :param bool crypted: it is the hash that the guest's system keeps; default false
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true
    :raises CommandExecutionError: when the agent does not answer, or the guest refuses it

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.agent_set_password web1 root sdb://vault/web1-root
    """
    return _run(
        "set_password",
        globals(),
        connection=connection,
        name=name,
        user=user,
        password=password,
        reveal=face.revealer(globals()),
        crypted=crypted,
    )


def agent_time_sync(name, connection=None):
    """
    Set the guest's clock, and its hardware clock, to the time of the host.

    :param str name: name of the domain
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: ``before`` and ``after``: by how many seconds the guest's clock is ahead of the host's
    :raises CommandExecutionError: when the agent does not answer, or can't set the clock

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.agent_time_sync web1
    """
    return _run("time_sync", globals(), connection=connection, name=name)
