"""The fault rows F20 to F26 by hand, at full size:

python -m tests.faults.run F20

prints its figures. The tests beside run the same at a small size.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import trio

from tests.faults.rows import ROWS, Row
from tests.faults.site import site


async def run(row: Row, folder: Path) -> dict[str, Any]:
    """One row on a server of its own."""
    async with site(folder, **row.limits) as place:
        return await row.act(place, **row.full)


def main() -> int:
    """Run the rows named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="+", choices=list(ROWS))
    for name in parser.parse_args().rows:
        with tempfile.TemporaryDirectory(prefix="outcry-faults-") as folder:
            Path(folder).chmod(0o711)
            began = time.monotonic()
            figures = trio.run(run, ROWS[name], Path(folder))
        figures["seconds"] = round(time.monotonic() - began, 1)
        print(json.dumps({name: figures}, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
