#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""A source directory of nonsense: pipes, devices, endless files, loops of links, more events than the
kernel keeps, and something else than a directory.  The master never waits, what is wrong is refused by
name, everything else goes on, and what is put right is served."""
import os
import signal
import stat
import sys

sys.path.insert(0, os.path.join(os.environ.get("top_srcdir", "."), "tests/lib"))
import np  # noqa: E402

np.only_in_tiers("process")
np.need_root()


def refused(host):
    return {r["source"]: r["reason"] for r in host.ctl_json("get", "sources")["refused"]}


def answers(host, name):
    np.until(f"answers of {name}", lambda: host.get("/x").body == f"{name} /x\n".encode())


def strange_files(host, one, two):
    def at(name):
        return os.path.join(host.resources, name)
    want = {"pipe.yaml": "is not a regular file", "folder.yaml": "is not a regular file",
            "socket.yaml": "is not a regular file", "loop.yaml": "cannot be read: Too many levels of symbolic links",
            "endless.yaml": "a file of more than 16777216 bytes", "to-pipe.yaml": "is not a regular file"}
    os.mkfifo(at("pipe.yaml"))
    os.symlink("pipe.yaml", at("to-pipe.yaml"))
    os.mkdir(at("folder.yaml"))
    os.mknod(at("socket.yaml"), stat.S_IFSOCK | 0o600)
    os.symlink("loop.yaml", at("loop.yaml"))
    os.symlink("nowhere", at("dangling.yaml"))          # as good as not there
    try:
        os.mknod(at("zero.yaml"), stat.S_IFCHR | 0o600, os.makedev(1, 5))
        want["zero.yaml"] = "is not a regular file"
    except PermissionError:
        print("no device among them: may not make one")
    with open(at("endless.yaml"), "wb") as f:
        f.truncate(1 << 40)
    host.service("shop/web", 80, [two.port])
    answers(host, "two")                                # nobody waits for any of them
    r = np.until("all to be refused", lambda: (r := refused(host)) and set(r) == set(want) and r)
    for name, words in want.items():
        assert words in r[name], (name, r[name])
    # Put right, each is served.
    text = open(at("shop-web.yaml")).read()
    os.rmdir(at("folder.yaml"))
    host.write("pipe.yaml", text.replace("name: web", "name: piped"))
    for name in want:
        if name not in ("pipe.yaml", "to-pipe.yaml", "folder.yaml"):
            os.unlink(at(name))
    os.unlink(at("to-pipe.yaml"))
    np.until("nothing refused", lambda: not refused(host))
    np.until("what was a pipe", lambda: "piped" in host.ctl("get", "services").stdout)
    host.service("shop/web", 80, [one.port])
    answers(host, "one")


def more_events_than_the_kernel_keeps(host, one, two):
    most = int(open("/proc/sys/fs/inotify/max_queued_events").read())
    if most > 100000:
        print("the kernel keeps more events than a short test can make: overflow not tried")
        return
    pid = next(p["pid"] for p in host.status()["processes"] if p["role"] == "syncd")
    for name in ("a.txt", "b.txt"):
        open(os.path.join(host.resources, name), "w").close()
    os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(most // 2 + 10):                 # two that are alike would be one
            for name in ("a.txt", "b.txt"):
                os.utime(os.path.join(host.resources, name))
        host.service("shop/web", 80, [two.port])        # its event is lost
    finally:
        os.kill(pid, signal.SIGCONT)
    answers(host, "two")
    assert next(p["pid"] for p in host.status()["processes"] if p["role"] == "syncd") == pid


def no_directory(host, one, two):
    away = host.resources + ".away"
    for make in (os.mkfifo, lambda p: open(p, "w").close(), lambda p: os.symlink(p, p)):
        os.rename(host.resources, away)
        make(host.resources)
        np.until("the source to be lost", lambda: host.status()["sources"][0]["state"] == "lost")
        answers(host, "two")
        os.unlink(host.resources)
        os.rename(away, host.resources)
        np.until("the source to be back", lambda: host.status()["sources"][0]["state"] == "synced")
    host.service("shop/web", 80, [one.port])
    answers(host, "one")


def main():
    with np.Host(workers=1) as host:
        one, two = host.backend("one"), host.backend("two")
        host.service("shop/web", 80, [one.port])
        host.start()
        answers(host, "one")
        for part in (strange_files, more_events_than_the_kernel_keeps, no_directory):
            part(host, one, two)
            print("ok", part.__name__)
        assert all(p["restarts"] == 0 for p in host.status()["processes"] + host.status()["workers"])
        assert host.status()["master_starts"] == 1


main()
