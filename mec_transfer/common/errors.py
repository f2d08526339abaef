"""The errors a user can cause. Their message is one line: what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable
from pathlib import Path

_ABSENT = frozenset(
    (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EACCES, errno.EINVAL, errno.EBADF)
)


class UserError(Exception):
    """A mistake of the user: printed as one line without a traceback, with exit status 2."""


class ConfigError(UserError):
    """A config file, key or value is wrong."""


class CheckpointError(UserError):
    """A checkpoint cannot be read, or does not hold exactly one usable ResNet."""


class DataError(UserError):
    """A data set is missing, incomplete or malformed."""


class MissingExtra(UserError):
    """A library that only a part of the program needs is not installed."""


class RunError(Exception):
    """A run that failed although its input is right (it diverged, or the disk is full); exit status 1."""


def tell(error: Exception, place: Path | None = None) -> str:
    """Return an error as one line; an error of a disk or a network file system begins with the name of the file.

    An error that is raised while an open file is read does not know the name; then `place` is used.
    """
    if isinstance(error, OSError) and error.strerror:
        return ": ".join(str(part) for part in (error.filename or place, error.strerror) if part is not None)
    return " ".join(str(error).split())


def disk_failed(error: Exception) -> bool:
    """Whether an error says that the disk failed, rather than that a file is missing or broken."""
    return isinstance(error, OSError) and error.errno is not None and error.errno not in _ABSENT


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the nearest of `options`, or an empty string."""
    near = difflib.get_close_matches(name, list(options), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""


def one_line(error: BaseException) -> str:
    """Return the text of `error` in one line, without the name of the file, which the message itself gives."""
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split())[:200] or type(error).__name__
