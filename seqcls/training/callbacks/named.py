"""Callbacks that the settings name."""

from __future__ import annotations

from seqcls import registry
from seqcls.config.settings import FitConfig
from seqcls.config.values import OptionValue
from seqcls.errors import PluginError, SeqclsError
from seqcls.training.callbacks.base import Callback


def build_callbacks(config: FitConfig) -> dict[str, Callback]:
    """Build the callbacks that the settings name, by name; their options were checked before.

    Raises:
        UnknownNameError, PluginError: A name is unknown, or its plugin cannot be imported or built.
        MissingExtraError: A callback needs an optional dependency that is not installed.
    """
    return {name: _build(name, config.callback_options.get(name, {})) for name in config.callbacks}


def _build(name: str, options: dict[str, OptionValue]) -> Callback:
    try:
        callback: Callback = registry.callbacks.get(name)(**options)
    except SeqclsError:
        raise
    except Exception as error:  # a plugin may raise anything
        origin = registry.callbacks.info(name).origin
        raise PluginError(f"the callback {name!r} of {origin} cannot be built: {type(error).__name__}: {error}") from error
    return callback
