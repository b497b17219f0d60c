"""What libvirt calls the same thing for domains, networks and pools."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Calls:
    """What libvirt calls the same thing for one kind of object."""

    lookup: str
    define: str
    list_all: str
    list_active: str
    list_autostart: str
    inactive: str
    missing: str


KINDS = {
    "domain": Calls(
        lookup="lookupByName",
        define="defineXML",
        list_all="listAllDomains",
        list_active="VIR_CONNECT_LIST_DOMAINS_ACTIVE",
        list_autostart="VIR_CONNECT_LIST_DOMAINS_AUTOSTART",
        inactive="VIR_DOMAIN_XML_INACTIVE",
        missing="VIR_ERR_NO_DOMAIN",
    ),
    "network": Calls(
        lookup="networkLookupByName",
        define="networkDefineXML",
        list_all="listAllNetworks",
        list_active="VIR_CONNECT_LIST_NETWORKS_ACTIVE",
        list_autostart="VIR_CONNECT_LIST_NETWORKS_AUTOSTART",
        inactive="VIR_NETWORK_XML_INACTIVE",
        missing="VIR_ERR_NO_NETWORK",
    ),
    "pool": Calls(
        lookup="storagePoolLookupByName",
        define="storagePoolDefineXML",
        list_all="listAllStoragePools",
        list_active="VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE",
        list_autostart="VIR_CONNECT_LIST_STORAGE_POOLS_AUTOSTART",
        inactive="VIR_STORAGE_XML_INACTIVE",
        missing="VIR_ERR_NO_STORAGE_POOL",
    ),
}
