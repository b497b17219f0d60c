"""The least that anybody must read: one connection, one list, each domain's inactive XML.

Of a running guest it takes the live XML too.
"""

import sys

import libvirt

connection = libvirt.open(sys.argv[1])
for domain in connection.listAllDomains(0):
    domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    if domain.ID() != -1:
        domain.XMLDesc(0)
connection.close()
