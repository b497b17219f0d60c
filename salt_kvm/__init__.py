"""A KVM host and its guests, declared: the library beneath the ``kvm_*`` Salt modules and states.

Nothing here imports Salt, and only :mod:`salt_kvm.backend.virt.hypervisor` imports libvirt.
"""

__version__ = "0.1.0"
