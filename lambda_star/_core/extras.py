"""What to say where a package of an extra is missing: the command that installs it here."""

from __future__ import annotations

from pathlib import Path

__all__ = ["install_command", "missing"]

CLONE = Path(__file__).parents[2]


def install_command(extra: str) -> str:
    """Return the command that installs an extra.

    Where lambda-star is installed, from an index or from a clone, pip keeps it and adds what the extra needs. Where
    it is not, as in a clone that is only on the path, the command names the clone.

    >>> install_command("torch")
    "pip install 'lambda-star[torch]'"
    """
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        distribution("lambda-star")
    except PackageNotFoundError:
        return f"pip install -e '{CLONE}[{extra}]'"
    return f"pip install 'lambda-star[{extra}]'"


def missing(what: str, package: str, extra: str) -> ImportError:
    """Return the error that something needs a package of an extra, with the command that installs it.

    >>> missing("this contract", "jsonschema", "contract")
    ImportError("this contract needs jsonschema; install it with: pip install 'lambda-star[contract]'")
    """
    return ImportError(f"{what} needs {package}; install it with: {install_command(extra)}")
