"""One process at a time writes into a folder."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO

try:
    import fcntl
except ModuleNotFoundError:
    fcntl = None

from ..progress import say

LOCK = "lock"
"""The file that is locked. It stays where a process was killed."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder's lock, which is made if need be, and waits for whoever has it; the system drops it when a
    process dies. Without file locks (Windows) there is none: there one process at a time may write."""
    with _lock_file(folder):
        yield


def _lock_file(folder: Path) -> IO[bytes]:
    """The open file, locked; it says who has it."""
    waiting = False
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = open(folder / LOCK, "a+b", buffering=0)  # noqa: SIM115
        except FileExistsError:
            raise ValueError(f"folder = {folder}: is a file; allowed: a folder") from None
        except OSError as error:
            raise ValueError(f"folder = {folder}: cannot be written to ({error.strerror})") from None
        if fcntl is None:
            return file
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            if not waiting:
                who = file.read(99).decode(errors="replace").strip() or "unknown"
                say(f"{folder}: another process is making it ({who}); waiting for it\n")
            waiting = True
            fcntl.flock(file, fcntl.LOCK_EX)
        if _is_still_there(file):
            with contextlib.suppress(OSError):  # a full disk: nobody is told, but the lock is there
                file.truncate(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
            return file
        file.close()  # whoever had it has removed it


def _is_still_there(file: IO[bytes]) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(file.name))
    except FileNotFoundError:
        return False
