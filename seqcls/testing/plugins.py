"""Checks of installed plugins, for `seqcls list --check`."""

from __future__ import annotations

from seqcls.config.options import describe
from seqcls.errors import SeqclsError, Terminated
from seqcls.registry import REGISTRIES, PluginInfo
from seqcls.testing.dataset_laws import check_dataset
from seqcls.testing.encoder_laws import check_encoder


def find_problem(info: PluginInfo) -> str | None:
    """Import a plugin, check it with its default options, and return what is wrong with it, or None.

    A plugin that needs an option is only imported. So is a data set of seqcls: loading it might download it.
    """
    try:
        plugin = REGISTRIES[info.kind].get(info.name)
        if any(option.required for option in describe(plugin)):
            return None
        if info.kind == "encoder":
            check_encoder(plugin)
        elif info.kind == "dataset" and info.provider != "seqcls":
            check_dataset(plugin())
    except (KeyboardInterrupt, Terminated):
        raise
    except BaseException as error:  # a plugin may raise anything, including SystemExit
        return str(error) if isinstance(error, SeqclsError | AssertionError) else f"{type(error).__name__}: {error}"
    return None
