"""JAX's persistent compilation cache in the user's cache folder: what was compiled once is loaded the next time."""

import hashlib
import os
import platform
import sys
import warnings
from pathlib import Path

LARGEST = 10**9
"""Bytes that our own cache folder may hold when a process starts to use it."""


def use_cache(folder: str | os.PathLike[str] | None = None) -> Path:
    """Keeps compiled programs in a folder, so that the next process loads them; returns that folder.

    Without a folder it is that of JAX_COMPILATION_CACHE_DIR, or else one for this processor in the user's cache folder,
    which is kept below `LARGEST` bytes: the entries not used for longest go. It changes settings of JAX, for the
    process. An entry that cannot be read or written is compiled anew, without a word.

    Call it before JAX is imported. Later it works too, for what is not yet compiled, but JAX then logs that the types
    of processor differ whenever it loads an entry, though they do not (`TF_CPP_MIN_LOG_LEVEL=3` hides that).

    Raises:
        ValueError: if the folder cannot be made or written to.
    """
    place = folder or os.environ.get("JAX_COMPILATION_CACHE_DIR")
    path = Path(place) if place else _user_folder() / "jaxcardio" / _processor()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"folder = {path}: cannot be made ({error.strerror})") from None
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise ValueError(f"folder = {path}: cannot be written to")
    if not place:
        _prune(path.parent, LARGEST)
    if "jax" not in sys.modules:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import jax

    warnings.filterwarnings("ignore", message="Error (reading|writing|checking) persistent compilation cache entry")
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return path


def _user_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or _home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return _home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or _home() / ".cache")


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        raise ValueError("folder: missing; this user has no home folder") from None


def _processor() -> str:
    """Tells processors apart: a home folder may be shared by several, and a program of one may end the other's process.

    JAX's own keys do not say for which processor a program was compiled.
    """
    about = [platform.machine(), platform.processor()]
    try:
        with open("/proc/cpuinfo") as file:
            about += sorted({line for line in file if line.startswith(("flags", "Features", "model name"))})
    except OSError:  # not Linux
        pass
    return hashlib.sha256("\n".join(about).encode()).hexdigest()[:12]


def _prune(folder: Path, largest: int) -> None:
    """Removes entries, the longest unused first, until half of `largest` bytes is left; nothing below `largest`."""
    entries = []
    for path in folder.glob("*/*"):
        try:
            found = path.stat()
        except OSError:  # another process was first
            continue
        entries.append((max(found.st_atime, found.st_mtime), found.st_size, path))
    size = sum(entry[1] for entry in entries)
    if size <= largest:
        return
    for _, bytes_, path in sorted(entries):
        try:
            path.unlink(missing_ok=True)
        except OSError:
            continue
        size -= bytes_
        if size <= largest // 2:
            return
