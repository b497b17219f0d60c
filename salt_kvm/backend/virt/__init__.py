"""libvirt: the connection to it, and its calls."""
