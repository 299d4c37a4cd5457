"""Folders that are made and removed at the same time."""

import os
from pathlib import Path

import pytest

from backends.files.tree import MAKE_ATTEMPTS_MAX, Tree

FOLDER = ("t1", "j1", "output")


def put(name: str, folder: int) -> None:
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT, dir_fd=folder))


def test_who_comes_second_does_not_trust_folders_that_the_first_has_not_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folders were durable once, were removed, and are made anew just now."""
    tree = Tree(tmp_path)
    synced: list[str] = []
    os.close(tree.make_in(FOLDER, lambda fd: put("a", fd)))
    os.unlink(tmp_path.joinpath(*FOLDER, "a"))
    tree.prune(*FOLDER)
    real_fsync = os.fsync

    def fsync(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        real_fsync(fd)

    def second_comes(fd: int) -> None:
        monkeypatch.setattr(os, "fsync", fsync)
        os.close(tree.make_in(FOLDER, lambda fd: put("second", fd)))
        assert synced == [str(tmp_path.joinpath(*FOLDER[:depth])) for depth in range(3)]
        put("first", fd)

    os.close(tree.make_in(FOLDER, second_comes))
    tree.close()


def test_folders_that_are_removed_before_anything_is_in_them_are_made_again(
    tmp_path: Path,
) -> None:
    tree, attempts = Tree(tmp_path), []

    def put_late(fd: int) -> None:
        attempts.append(fd)
        if len(attempts) < MAKE_ATTEMPTS_MAX:
            tree.prune(*FOLDER)
        put("a", fd)

    os.close(tree.make_in(FOLDER, put_late))
    assert tree.entries(*FOLDER) == ["a"]
    tree.close()


def test_a_remover_that_never_rests_is_given_up_on(tmp_path: Path) -> None:
    tree = Tree(tmp_path)

    def put_too_late(fd: int) -> None:
        tree.prune(*FOLDER)
        put("a", fd)

    with pytest.raises(FileNotFoundError):
        tree.make_in(FOLDER, put_too_late)
    assert os.listdir(tmp_path) == []
    tree.close()
