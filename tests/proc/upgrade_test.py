#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""New binaries take over, or the old ones go on; callers notice neither.

The programs are in a tree of their own, so that a test can put others in their place.  What is tried
does not look at versions: it is enough that it was started from what lies there now."""
import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import np  # noqa: E402
from lifecycle_test import COMM, Load, alive, complete, keeper, of_kind  # noqa: E402

np.only_in_tiers("process")
np.need_root()
CONFIG = "timeouts: {drain: 3000, upgrade: 60000}"


@contextlib.contextmanager
def host_of(workers=2, config=CONFIG, **more):
    tree = tempfile.mkdtemp(prefix="np-tree.")
    try:
        np.programs(tree)
        with np.Host(workers=workers, config=config, tree=tree, **more) as host:
            one = host.backend("one")
            host.service("shop/web", 80, [one.port])
            host.start()
            np.until("an answer", lambda: host.get("/x").status == 200)
            yield host
    finally:
        shutil.rmtree(tree, ignore_errors=True)


def upgrade(host, *words):
    r = host.ctl("upgrade", *words)
    assert r.returncode == 0, (r.returncode, r.stdout, r.stderr)
    return r.stdout


def refused(host):
    r = host.ctl("upgrade")
    assert r.returncode == 1, (r.returncode, r.stdout, r.stderr)
    return r.stderr


def only(host, workers=2):
    """One master with its children; nobody of an earlier one."""
    return lambda: complete(host, workers)


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def a_new_build_takes_over_and_no_request_is_lost():
    with host_of() as host:
        before, rev, started = host.pids(), host.status()["rev"], host.status()["started_unix_ms"]
        load = Load(host)
        np.programs(host.tree)          # the running ones are "(deleted)" now
        words = upgrade(host)
        assert "now version" in words and "2 old workers" in words, words
        np.until("the old ones to leave", only(host))
        load.stop()
        assert load.refused == load.cut == load.other == 0, str(load)
        after = host.pids()
        assert set(before) & set(after) == {keeper(host)}, (before, after)
        exe = os.readlink(f"/proc/{of_kind(host, 'master')[0]}/exe")
        assert exe == os.path.join(host.tree, "nodeproxy/nodeproxy"), exe
        status = host.status()
        assert status["ready"] and status["rev"] >= rev and status["started_unix_ms"] == started, status
        print(f"    {load}")


TESTS = [a_new_build_takes_over_and_no_request_is_lost]

if __name__ == "__main__":
    wanted = sys.argv[1:]
    for test in TESTS:
        if wanted and test.__name__ not in wanted:
            continue
        began = time.monotonic()
        test()
        print(f"ok {test.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
