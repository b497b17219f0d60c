"""The machine as a hypervisor host: facts, checks, and the pillar's schema.

:depends: libvirt-python for what the hypervisor itself says; the rest works without it
"""

from salt.exceptions import CommandExecutionError

from salt_kvm import face

_run = face.command("host", CommandExecutionError)

__func_alias__ = {"python_": "python"}
__outputter__ = {"plan": "kvm_plan", "check": "kvm_host", "capacity": "kvm_host"}


def info(connection=None):
    """Return what this host is: CPU, memory, virtualisation, cgroups, IOMMU, libvirt, QEMU.

    :param str connection: libvirt's address of the hypervisor; default: ``kvm:connection`` of the
        pillar, else ``qemu:///system``
    :return: a dictionary; memory in bytes, ``nested`` and ``hypervisor_above`` null where not
        known or not virtual; where libvirt can't be reached ``libvirt:reachable`` is false,
        ``libvirt:why`` says why, and the versions are those of the installed files
    :rtype: dict

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_host.info
    """
    return _run("info", globals(), connection=connection)


def check():
    """Check what guests need of this host, as ``virt-host-validate`` does, as data.

    :return: one dictionary for each check: ``name``; ``result``, one of ``pass``, ``warn`` (guests
        run, something is missing) and ``fail``; ``seen``, what was found; ``cure``, a sentence,
        empty for ``pass``. On the terminal it is shown as text; ``--out json`` shows the data
    :rtype: list

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_host.check
    """
    return _run("check", globals())


def capacity(connection=None):
    """Return what of the host's memory and CPUs is there, used, promised to guests and allowed.

    A guest is promised what it may take without another start: its memory at boot (``max_memory``,
    where that is declared) and its maximum of CPUs. One bulk read, whatever the number of guests.

    :param str connection: libvirt's address of the hypervisor; default: ``kvm:connection`` of the
        pillar, else ``qemu:///system``
    :return: ``memory`` (bytes) and ``cpu`` (CPUs), each with ``total``; ``used``: of memory what is
        neither free nor cache, of the CPUs the load of the last minute, null where that is another
        machine's; ``promised``: to guests that run; ``defined``: were all of them running;
        ``ratio``: ``kvm:host:overcommit``; ``allowed``: ``total`` times ``ratio``; ``left``: what
        may be promised yet, negative where there is too much promised; these three are null
        without a limit. ``domains``: of each ``running``, ``memory``, ``memory_used`` (bytes, null
        where it is off), ``vcpus``. On the terminal it is shown as text; ``--out json`` shows the
        data
    :rtype: dict
    :raises CommandExecutionError: when libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_host.capacity
    """
    return _run("capacity", globals(), connection=connection)


def version():
    """Return this pack's version, and where library and faces were loaded from.

    :return: ``version``; ``library`` and ``faces``, each with ``path`` and ``form`` (``package`` or
        ``file roots``); ``one_form``, false where a minion mixes the two forms: synchronised faces
        that import the pip-installed library
    :rtype: dict

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_host.version
    """
    return _run("version", globals(), loaded_from=__file__)


def python_(packages=None):
    """Return which Python runs Salt here, and which libraries it lacks.

    :param list packages: requirements as pip takes them (of versions only ``==`` is looked at);
        default: the libraries that this pack needs
    :return: ``executable``, ``version``; ``libraries``, the version of each, null where it is
        missing; ``missing``, a list; ``complete``, true where nothing is missing; ``headers``, true
        where an extension can be compiled for it
    :rtype: dict

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_host.python
    """
    return _run("python_", globals(), packages=packages)


def schema():
    """Return the JSON Schema of the pillar's ``kvm`` section.

    :return: a JSON Schema (2020-12) as a dictionary
    :rtype: dict
    :raises CommandExecutionError: when the library msgspec is missing

    CLI Example:

    .. code-block:: bash

        salt-call --local --out=json kvm_host.schema
    """
    return _run("schema", globals())


def validate(pillar=None):
    """List every fault of a ``kvm`` pillar section with its path.

    :param dict pillar: the section, without the key ``kvm`` itself; default: this minion's own
    :return: one sentence for each fault; an empty list where the section is valid
    :rtype: list
    :raises CommandExecutionError: when the library msgspec is missing

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_host.validate
        salt '*' kvm_host.validate '{"domains": {"web1": {"memory": "2GiB"}}}'
    """
    section = __pillar__.get("kvm") if pillar is None else pillar
    return _run("validate", globals(), pillar=section)


def plan(pillar=None, connection=None):
    """Return what applying a whole ``kvm`` pillar section would do; nothing is changed.

    One bulk read serves all objects, so this is the quick look at a host of many guests. On the
    terminal it is shown as text; ``--out json`` shows the data. What Salt's own states do for the
    host (packages, services, groups, certificates) is not in it: ``state.apply kvm test=True``.

    :param dict pillar: the section, without the key ``kvm`` itself; default: this minion's own
    :param str connection: libvirt's address of the hypervisor; default: ``kvm:connection`` of the
        pillar, else ``qemu:///system``
    :return: one dictionary for each object that is not as declared: ``kind``, ``name``, ``changes``
        as the state would return them, ``comment``, and ``fault``: why it can't be, or null
    :rtype: list
    :raises CommandExecutionError: when the section is not valid, or libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_host.plan
    """
    asked = {
        "pillar": __pillar__.get("kvm") if pillar is None else pillar,
        "reveal": face.revealer(globals()),
        "system": face.distribution(globals()),
    }
    return _run("plan", globals(), connection=connection, **asked)
