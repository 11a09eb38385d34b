"""The Typer application; here errors become messages and exit codes."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from seqcls.apps.cli import (
    check,
    compare,
    evaluate,
    explain,
    export,
    fit,
    new,
    plugins,
    predict,
    push,
    report,
    serve,
    tune,
)
from seqcls.apps.cli.flags import (
    ComparisonCommand,
    DataSettingsCommand,
    SettingsCommand,
    SeveralEncodersCommand,
    TextCommand,
)
from seqcls.apps.cli.output import console, is_main_process, print_error
from seqcls.errors import SeqclsError, Terminated
from seqcls.system.deprecation import RenamedWarning
from seqcls.system.threads import leave_cores_to_others

app = typer.Typer(
    name="seqcls",
    help="Train, evaluate and use small, fast sequence classifiers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("fit", cls=SettingsCommand)(fit.fit)
app.command("train", hidden=True, cls=SettingsCommand)(fit.fit)
app.command("tune", cls=SeveralEncodersCommand)(tune.tune)
app.command("check", cls=DataSettingsCommand)(check.check)
app.command("evaluate")(evaluate.evaluate)
app.command("predict", cls=TextCommand)(predict.predict)
app.command("explain", cls=TextCommand)(explain.explain)
app.command("report")(report.report)
app.command("compare", cls=ComparisonCommand)(compare.compare)
app.command("export")(export.export)
app.command("serve")(serve.serve)
app.command("push")(push.push)
app.command("list")(plugins.list_plugins)
app.command("info")(plugins.info)
app.command("new")(new.new)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"seqcls {version('seqcls')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


class _ConsoleHandler(logging.Handler):
    """Shows the messages of the library on stderr, one per line."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        console().print(f"{prefix}{record.getMessage()}", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _showing_old_names() -> Iterator[None]:
    """Show each use of an old name as one line on stderr."""
    with warnings.catch_warnings():
        warnings.filterwarnings("default", category=RenamedWarning)
        show = warnings.showwarning

        def show_in_one_line(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
            if issubclass(category, RenamedWarning):
                logging.getLogger("seqcls").warning("%s", message)
            else:
                show(message, category, *place, **options)

        warnings.showwarning = show_in_one_line
        yield


def _exit_on_sigterm(number: int, _frame: object) -> None:
    # An exception, so that temporary files are removed and other processes ended on the way out.
    print_error("terminated")
    raise Terminated(128 + number)


def main() -> None:
    """Run the command line and exit: 0 for success, 1 failure, 2 wrong usage, 130 after Ctrl-C, 143 after SIGTERM."""
    leave_cores_to_others()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # what latin-1 or cp1252 cannot show becomes a question mark
            stream.reconfigure(errors="replace")
    # Signal handlers overwrite what oneDNN in PyTorch 2.3 keeps below its stack, and the process aborts; this gives handlers
    # a stack of their own. A crash then also shows where it happened.
    faulthandler.enable(2)
    signal.signal(signal.SIGTERM, _exit_on_sigterm)
    if hasattr(signal, "SIGUSR1"):  # asks a run for a checkpoint; it must not kill a process that has no run
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    logger = logging.getLogger("seqcls")
    logger.handlers = [_ConsoleHandler()]  # not one more per call
    logger.propagate = False
    logger.setLevel(logging.INFO if is_main_process() else logging.ERROR)
    try:
        with _showing_old_names():
            app()
    except SeqclsError as error:
        print_error(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print_error("interrupted")
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output (head, less) has left, which is not an error. Python would complain again when it flushes
        # at exit, hence the redirection.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
