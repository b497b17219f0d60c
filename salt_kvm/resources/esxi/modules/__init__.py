"""What can be asked of an ESXi host that is a Salt resource."""
