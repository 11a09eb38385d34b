"""The Typer application, and the one place where errors become messages and exit codes."""

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

from seqcls.apps.cli import check, compare, export, fit, models, new, plugins, report, serve, tune
from seqcls.apps.cli.output import console, is_main_process, print_error
from seqcls.errors import SeqclsError, Terminated
from seqcls.system.deprecation import RenamedWarning

app = typer.Typer(
    name="seqcls",
    help="Train, evaluate and use small, fast sequence classifiers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("fit")(fit.fit)
app.command("train", hidden=True)(fit.fit)
app.command("tune")(tune.tune)
app.command("check")(check.check)
app.command("evaluate")(models.evaluate)
app.command("predict")(models.predict)
app.command("explain")(models.explain)
app.command("report")(report.report)
app.command("compare")(compare.compare)
app.command("export")(export.export)
app.command("serve")(serve.serve)
app.command("push")(models.push)
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
    """Shows what the library has to tell, a line each, on stderr."""

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
    # As an exception, so that temporary files are removed and other processes ended on the way out.
    print_error("terminated")
    raise Terminated(128 + number)


def main() -> None:
    """Run the command line and exit: 0 done, 1 failure, 2 wrong usage, 130 after Ctrl-C, 143 after SIGTERM."""
    # A signal's handler overwrites what oneDNN of PyTorch 2.3 keeps below its stack, and the process aborts: this gives
    # handlers a stack apart. (And a crash then shows where it was.)
    faulthandler.enable(2)
    signal.signal(signal.SIGTERM, _exit_on_sigterm)
    if hasattr(signal, "SIGUSR1"):  # asks a run for a checkpoint: where there is none yet, or none any more, for nothing
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    logger = logging.getLogger("seqcls")
    logger.handlers = [_ConsoleHandler()]  # and not one more for each call
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
        # The reader of our output (head, less) has left; that is no error of ours. Python would complain again while
        # flushing at exit, hence the redirection.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
