"""Output files in a local directory: temporary name, fsync, rename, fsync of the folder."""

from backends.files.names import Coding
from backends.files.store import FilesDoors, FilesOutputStore, FilesStatistics, open_files

__all__ = ["Coding", "FilesDoors", "FilesOutputStore", "FilesStatistics", "open_files"]
