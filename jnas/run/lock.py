"""One process a workdir."""

import fcntl
import os
import pathlib
import socket
import time

from jnas.run import files

NAME = ".lock"


def check_free(workdir: pathlib.Path) -> None:
    """Says at once who has a workdir; takes nothing.

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
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # two that look both may
        except BlockingIOError as error:
            raise _held(workdir) from error


class Lock:
    """An exclusive lock on ``<workdir>/.lock``, held until ``release`` or death.

    The kernel drops it when the holder dies, however it dies, so that there is no stale
    lock to remove. The file itself stays, and tells who holds it.
    """

    def __init__(self, workdir: pathlib.Path):
        """Takes the lock, or says at once who has it.

        Args:
          workdir: an existing folder.

        Raises:
          RunError: another process holds it, or the file system has no locks.
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
        """Gives the lock back; more than once is allowed."""
        self._file.close()


def _held(workdir: pathlib.Path) -> files.RunError:
    return files.RunError(
        f"workdir must be used by one process, got {str(workdir)!r}, which "
        f"{_holder(workdir / NAME)} holds. Wait for it, stop it, or use another "
        "--workdir."
    )


def _holder(path: pathlib.Path) -> str:
    """Names the holder; waits a little for one that only just took the lock."""
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
