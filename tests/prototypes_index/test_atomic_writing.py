"""Files, folders and locks: whole or not at all, and nothing that a killed process left is in the way."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from earmark.errors import BusyError, WriteError
from earmark.prototypes_index import atomic
from earmark.prototypes_index.atomic import put_in_place, replaced, staged, sweep, write_whole
from earmark.prototypes_index.locks import locked


@pytest.fixture(params=["exchange", "two renames"])
def ways(request, monkeypatch, tmp_path_factory):
    if request.param == "two renames":
        monkeypatch.setattr(atomic, "exchange", lambda one, other: False)
    one, other = (tmp_path_factory.mktemp(name) for name in ("one", "other"))
    return "exchange" if atomic.exchange(one, other) else "two renames"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def bundle(folder, content):
    folder.mkdir()
    (folder / "content").write_text(content)
    return folder


def replace_by(target, content):
    with staged(target) as new:
        (new / "content").write_text(content)
        put_in_place(new, target)


def test_a_folder_changes_in_one_step(tmp_path, ways):
    target = bundle(tmp_path / "b", "old")
    replace_by(target, "new")
    assert (target / "content").read_text() == "new"
    assert names(tmp_path) == ["b"]


def killed_at(step, tmp_path, ways):
    """Kill a child at its `step`-th change of a name; returns whether it came so far."""
    pid = os.fork()
    if pid == 0:
        seen = 0

        def die(event, arguments):
            nonlocal seen
            if event in ("os.rename", "os.mkdir", "os.rmdir", "os.remove", "earmark.exchange"):
                if seen == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                seen += 1

        sys.addaudithook(die)
        replace_by(tmp_path / "b", "new")
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def test_killed_at_any_step_the_old_or_the_new_is_there(tmp_path, ways):
    found, step = [], 0
    while True:
        home = tmp_path / str(step)
        home.mkdir()
        target = bundle(home / "b", "old")
        killed = killed_at(step, home, ways)
        if ways == "exchange":
            found.append((target / "content").read_text())
        # What any writer in that folder does first.
        sweep(home)
        if ways != "exchange":
            found.append((target / "content").read_text())
        assert names(home) == ["b"], "nothing is left"
        if not killed:
            break
        step += 1
    assert found == sorted(found, reverse=True), "once the new one is in place, it stays"
    assert set(found) == {"old", "new"}


@pytest.mark.parametrize("step", [1, 2])
def test_interrupted_between_two_renames_the_old_folder_is_there(tmp_path, monkeypatch, step):
    target, rename, done = bundle(tmp_path / "b", "old"), type(tmp_path).rename, 0
    monkeypatch.setattr(atomic, "exchange", lambda one, other: False)

    def interrupted(path, to):
        nonlocal done
        done += 1
        # Moving back fails too, the second time.
        if done > step:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(path, to)
        if done == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(tmp_path), "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            replace_by(target, "new")
    assert target.exists() == (step == 2)
    sweep(tmp_path)
    assert (target / "content").read_text() == "old"
    assert names(tmp_path) == ["b"]


@pytest.mark.parametrize("moment", ["made", "opened"])
@pytest.mark.parametrize("sweeper", ["holds", "removed"])
def test_a_sweep_at_the_moment_a_name_is_made_costs_the_writer_nothing(
    tmp_path, monkeypatch, moment, sweeper
):
    """`moment`: when the sweep comes, before or after the writer opens what it made."""
    flock, opened, swept = fcntl.flock, os.open, []

    def sweep_once(path):
        if not swept:
            swept.append(opened(path, os.O_RDONLY))
            flock(swept[0], fcntl.LOCK_EX)
            if sweeper == "removed":
                Path(path).rmdir()

    def late_open(path, *arguments):
        if moment == "made":
            sweep_once(path)
        return opened(path, *arguments)

    def late_flock(handle, how):
        if moment == "opened":
            sweep_once(Path(f"/proc/self/fd/{handle}").readlink())
        flock(handle, how)

    monkeypatch.setattr(os, "open", late_open)
    monkeypatch.setattr(fcntl, "flock", late_flock)
    with staged(tmp_path / "b") as folder:
        assert swept
        for name in names(tmp_path):
            if name != folder.name:
                (tmp_path / name).rmdir()
        os.close(swept[0])
        sweep(tmp_path)
        (folder / "content").write_text("new")
        put_in_place(folder, tmp_path / "b")
    assert names(tmp_path) == ["b"]


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no shared memory here")
def test_a_file_in_shared_memory_is_replaced_as_others_are():
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder, replaced(Path(folder) / "f") as temporary:
        assert temporary.name.startswith(atomic.HIDDEN)
        temporary.write_text("x")


def test_what_a_living_writer_holds_is_not_swept(tmp_path):
    with staged(tmp_path / "b") as folder, replaced(tmp_path / "f.txt") as file:
        sweep(tmp_path)
        assert folder.is_dir()
        assert file.is_file()
    assert names(tmp_path) == ["f.txt"]


def test_only_names_of_earmark_are_swept(tmp_path):
    for name in (".earmark-notes", ".earmark-0123456789abcdeg", "earmark-0123456789abcdef"):
        (tmp_path / name).touch()
    before = names(tmp_path)
    sweep(tmp_path)
    assert names(tmp_path) == before


def test_an_error_leaves_the_old_file_and_names_it(tmp_path, monkeypatch):
    path = tmp_path / "bundle.json"
    write_whole(path, "old")

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match=r"bundle\.json: cannot be written \(No space left") as caught:
        write_whole(path, "new")
    assert caught.value.errno == errno.ENOSPC
    assert "free some space" in str(caught.value)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["bundle.json"]


def test_the_line_of_a_failed_write_is_printable_and_short(tmp_path):
    path = tmp_path / "no\n\x1b[2J" / ("x" * 2000)
    with pytest.raises(WriteError) as caught:
        write_whole(path, "x")
    line = str(caught.value)
    assert "no\\n\\x1b[2J" in line
    assert line.isprintable()
    assert len(line) <= 1210
    assert caught.value.filename == str(path)


def test_modes_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "f", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o640


# Locks


def no_flock(code):
    def flock(*_):
        raise OSError(code, os.strerror(code))

    return flock


@pytest.mark.parametrize("code", [None, errno.ENOSYS, errno.EOPNOTSUPP])
def test_one_writer_at_a_time(tmp_path, monkeypatch, code):
    if code:
        monkeypatch.setattr(fcntl, "flock", no_flock(code))
    started = time.monotonic()
    with (
        locked(tmp_path / ".lock"),
        pytest.raises(BusyError, match="is writing to it") as caught,
        locked(tmp_path / ".lock", timeout=0.2),
    ):
        pass
    assert time.monotonic() - started < 5
    assert str(tmp_path) in str(caught.value)
    with locked(tmp_path / ".lock"):
        pass


@pytest.mark.parametrize("code", [None, errno.ENOSYS])
def test_a_lock_file_that_an_earlier_run_left_is_no_lock(tmp_path, monkeypatch, code):
    (tmp_path / ".lock").write_text(f"{os.getpid()}\nsome.host\n")
    if code:
        monkeypatch.setattr(fcntl, "flock", no_flock(code))
    with locked(tmp_path / ".lock"):
        pass


def leave_an_owner(tmp_path):
    """What a process leaves that is killed while it holds the lock where there is no flock."""
    code = (
        "import errno, fcntl, os, signal, sys\n"
        "from pathlib import Path\n"
        "def flock(*_): raise OSError(errno.ENOSYS, 'no')\n"
        "fcntl.flock = flock\n"
        "from earmark.prototypes_index.locks import locked\n"
        "with locked(Path(sys.argv[1]) / '.lock'): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    return tmp_path / ".lock.owner"


def test_without_flock_the_lock_of_a_killed_process_is_taken_over(tmp_path, monkeypatch):
    owner = leave_an_owner(tmp_path)
    left = json.loads(owner.read_text())
    monkeypatch.setattr(fcntl, "flock", no_flock(errno.ENOSYS))
    with locked(tmp_path / ".lock"):
        assert json.loads(owner.read_text())["pid"] == os.getpid()
    assert not owner.exists()
    # Its number was given to another process since, or the machine was started anew.
    for changed in ({"pid": os.getpid(), "started": "1"}, {"pid": os.getpid(), "boot": "another"}):
        owner.write_text(json.dumps(left | changed))
        with locked(tmp_path / ".lock"):
            pass
    assert names(tmp_path) == [".lock"]


def test_without_flock_a_lock_that_cannot_be_written_is_not_busy(tmp_path, monkeypatch):
    owner, opened = leave_an_owner(tmp_path), Path.open

    def full(path, mode="r", **options):
        if "x" in mode and not path.exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return opened(path, mode, **options)

    monkeypatch.setattr(fcntl, "flock", no_flock(errno.ENOSYS))
    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space left"), locked(tmp_path / ".lock"):
        pass
    assert not owner.exists()


def test_without_flock_what_nobody_can_know_is_said_with_the_cure(tmp_path, monkeypatch):
    owner = leave_an_owner(tmp_path)
    owner.write_text(json.dumps(json.loads(owner.read_text()) | {"machine": "elsewhere"}))
    monkeypatch.setattr(fcntl, "flock", no_flock(errno.ENOSYS))
    with pytest.raises(BusyError, match="on elsewhere") as caught, locked(tmp_path / ".lock"):
        pass
    assert f"delete {owner}" in str(caught.value)
    owner.unlink()
    with locked(tmp_path / ".lock"):
        pass


def test_no_locks_left_is_said_with_path_and_cure(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", no_flock(errno.ENOLCK))
    with pytest.raises(BusyError, match="No locks available") as caught, locked(tmp_path / ".lock"):
        pass
    assert str(tmp_path / ".lock") in str(caught.value)
    assert "local disk" in str(caught.value)


def test_a_lock_in_a_folder_that_was_replaced_is_not_the_lock(tmp_path):
    """Whoever opened the old folder's lock file must not believe to hold the new folder's."""
    target = bundle(tmp_path / "b", "old")
    with locked(target / ".lock"):
        replace_by(target, "new")
        with locked(target / ".lock"):
            pass
