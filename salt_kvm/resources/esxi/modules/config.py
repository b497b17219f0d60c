"""
The managing minion's configuration
===================================

Salt's states look into it while they run.
"""


def option(value, default=None):
    """
    Return an option of the managing minion.

    :param str value: its name
    :param default: what to return where it is not set

    CLI Example:

    .. code-block:: bash

        salt -C 'T@esxi' config.option state_aggregate
    """
    return __minion__["config.option"](value, default=default)
