"""`outcry doctor`: will an engine run well here, and what to do if not."""

from typing import Annotated, Final

import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from api.commands.settings import ConfigPath, settings_of
from api.diagnosis import Finding, Verdict, diagnose

AsJson = Annotated[bool, Parameter(name="--json", help="Print JSON in place of a table.")]

_STYLES: Final = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red"}


async def doctor(path: ConfigPath = None, *, as_json: AsJson = False) -> int:
    """Check this machine, the settings and the database; the exit code is 1 if anything fails."""
    findings = await diagnose(settings_of(path))
    if as_json:
        print(msgspec.json.encode(findings).decode())
    else:
        Console().print(_table(findings))
    return int(any(finding.verdict is Verdict.FAIL for finding in findings))


def _table(findings: list[Finding]) -> Table:
    table = Table("check", "verdict", "found", "advice")
    for finding in findings:
        verdict = f"[{_STYLES[finding.verdict]}]{finding.verdict}[/]"
        table.add_row(finding.name, verdict, finding.found, finding.advice)
    return table
