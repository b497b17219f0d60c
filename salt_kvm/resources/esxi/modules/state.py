"""
States of an ESXi host
======================

They run in the managing minion, which does what they say on the host. Only ``vmx`` and ``test``
have such states; Salt refuses any other, which would be about the minion.
"""

import salt.defaults.exitcodes
import salt.fileclient
import salt.state
import salt.utils.state

from salt_kvm import face

__outputter__ = dict.fromkeys(("apply_", "highstate", "single", "sls"), "highstate")
__func_alias__ = {"apply_": "apply"}


STATES = ["vmx", "test"]


def apply_(mods=None, **kwargs):
    """
    Apply SLS files to an ESXi host, or its highstate where none is named.

    :param mods: names of SLS files
    :param kwargs: ``test``, ``saltenv``, ``pillar``, as of Salt's own ``state.apply``
    :returns: the states' returns

    CLI Example:

    .. code-block:: bash

        salt -C 'T@esxi' state.apply kvm.vmx test=True
    """
    return sls(mods, **kwargs) if mods else highstate(**kwargs)


def sls(mods, **kwargs):
    """
    Apply SLS files to an ESXi host.

    :param mods: names of SLS files
    :param kwargs: ``test``, ``saltenv``, ``pillar``, as of Salt's own ``state.sls``
    :returns: the states' returns

    CLI Example:

    .. code-block:: bash

        salt -C 'T@esxi:esxi1' state.sls kvm.vmx
    """
    names = mods.split(",") if isinstance(mods, str) else mods
    return _run(lambda run, env: _called(run, run.render_highstate({env: names})), kwargs)


def highstate(**kwargs):
    """
    Apply to an ESXi host what the top file says of its name.

    :param kwargs: ``test``, ``saltenv``, ``pillar``, as of Salt's own ``state.highstate``
    :returns: the states' returns

    CLI Example:

    .. code-block:: bash

        salt -C 'T@esxi' state.highstate
    """
    return _run(lambda run, env: run.call_highstate(), kwargs)


def single(fun, name, **kwargs):
    """
    Apply one state to an ESXi host.

    :param str fun: the state function
    :param str name: its name
    :param kwargs: its other arguments, and ``test``
    :returns: the state's return

    CLI Example:

    .. code-block:: bash

        salt -C 'T@esxi:esxi1' state.single vmx.nested_enabled '[datastore1] centos7/centos7.vmx'
    """
    return _run(lambda run, env: _called(run, (_high(fun, name, kwargs, env), [])), kwargs)


def _high(fun, name, kwargs, env):
    module, _, function = fun.partition(".")
    own = {key: each for key, each in kwargs.items() if key != "test" and not key.startswith("__")}
    arguments = [{key: each} for key, each in {"name": name, **own}.items()]
    return {name: {module: [function, *arguments], "__sls__": "single", "__env__": env}}


def _called(run, rendered):
    high, errors = rendered
    return errors or run.state.call_high(high)


def _run(how, kwargs):
    """Run states in this minion, with what the host's part of the pillar says."""
    name = __resource__["id"]
    options = salt.utils.state.get_sls_opts(__opts__, **kwargs)
    # The file client speaks for the minion, whatever the states believe to be.
    client = salt.fileclient.get_file_client(__opts__)
    # What the minion has synced is what there is.
    own = {"id": name, "autoload_dynamic_modules": False, "whitelist_state_modules": STATES}
    options.update(own, grains=__resource_funcs__["esxi.grains"]())
    options["resource_host"] = face.esxi_host(__opts__, name)
    options["test"] = kwargs.get("test", options.get("test", False))
    pillar = face.esxi_pillar(__opts__, name)
    try:
        with salt.state.HighState(
            options, kwargs.get("pillar"), context={}, initial_pillar=pillar, file_client=client
        ) as run:
            returned = how(run, options.get("saltenv") or "base")
    finally:
        client.destroy()
    __context__["retcode"] = _code(returned)
    return returned


def _code(returned):
    if isinstance(returned, list):
        return salt.defaults.exitcodes.EX_STATE_COMPILER_ERROR
    failed = any(each["result"] is False for each in returned.values())
    return salt.defaults.exitcodes.EX_STATE_FAILURE if failed else salt.defaults.exitcodes.EX_OK
