"""What a host must be, before anything is made on it."""

from salt.exceptions import CommandExecutionError

from salt_kvm import bootstrap, face


@face.state_function
def libraries(name, packages=None):
    """The Python that runs Salt has the libraries that this pack needs.

    Runs pip only where one is missing. Give it ``reload_modules: true``, so that what follows in
    the same run can use them. libvirt-python is compiled: see the SLS ``kvm.python``.

    :param str name: any text; it only names the state
    :param list packages: requirements as pip takes them (of versions only ``==`` is looked at);
        default: msgspec, pycdlib, libvirt-python

    .. code-block:: yaml

        libraries for kvm:
          kvm_host.libraries:
            - packages: [msgspec, pycdlib, libvirt-python==12.8.0]
            - reload_modules: true
    """
    return bootstrap.libraries(globals(), CommandExecutionError, name, packages)


@face.state_function
def virtualisation(name, required=None):
    """This host can run guests in hardware (KVM); where it can't, the comment says how to cure it.

    :param str name: any text; it only names the state
    :param bool required: true: fail where KVM can't be used; false: never fail; default: fail only
        if a domain of the pillar's ``kvm:domains`` has ``virt_type: kvm``

    .. code-block:: yaml

        this host can virtualise:
          kvm_host.virtualisation:
            - required: true
    """
    section = __pillar__.get("kvm")
    return face.check("host", "virtualisation", globals(), name, required=required, pillar=section)


@face.state_function
def valid(name):
    """The pillar's ``kvm`` section is valid; the comment lists every fault with its path.

    :param str name: any text; it only names the state

    .. code-block:: yaml

        the kvm pillar is valid:
          kvm_host.valid:
            - failhard: true
    """
    return face.check("host", "validate", globals(), name, pillar=__pillar__.get("kvm"))


@face.state_function
def daemon(name):
    """A libvirt daemon runs, on a host without a service manager: a container, a rescue system.

    Where systemd runs, use ``service.running``.

    :param str name: the daemon: ``libvirtd``, ``virtlogd``, ``virtqemud``, ...

    .. code-block:: yaml

        libvirtd:
          kvm_host.daemon
    """
    return bootstrap.daemon(globals(), name)
