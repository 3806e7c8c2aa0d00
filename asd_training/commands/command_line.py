# SPDX-License-Identifier: Apache-2.0
"""A program of several commands, each in a module of its own that is imported only when called.

Such a module imports what its arguments need, and in `run` what its work needs: torch alone takes
seconds, and --help should not wait for it.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Mapping
from typing import NoReturn

from asd_perception.cores import limit_threads
from asd_perception.errors import run_cli
from asd_perception.requirements import packages_checked


def run_program(
    program: str, description: str, epilog: str, commands: Mapping[str, tuple[str, str]]
) -> None:
    """Parse the command line of `program`, run the command that it names, and exit.

    commands: by name, the module, with configure(parser) and run(args), and one line of help.
    """
    called = sys.argv[1] if len(sys.argv) > 1 else ""

    def main() -> None:
        args = _parser(program, description, epilog, commands, called).parse_args()
        args.execute(args)

    run_main(f"{program} {called}" if called in commands else program, main)


def run_main(program: str, main: Callable[[], None]) -> NoReturn:
    """Run `main`, which has to import what it needs itself, and exit with its status."""
    limit_threads()
    sys.exit(run_cli(program, packages_checked()(main)))


def _parser(
    program: str,
    description: str,
    epilog: str,
    commands: Mapping[str, tuple[str, str]],
    called: str,
) -> argparse.ArgumentParser:
    """The parser of all commands; only the one that is called has its arguments."""
    parser = argparse.ArgumentParser(
        prog=program,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (module_name, summary) in commands.items():
        command = subparsers.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == called:
            module = importlib.import_module(module_name)
            module.configure(command)
            command.set_defaults(execute=module.run)
    return parser
