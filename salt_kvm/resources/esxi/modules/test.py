"""
Whether an ESXi host answers
============================
"""


def ping():
    """
    Log in to an ESXi host.

    :returns: true
    :raises CommandExecutionError: when it can't be reached, with the cure

    CLI Example:

    .. code-block:: bash

        salt -C 'T@esxi' test.ping
    """
    return __resource_funcs__["esxi.ping"]()
