"""How many files, connections among them, this process may have open at once."""

import logging

log = logging.getLogger("wgan.server")


def allow_open_files(wanted: int) -> None:
    """Raise the limit to `wanted` as far as the system lets us; says in the log where it does not.

    Each connection is an open file, and systems start a process with room for 256 to 1024.
    """
    try:
        import resource
    except ModuleNotFoundError:  # Windows, whose sockets are no files
        log.info("this system has no limit on open files that could be raised")
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    except (ValueError, OSError):  # macOS names no hard limit, and yet has one
        most = soft
    if most < wanted:
        log.warning(
            "warning: %d files may be open at once, and %d were wanted: raise the limit with"
            " ulimit -n, or give a lower --max-connections",
            most,
            wanted,
        )
