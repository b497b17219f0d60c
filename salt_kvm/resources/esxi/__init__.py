"""
ESXi hosts as Salt resources
============================

A minion manages ESXi hosts, on which none runs, by SSH. Its pillar names them:

.. code-block:: yaml

    resources:
      esxi:
        hosts:
          esxi1: {host: esxi1.example, user: root}
"""

from salt.exceptions import CommandExecutionError

from salt_kvm import face

_run = face.command("vmx", CommandExecutionError)


def __virtual__():
    return True


def init(opts):
    """Nothing is opened before it is used."""
    __context__["esxi"] = True


def initialized():
    """Tell whether the type is loaded."""
    return __context__.get("esxi", False)


def discover(opts):
    """Return the names of the hosts that the pillar declares."""
    return list(face.esxi_hosts(opts))


def grains():
    """Return what tells a host from others, without a look at it: each job wants to know."""
    return {
        "resource_type": "esxi",
        "resource_id": __resource__["id"],
        "id": __resource__["id"],
        "os": "ESXi",
        "os_family": "VMware",
        "kernel": "VMkernel",
    }


def grains_refresh():
    """Return the grains; they don't change."""
    return grains()


def ping():
    """Tell whether a host answers to SSH; raise with the cure where it does not."""
    return _run("ping", globals(), host=face.esxi_host(__opts__, __resource__["id"]))


def shutdown(opts):
    """Connections end by themselves."""
    __context__.pop("esxi", None)
