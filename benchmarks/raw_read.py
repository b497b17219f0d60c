"""The least that anybody must read: one connection, one list, each domain's inactive XML."""

import sys

import libvirt

connection = libvirt.open(sys.argv[1])
read = [domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) for domain in connection.listAllDomains(0)]
connection.close()
