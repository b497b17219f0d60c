"""The only rooms that touch the world: the hypervisor, qemu-img, files, the host itself."""
