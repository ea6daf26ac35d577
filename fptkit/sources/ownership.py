"""Whose files are: caches are read only if nobody but this user can have written them. Light.

A cache folder may be shared without anybody's intention: a home folder for several people, ``XDG_CACHE_HOME`` in
``/tmp``. What others put there must decide neither which code runs nor which figures a run has.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from fptkit.errors import UsageError

HAS_OWNERS = hasattr(os, "geteuid")  # elsewhere the system keeps a user's cache folder from others


def is_own(path: Path) -> bool:
    """Whether a file or folder exists, is no link, belongs to this user or root, and nobody else can write it."""
    try:
        status = path.lstat()
    except (OSError, ValueError):
        return False
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return False
    if not HAS_OWNERS:
        return True
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & stat.S_IWOTH:
        return False
    return not status.st_mode & stat.S_IWGRP or is_own_group(status.st_gid)


def is_own_group(number: int) -> bool:
    """Whether this user is the only member of a group; systems with a umask of 002 have such a group for each user."""
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(number)
    except KeyError:
        return False
    return group.gr_gid == user.pw_gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def own_temporary_folder() -> Path:
    """The folder of this user alone among the temporary files; created if missing.

    Raises:
        UsageError: it cannot be created, or somebody else made it.
    """
    user = os.geteuid() if HAS_OWNERS else os.environ.get("USERNAME", "user")
    folder = Path(tempfile.gettempdir()) / f"fptkit-{user}"
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
    except OSError as err:
        raise UsageError(f"{folder}: cannot be created ({err.strerror or err}); set HOME, or TMPDIR") from err
    if not is_own(folder) or not folder.is_dir():
        raise UsageError(f"{folder}: somebody else made it or can write to it; remove it, or set HOME or TMPDIR")
    return folder
