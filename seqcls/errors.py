"""Every error that seqcls raises on purpose.

The message says what was wrong, where, and what to do; the command line prints it without a traceback and
exits with ``exit_code``.

SeqclsError
├── UsageError                 what was asked for makes no sense (exit code 2)
│   ├── ConfigError            an unknown setting, or a value of the wrong type or range
│   ├── UnknownNameError       no encoder, data set or recipe of that name
│   ├── OutputExistsError      the output folder is there already
│   └── DeviceError            the device or precision is not there, or the encoder cannot use it
├── PluginError                a plugin fails to import, or two claim one name
├── DataError                  data is missing, damaged, incomplete or of the wrong form
│   └── DownloadError          data could not be fetched
├── CheckpointError            a run or model directory cannot be written, or lacks or garbles something
│   └── HubError               a model cannot be fetched from Hugging Face, or sent there
├── TrainingError              training cannot go on (out of memory, a data worker that died)
│   └── NonFiniteError         a loss or gradient is not finite
└── MissingExtraError          an optional dependency is not installed

Terminated is no error and stands beside them: SIGTERM raises it in the command line, which then exits.
"""

from __future__ import annotations

from collections.abc import Sequence


class SeqclsError(Exception):
    """Base of all errors that seqcls raises on purpose."""

    exit_code = 1


class UsageError(SeqclsError):
    """The request itself is wrong; nothing was started."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting is unknown, or its value has the wrong type or range."""


class UnknownNameError(UsageError):
    """No plugin, recipe or option has the given name."""


class OutputExistsError(UsageError):
    """The output folder exists and may not be overwritten."""


class DeviceError(UsageError):
    """A device or precision is not available, or not usable by an encoder."""


class PluginError(SeqclsError):
    """A plugin cannot be imported or identified; names its distribution, version and entry point."""


class DataError(SeqclsError):
    """Data is missing, damaged, incomplete or of the wrong form."""


class DownloadError(DataError):
    """Data could not be downloaded."""


class CheckpointError(SeqclsError):
    """A run or model directory cannot be written, or cannot be trusted when read."""


class HubError(CheckpointError):
    """A model cannot be fetched from Hugging Face, or sent there."""


class TrainingError(SeqclsError):
    """Training cannot go on."""


class NonFiniteError(TrainingError):
    """A loss or gradient is infinite or not a number.

    Args:
        step: The step that it belongs to, from 1.
        examples: The examples that it was made from, as places in the training split.
        found: What is known of the place and the cause.
    """

    def __init__(self, step: int, examples: Sequence[int], found: str = "the loss or its gradient is not finite") -> None:
        shown = ", ".join(map(str, examples[:8])) + (f" and {len(examples) - 8} more" if len(examples) > 8 else "")
        super().__init__(f"at step {step}, training examples {shown}: {found}. The last good checkpoint is kept")
        self.step = step
        self.examples = examples
        self.found = found


class MissingExtraError(SeqclsError):
    """An optional dependency is missing; names the extra that installs it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; run: pip install 'seqcls[{extra}]'")


class Terminated(SystemExit):
    """SIGTERM ends the command line: not to be taken for a plugin that exits when it is imported."""
