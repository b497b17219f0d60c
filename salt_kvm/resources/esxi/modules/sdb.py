"""
The managing minion's SDB
=========================

Values of an ESXi host's states and functions are looked up in it.
"""

import salt.utils.sdb


def get(uri):
    """
    Return a value out of an SDB of the managing minion.

    :param str uri: where it is kept, ``sdb://profile/key``

    CLI Example:

    .. code-block:: bash

        salt -C 'T@esxi' sdb.get sdb://vault/console
    """
    # A resource's functions do not see the minion's; its options are the minion's own.
    return salt.utils.sdb.sdb_get(uri, __opts__, __utils__)
