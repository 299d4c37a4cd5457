"""What this process has open, so that a test can say that nothing is."""

import os
from pathlib import Path


def open_files_under(folder: Path) -> list[str]:
    """Files in a folder that this process has open."""
    names = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            names.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        except FileNotFoundError:
            continue  # the listing's own
    return [name for name in names if name.startswith(f"{folder}/")]
