"""Compiles `onednn.cc` against the installed oneDNN, once for each version of what goes into it."""

import dataclasses
import hashlib
import importlib.metadata
import importlib.resources
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import jax
import jaxlib

from jaxdrive.logs import logger

# The packages of the extra `native`: the library, and its headers.
LIBRARY_PACKAGE, HEADERS_PACKAGE = "onednn-cpu-gomp", "onednn-devel-cpu-gomp"
_LIBRARY = "libdnnl.so.3"
_HEADER = Path("oneapi/dnnl/dnnl.hpp")
_SOURCE = "onednn.cc"
_FLAGS = ("-std=c++17", "-O2", "-fPIC", "-shared")
_COMPILERS = ("c++", "g++", "clang++")
# Of what a compiler prints, so many characters are shown.
_SHOWN = 300


class BuildError(Exception):
    """Why there is no compiled library; the text also says what to do."""


@dataclasses.dataclass(frozen=True)
class OneDnn:
    """The installed oneDNN.

    Attributes:
      version: Of its package.
      library: The shared library.
      headers: The folder to include.
    """

    version: str
    library: Path
    headers: Path


def find_onednn() -> OneDnn | None:
    """The oneDNN of the extra `native`; None where it is not installed."""
    library = _file_of(LIBRARY_PACKAGE, Path(_LIBRARY))
    header = _file_of(HEADERS_PACKAGE, _HEADER)
    if library is None or header is None:
        return None
    version = importlib.metadata.version(LIBRARY_PACKAGE)
    return OneDnn(version, library, header.parents[len(_HEADER.parts) - 1])


def _file_of(package: str, ending: Path) -> Path | None:
    """The installed file of a package whose path ends like this."""
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files:
        path = Path(str(file.locate())).resolve()
        if file.parts[-len(ending.parts) :] == ending.parts and path.is_file():
            return path
    return None


def compiled(onednn: OneDnn) -> Path:
    """The compiled library in the user's cache; compiles it where it is not there.

    Several processes can do this at once: each writes a file of its own and renames it.

    Raises:
      BuildError: There is no compiler, it failed, or the folder cannot be written.
    """
    source = importlib.resources.files(__package__).joinpath(_SOURCE).read_bytes()
    parts = (source, " ".join(_FLAGS).encode(), jaxlib.__version__.encode())
    key = hashlib.sha256(b"\0".join((*parts, onednn.version.encode()))).hexdigest()[:16]
    try:
        path = _cache_folder() / f"native-{key}.so"
        if not path.is_file():
            logger.info("Compiling the native convolutions, once: about 5 seconds")
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                temporary = Path(folder)
                (temporary / _SOURCE).write_bytes(source)
                _compile(temporary / _SOURCE, temporary / path.name, onednn)
                (temporary / path.name).replace(path)
    except (OSError, RuntimeError) as error:
        raise BuildError(
            f"the compiled library cannot be kept ({error}): set XDG_CACHE_HOME to a folder that"
            " can be written"
        ) from error
    return path


def _cache_folder() -> Path:
    """Raises RuntimeError where the user has no home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification: a path that is not absolute does not count.
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "jaxdrive"


def _compile(source: Path, target: Path, onednn: OneDnn) -> None:
    compiler = os.environ.get("CXX") or next(filter(shutil.which, _COMPILERS), None)
    if compiler is None:
        raise BuildError(
            f"no C++ compiler was found ({', '.join(_COMPILERS)}): install one, such as g++, or"
            " name it in CXX"
        )
    includes = [f"-I{folder}" for folder in (onednn.headers, jax.ffi.include_dir())]
    files = [str(source), "-o", str(target), str(onednn.library)]
    command = [*compiler.split(), *_FLAGS, *includes, *files]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(f"the compiler {compiler} does not start ({error}): see CXX") from error
    if done.returncode:
        printed = " ".join(done.stderr.replace(f"{source.parent}/", "").split())
        raise BuildError(
            f"{compiler} failed (exit code {done.returncode}: {printed[:_SHOWN]}): it has to know"
            " C++17; CXX names another compiler"
        )
