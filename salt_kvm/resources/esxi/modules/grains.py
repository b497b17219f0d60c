"""
What an ESXi host is
====================
"""


def items():
    """
    Return the grains of an ESXi host.

    :returns: a mapping

    CLI Example:

    .. code-block:: bash

        salt -C 'T@esxi' grains.items
    """
    return __resource_funcs__["esxi.grains"]()
