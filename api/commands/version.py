"""`outcry version`: which release runs on what."""

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of


def version() -> None:
    """Print the release and the Python it runs on."""
    try:
        release = version_of("outcry")
    except PackageNotFoundError:
        release = "not installed, running from its sources"
    print(f"outcry {release}, Python {platform.python_version()} on {platform.platform()}")
