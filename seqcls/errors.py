"""Every error that seqcls raises on purpose.

A message says what is wrong, where, and what to do. The command line prints it without a traceback and exits with
``exit_code``.

SeqclsError
├── UsageError                 the request cannot be carried out as it is (exit code 2)
│   ├── ConfigError            an unknown setting, or a value of the wrong type or range
│   ├── UnknownNameError       no such encoder, embedding, data set, callback or recipe
│   ├── OutputExistsError      the output folder already exists
│   └── DeviceError            the device or precision is not available, or the encoder cannot use it
├── PluginError                a plugin cannot be imported, or two distributions claim its name
├── DataError                  data are missing, damaged, incomplete or of the wrong form
│   └── DownloadError          data could not be downloaded
├── CheckpointError            a run or model directory cannot be written, or is incomplete or damaged
│   └── HubError               a model cannot be downloaded from the Hugging Face Hub, or pushed to it
├── TrainingError              training cannot continue (out of memory, a dead data worker, a failed callback)
│   └── NonFiniteError         a loss or gradient is NaN or infinite
└── MissingExtraError          an optional dependency is not installed

Terminated stands beside them, since it is not an error: on SIGTERM, the command line raises it and exits.
"""

from __future__ import annotations

from collections.abc import Sequence


class SeqclsError(Exception):
    """Base of all errors that seqcls raises on purpose."""

    exit_code = 1


class UsageError(SeqclsError):
    """The request cannot be carried out as it is; nothing was started."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting is unknown, or its value has the wrong type or range."""


class UnknownNameError(UsageError):
    """No such plugin, recipe or option."""


class OutputExistsError(UsageError):
    """The output folder exists and may not be overwritten."""


class DeviceError(UsageError):
    """A device or precision is not available, or the encoder cannot use it."""


class PluginError(SeqclsError):
    """A plugin cannot be imported or identified; the message names its distribution, version and entry point."""


class DataError(SeqclsError):
    """Data are missing, damaged, incomplete or of the wrong form."""


class DownloadError(DataError):
    """Data could not be downloaded."""


class CheckpointError(SeqclsError):
    """A run or model directory cannot be written, or is incomplete or damaged."""


class HubError(CheckpointError):
    """A model cannot be downloaded from the Hugging Face Hub, or pushed to it."""


class TrainingError(SeqclsError):
    """Training cannot continue."""


class NonFiniteError(TrainingError):
    """A loss or gradient is NaN or infinite.

    Args:
        step: The training step, from 1.
        examples: The examples of the step, as indices into the training split.
        cause: What is known about where and why it happened.
    """

    def __init__(self, step: int, examples: Sequence[int], cause: str = "the loss or its gradient is not finite") -> None:
        shown = ", ".join(map(str, examples[:8])) + (f" and {len(examples) - 8} more" if len(examples) > 8 else "")
        super().__init__(f"at step {step}, training examples {shown}: {cause}. The last good checkpoint is kept")
        self.step = step
        self.examples = examples
        self.cause = cause


class MissingExtraError(SeqclsError):
    """An optional dependency is not installed; the message names the extra that installs it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; run: pip install 'seqcls[{extra}]'")


class Terminated(SystemExit):
    """SIGTERM ends the command line. Distinct from SystemExit, which a plugin may raise when it is imported."""
