"""From a spec to partial libvirt XML, and from that into libvirt's own document. Pure."""
