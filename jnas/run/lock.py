"""The lock of a workdir: only one process at a time uses it."""

import fcntl
import os
import pathlib
import socket
import time

from jnas.run import files

NAME = ".lock"


def check_free(workdir: pathlib.Path) -> None:
    """Checks that no process holds the lock of a workdir; does not take it.

    Args:
      workdir: an existing folder.

    Raises:
      RunError: another process holds its lock.
    """
    path = workdir / NAME
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        try:
            # shared, so that two processes can check at the same time
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _held(workdir) from error


class Lock:
    """An exclusive lock on ``<workdir>/.lock``, held until ``release`` or process end.

    The kernel releases it whenever the process ends, even if it is killed, so there is
    never a stale lock to remove. The file remains; it names the holder.
    """

    def __init__(self, workdir: pathlib.Path):
        """Takes the lock; raises at once if another process holds it.

        Args:
          workdir: an existing folder.

        Raises:
          RunError: another process holds the lock, or the file system has no locks.
        """
        path = workdir / NAME
        self._file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise _held(workdir) from error
        except OSError as error:
            self._file.close()
            raise files.RunError(
                f"workdir must be on a file system with locks, got {error.strerror} "
                f"for {str(path)!r}. Use another --workdir."
            ) from error
        self._file.truncate(0)
        self._file.write(f"{os.getpid()} {socket.gethostname()}\n")
        self._file.flush()

    def release(self) -> None:
        """Releases the lock; may be called more than once."""
        self._file.close()


def _held(workdir: pathlib.Path) -> files.RunError:
    return files.RunError(
        f"workdir must be used by one process, got {str(workdir)!r}, which "
        f"{_holder(workdir / NAME)} holds. Wait for it, stop it, or use another "
        "--workdir."
    )


def _holder(path: pathlib.Path) -> str:
    """Returns who holds the lock; waits briefly for a holder to write its name."""
    for _ in range(10):
        pid, _, host = path.read_text(encoding="utf-8").strip().partition(" ")
        if pid and (host != socket.gethostname() or _alive(pid)):
            return f"process {pid} on {host}"
        time.sleep(0.02)
    return "another process"


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True
