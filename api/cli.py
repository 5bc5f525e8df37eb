"""The console script `outcry`: which commands there are, and where each of them lives.

A command is a function in `api/commands/`, named here as text, so that its imports cost nothing
until it runs. An async one runs on trio.
"""

from typing import Final

from cyclopts import App

#: Name, place, and the line of the overview.
COMMANDS: Final = (
    ("bench", "api.commands.bench:app", "Measure this machine."),
    ("config", "api.commands.config:app", "Look at the settings."),
    ("demo", "api.commands.demo:demo", "Serve a market that moves."),
    ("doctor", "api.commands.doctor:doctor", "Check machine, settings and database."),
    ("journal", "api.commands.journal:journal", "Print what is recorded."),
    ("keys", "api.commands.keys:app", "List, make, replace and revoke API keys."),
    ("projector", "api.commands.projector:projector", "Leave snapshots behind a running engine."),
    ("serve", "api.commands.serve:serve", "Serve the engine and its database."),
    ("top", "api.commands.top:top", "Watch a running server."),
    ("traders", "api.commands.traders:traders", "Make the market of a server move."),
    ("verify", "api.commands.verify:verify", "Prove the journal from its first byte."),
    ("version", "api.commands.version:version", "Say which release runs on what."),
)


def build() -> App:
    """The whole command line, without running it."""
    app = App(
        name="outcry",
        help="A trading and settlement engine.",
        version_flags=[],
        backend="trio",
        result_action="return_value",
    )
    for name, place, help_line in COMMANDS:
        app.command(place, name=name, help=help_line)
    return app


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the process's exit code."""
    code = build()(arguments)
    return code if isinstance(code, int) else 0
