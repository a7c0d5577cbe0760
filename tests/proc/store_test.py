#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""The disk under the store: full, at a limit, read-only, removed, spoilt.  Whatever it is, changes go on
reaching the workers, the operator is told why and since when, and when it is over the store has
everything again without anybody changing anything."""
import contextlib
import fcntl
import os
import resource
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.environ.get("top_srcdir", "."), "tests/lib"))
import np  # noqa: E402

np.only_in_tiers("process")
np.need_root()


class Disk:
    """A small file system at host's state directory."""

    def __init__(self, host, options="size=2m"):
        self.at = os.path.join(host.dir, "state")
        os.mkdir(self.at)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "np-test", self.at], capture_output=True).returncode:
            np.skip("cannot mount a tmpfs")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "-l", self.at], check=False)

    def fill(self):
        with contextlib.suppress(OSError), open(os.path.join(self.at, "filler"), "ab", buffering=0) as f:
            while True:
                f.write(bytes(4096))

    def empty(self):
        os.unlink(os.path.join(self.at, "filler"))

    def remount(self, how):
        subprocess.run(["mount", "-o", f"remount,{how}", self.at], check=True)


def limit(pid, most):
    """The size of files a process may write, set by its own user: that takes no capability."""
    st = os.stat(f"/proc/{pid}/task")
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.setgroups([])
            os.setresgid(st.st_gid, st.st_gid, st.st_gid)
            os.setresuid(st.st_uid, st.st_uid, st.st_uid)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, -1))
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0, "the limit could not be set"


def answers(host, name):
    np.until(f"answers of {name}", lambda: host.get("/x").body == f"{name} /x\n".encode())


def syncd(host):
    return next(p for p in host.status()["processes"] if p["role"] == "syncd")


def is_durable(host):
    r = host.ctl_json("get", "sources")
    return r["durable"] and r["store"]["rev"] == r["rev"] and r["store"]["rev"] > 0 and r


def alarm(host, word):
    """The alarm, everywhere an operator looks."""
    s = np.until("the alarm", lambda: (s := host.status()) and s["durable"] is False and s)
    assert word in s["not_durable"]["why"].lower(), s["not_durable"]
    assert s["not_durable"]["seconds"] >= 0 and s["not_durable"]["since_unix_ms"] > 0
    assert s["ready"], s
    store = host.ctl_json("get", "sources")["store"]
    assert word in store["problem"].lower() and store["since_unix_ms"] > 0, store
    check = host.ctl_json("check") if host.ctl("check").returncode == 0 else None
    text = host.ctl("check").stdout
    assert check is None and "not durable for" in text and word in text.lower(), text
    assert host.metric("nodeproxy_durable") == 0
    assert "event=not_durable" in open(host.log).read()


def alarm_ends(host):
    np.until("the store to be written", lambda: is_durable(host))
    assert host.status()["not_durable"] is None
    assert host.metric("nodeproxy_durable") == 1 and host.metric("nodeproxy_not_durable_seconds") == 0


def full(one, two):
    with np.Host(workers=1) as host, Disk(host) as disk:
        host.backends += [one, two]
        disk.fill()
        host.service("shop/web", 80, [one.port])
        host.start()                                    # for the first time, with no room at all
        answers(host, "one")
        alarm(host, "full")
        host.service("shop/web", 80, [two.port])
        answers(host, "two")
        disk.empty()                                    # and nothing else
        alarm_ends(host)
        disk.fill()                                     # while it runs
        for n in range(6):
            host.service("shop/web", 80, [(one, two)[n % 2].port])
            answers(host, ("one", "two")[n % 2])
            host.service(f"shop/side-{n}", 80, [one.port] * 20)
        alarm(host, "full")
        was = syncd(host)
        os.kill(was["pid"], signal.SIGKILL)             # what was not durable comes from the source again
        np.until("another syncd", lambda: (p := syncd(host)) and p["pid"] != was["pid"] and p["state"] == "ready")
        answers(host, "two")
        host.service("shop/web", 80, [one.port])
        answers(host, "one")
        disk.empty()
        alarm_ends(host)
        assert host.stop() == 0
        os.rename(host.resources, host.resources + ".away")
        host.start()                                    # it really is in the store
        answers(host, "one")
        host.backends.clear()


def limited(one, two):
    with np.Host(workers=1) as host:
        host.backends += [one, two]
        host.service("shop/web", 80, [one.port])
        host.start()
        answers(host, "one")
        np.until("a store", lambda: is_durable(host))
        was = syncd(host)
        limit(was["pid"], 4096)
        host.service("shop/web", 80, [two.port])
        host.service("shop/more", 80, [one.port] * 50)
        answers(host, "two")
        alarm(host, "i/o error")
        limit(was["pid"], -1)
        alarm_ends(host)
        assert syncd(host)["pid"] == was["pid"], "a write beyond a limit is no reason to die"
        host.backends.clear()


def read_only(one, two):
    with np.Host(workers=1) as host, Disk(host) as disk:
        host.backends += [one, two]
        host.service("shop/web", 80, [one.port])
        host.start()
        np.until("a store", lambda: is_durable(host))
        assert host.stop() == 0
        disk.remount("ro")
        host.start()
        answers(host, "one")
        host.service("shop/web", 80, [two.port])
        answers(host, "two")
        alarm(host, "read")
        assert host.stop() == 0
        os.rename(host.resources, host.resources + ".away")
        host.start()                                    # what it has can still be read
        answers(host, "one")
        os.rename(host.resources + ".away", host.resources)
        answers(host, "two")
        disk.remount("rw")
        alarm_ends(host)
        host.backends.clear()


def removed(one, two):
    with np.Host(workers=1, config="respawn: {min: 1, max: 50}") as host:
        host.backends += [one, two]
        state = os.path.join(host.dir, "state")
        host.service("shop/web", 80, [one.port])
        host.start()
        np.until("a store", lambda: is_durable(host))
        for f in os.listdir(state):                     # the file alone: written again without a change
            os.unlink(os.path.join(state, f))
        np.until("the store to be back", lambda: os.path.exists(os.path.join(state, "store.db")) and is_durable(host))
        was = syncd(host)["pid"]
        shutil.rmtree(state)                            # and all of it
        np.until("another syncd", lambda: syncd(host)["pid"] != was)
        np.until("the store to be back", lambda: os.path.exists(os.path.join(state, "store.db")) and is_durable(host))
        assert oct(os.stat(state).st_mode & 0o777) == "0o700"
        host.service("shop/web", 80, [two.port])
        answers(host, "two")
        assert all(w["restarts"] == 0 for w in host.status()["workers"])
        # Spoilt under a running process: the next one finds it, says so, and has it from the source.
        np.until("a store", lambda: is_durable(host))
        with open(os.path.join(state, "store.db"), "r+b") as f:
            f.write(b"junk" * 2048)
        was = syncd(host)["pid"]
        os.kill(was, signal.SIGKILL)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(state, "store.db-wal"))
        np.until("another syncd", lambda: syncd(host)["pid"] != was)
        np.until("a store", lambda: is_durable(host))
        np.until("it to be said", lambda: "moved aside" in host.ctl("check").stdout)
        assert host.metric("nodeproxy_store_moved_aside_total") == 1
        # And with the source away too, a host that starts says that it has nothing.
        assert host.stop() == 0
        os.rename(host.resources, host.resources + ".away")
        with open(os.path.join(state, "store.db"), "r+b") as f:
            f.write(b"junk" * 2048)
        host.start(wait=False)
        s = np.until("its status", lambda: (s := host.status()) and s["sources"][0]["state"] == "lost" and s)
        assert not s["ready"] and s["why"], s
        r = np.until("it to be said", lambda: (r := host.ctl("check")) and "moved aside" in r.stdout and r)
        assert r.returncode == 1 and "bring the source back" in r.stdout, r.stdout
        os.rename(host.resources + ".away", host.resources)
        host.await_ready()
        answers(host, "two")
        # Put back from a backup, as root does it.
        np.until("a store", lambda: is_durable(host))
        assert host.stop() == 0
        os.chown(os.path.join(state, "store.db"), 0, 0)
        os.chmod(os.path.join(state, "store.db"), 0o600)
        host.start()
        answers(host, "two")
        np.until("a store", lambda: is_durable(host))
        assert "belongs to uid 0 with mode 600" in host.ctl("check").stdout, host.ctl("check").stdout
        host.backends.clear()


def unreadable(one, two):
    """A store that cannot be read yet is not an empty one: it is looked at again, also without a source."""
    with np.Host(workers=1) as host:
        host.backends += [one, two]
        host.service("shop/web", 80, [one.port])
        host.start()
        np.until("a store", lambda: is_durable(host))
        assert host.stop() == 0
        os.rename(host.resources, host.resources + ".away")
        store = os.path.join(host.dir, "state", "store.db")
        size = os.path.getsize(store)
        with open(store, "r+b") as f:
            fcntl.lockf(f, fcntl.LOCK_EX, 512, 0x40000000)      # the bytes that SQLite locks
            host.start(wait=False)
            np.until("it to be said", lambda: "event=store_failed" in open(host.log).read())
            s = np.until("its status", lambda: (s := host.status()) and s["sources"][0]["state"] == "lost" and s)
            assert not s["ready"] and s["durable"] is False and "locked" in s["not_durable"]["why"], s
        host.await_ready()
        answers(host, "one")
        assert os.path.getsize(store) == size and not os.path.exists(store + ".bad-1")
        os.rename(host.resources + ".away", host.resources)
        host.service("shop/web", 80, [two.port])
        answers(host, "two")
        alarm_ends(host)
        host.backends.clear()


PARTS = ("full", "limited", "read_only", "removed", "unreadable")


def main():
    """All parts side by side, since each mostly waits; or the one that is named."""
    if sys.argv[1:]:
        globals()[sys.argv[1]](np.Backend("one"), np.Backend("two"))
        return
    runs = {p: subprocess.Popen([sys.executable, __file__, p], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for p in PARTS}
    said = {p: r.communicate()[0] for p, r in runs.items()}
    skipped = [p for p, r in runs.items() if r.returncode == 77]
    failed = [p for p, r in runs.items() if r.returncode not in (0, 77)]
    for p in failed + skipped:
        print(f"---- {p}: exit {runs[p].returncode}\n{said[p]}")
    print("store: disk full, limited, read-only, removed, spoilt: " + (f"FAILED: {failed}" if failed else
          "served all the time, and written when it could be"))
    sys.exit(1 if failed else 77 if skipped else 0)


main()
