"""The `fineseg` command: a table of verbs, each imported only when it is called, and what happens to errors.

Exit codes: 0 done, 1 anything that went wrong, 130 interrupted.
"""

import errno
import os
import select
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import click

from fineseg import FinesegError, __version__
from fineseg.errors import SessionLost

PROGRAM = "fineseg"
INTERRUPTED = 130
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

VERBS: dict[str, tuple[str, str]] = {
    "new": ("fineseg.cli.new:command", "Write a first profile for data in COCO's format."),
    "run": ("fineseg.cli.run:command", "Run a competition, from training to the report."),
    "sweep": ("fineseg.cli.sweep:command", "Train one model under many settings; find the best."),
    "ablate": ("fineseg.cli.ablate:command", "Train and score a table of one change a row."),
    "check": ("fineseg.cli.check:command", "Check a profile, or say which layer set a value; run nothing."),
    "data": ("fineseg.cli.data:command", "Look at annotation files: how large the objects are."),
    "evaluate": ("fineseg.cli.evaluate:command", "Score a results file against ground truth."),
    "ensemble": ("fineseg.cli.ensemble:command", "Combine results files of several models into one."),
    "class-table": ("fineseg.cli.class_table:command", "Say which of several models is better in which class."),
    "fuse": ("fineseg.cli.fuse:command", "Fuse instances and semantics into panoptic maps."),
    "board": ("fineseg.cli.board:command", "List runs with scores, cost, and what differs."),
    "diff": ("fineseg.cli.board:diff", "Say which settings and classes changed between two runs."),
    "submission": ("fineseg.cli.submission:command", "Check a submission file, or explain where it comes from."),
    "plugins": ("fineseg.cli.plugins:command", "List, show and check installed parts, or begin a new one."),
    "doctor": ("fineseg.cli.doctor:command", "Check this machine and environment, and say what to mend."),
}
"""Verb -> (module:attribute of its click command, line of help): `fineseg --help` needs nothing but this table."""


class LazyGroup(click.Group):
    """A group whose commands stand in for themselves in help and suggestions until one of them is called."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Import the command that was called for."""
        name, command, rest = super().resolve_command(ctx, args)
        if name is None or command is None:
            return name, command, rest
        module, _, attribute = VERBS[name][0].partition(":")
        return name, getattr(import_module(module), attribute), rest

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order of the table, which is the order in which they are needed."""
        return list(self.commands)


@click.group(
    cls=LazyGroup,
    commands={verb: click.Command(verb, help=line) for verb, (_, line) in VERBS.items()},
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")
def cli() -> None:
    """Train, predict, ensemble, score and submit a segmentation competition that one TOML file describes."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    What a user can mend is printed as `error: ...`, one line a fault; a fault of the program keeps its traceback.
    """
    if f"_{PROGRAM.upper()}_COMPLETE" in os.environ:
        cli.main(prog_name=PROGRAM)  # the shell asks for completions; click answers and exits
    try:
        status = _invoke(sys.argv[1:] if arguments is None else arguments)
    except SessionLost as error:
        _leave(_fail(str(error)))
    except FinesegError as error:
        status = _fail(str(error))
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.message)
        status = 0
    except click.UsageError as error:
        status = _fail(_usage(error))
    except click.ClickException as error:
        status = _fail(error.format_message())
    except (KeyboardInterrupt, click.Abort):
        over_the_key = "\r" if sys.stderr.isatty() else ""  # a terminal shows it as ^C
        click.echo(f"{over_the_key}interrupted: the same command continues", err=True)
        _leave(INTERRUPTED)
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _stdout_is_closed():
            status = 1  # the reader of our output has gone, as `fineseg ... | head` does: nobody to tell
        elif error.filename is None and error.errno not in DISK_FULL:
            raise
        else:
            status = _fail(_file_fault(error))
    sys.exit(status)


def _invoke(arguments: Sequence[str]) -> int:
    """Run one command without click's own error handling, which would hide a pipe broken anywhere as a quiet exit."""
    try:
        with cli.make_context(PROGRAM, list(arguments)) as context:
            cli.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except Exception as error:
        if _interrupted(error):
            raise KeyboardInterrupt from error
        raise
    return 0


def _leave(status: int) -> NoReturn:
    """End the process on the spot: threads still wait for a Ray that is gone, see `ray_session`."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _interrupted(error: BaseException | None) -> bool:
    """Say whether an error came up while Ctrl-C was being answered: what was let go of then may well complain."""
    while error is not None and not isinstance(error, KeyboardInterrupt | SessionLost):
        error = error.__context__
    return isinstance(error, KeyboardInterrupt)


def _fail(message: str) -> int:
    lines = message.splitlines() or ["failed without a message"]
    sys.stderr.write("".join(f"error: {line}\n" for line in lines))
    return 1


def _usage(error: click.UsageError) -> str:
    message = " ".join(error.format_message().split()).removesuffix(".")
    command = error.ctx.command_path if error.ctx else PROGRAM
    return f"{message[:1].lower()}{message[1:]}; see '{command} --help'"


def _file_fault(error: OSError) -> str:
    reason = error.strerror or str(error)
    if error.errno in DISK_FULL:
        reason += "; free some space, then the same command continues"
    return f"{error.filename}: {reason}" if error.filename is not None else reason


def _stdout_is_closed() -> bool:
    """Say whether the reader of our output is gone; flushing would not tell, as a failed write drops what it held."""
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError):
        return False
    poll = select.poll()
    poll.register(output, 0)
    closed = bool(poll.poll(0))
    if closed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), output)  # else the interpreter complains at its end
    return closed


if __name__ == "__main__":
    main()
