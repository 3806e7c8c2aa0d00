# SPDX-License-Identifier: Apache-2.0
"""A program of several commands, each in a module of its own that is imported only when called."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Mapping

from asd_perception.errors import run_cli


def run_program(
    program: str, description: str, epilog: str, commands: Mapping[str, tuple[str, str]]
) -> None:
    """Parse the command line of `program`, run the command that it names, and exit.

    commands: by name, the module, with configure(parser) and run(args), and one line of help.
    Help comes without any of these modules: torch alone takes seconds to import.
    """
    parser = argparse.ArgumentParser(
        prog=program,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    called = sys.argv[1] if len(sys.argv) > 1 else ""
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
    args = parser.parse_args()
    sys.exit(run_cli(f"{program} {called}", lambda: args.execute(args)))
