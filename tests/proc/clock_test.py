#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Clocks that jump: the wall clock by years, forward and back, and the monotonic one by an hour, as a
host does that slept.  Nobody is taken for dead, changes arrive, revisions go forward, no age is
negative or absurd, and the service manager's watchdog is fed."""
import os
import re
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.environ.get("top_srcdir", "."), "tests/lib"))
import np  # noqa: E402

np.only_in_tiers("process")
np.need_root()
PRELOAD = os.path.join(np.BUILD, "tests/lib/clock.so")
HOUR, YEAR = 3600, 365 * 86400


def main():
    with np.Host(workers=2) as host:
        clock = os.path.join(host.dir, "clock")

        def set_clocks(wall_s, mono_s):
            with open(clock, "r+b") as f:
                f.write(struct.pack("<qq", wall_s * 10**9, mono_s * 10**9))

        with open(clock, "wb") as f:
            f.write(bytes(16))
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        manager.bind(os.path.join(host.dir, "notify"))
        manager.settimeout(np.DEADLINE)
        host.env = dict(LD_PRELOAD=PRELOAD, NP_CLOCK_FILE=clock, NOTIFY_SOCKET=os.path.join(host.dir, "notify"),
                        WATCHDOG_USEC="1000000", ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0")
        one, two = host.backend("one"), host.backend("two")
        host.service("shop/web", 80, [one.port])
        host.start()
        began, rev, mono, n = time.monotonic(), host.status()["rev"], 0, 0
        pids = host.pids()
        broken = "apiVersion: v1\nkind: Service\nmetadata: {name: b, namespace: shop}\nspec: {nonsense: 1}\n"

        def fed():
            """The next WATCHDOG=1 that was sent after now."""
            manager.setblocking(False)
            try:
                while True:
                    manager.recv(4096)
            except BlockingIOError:
                manager.settimeout(np.DEADLINE)
            while b"WATCHDOG=1" not in manager.recv(4096):
                pass

        for wall, mono in ((YEAR, 0), (-10 * YEAR, 0), (-HOUR, 0), (0, 0), (0, HOUR), (-HOUR, HOUR), (50 * YEAR, 2 * HOUR)):
            n += 1
            set_clocks(wall, mono)
            for k in range(2):
                name, back = (("one", one), ("two", two))[(n + k) % 2]
                host.service("shop/web", 80, [back.port])
                np.until(f"{name} after {wall}, {mono}", lambda: host.get("/x").body == f"{name} /x\n".encode())
            host.write("broken.yaml", broken if n % 2 else "")
            np.until("the report", lambda: len(host.ctl_json("get", "sources")["refused"]) == n % 2)
            fed()
            s = host.status()
            assert s["rev"] > rev, "revisions go forward"
            rev = s["rev"]
            most = time.monotonic() - began + mono + 60
            for p in [s] + s["workers"] + s["processes"]:
                assert 0 <= p["uptime_seconds"] <= most, (wall, mono, p)
            for w in s["workers"]:
                assert w["restarts"] == 0, (wall, mono, w)
            since = s["sources"][0]["since_unix_ms"] / 1000
            assert -5 < time.time() + wall - since < most, (wall, mono, since, time.time() + wall)
            text = "".join(host.ctl(*w).stdout for w in (["status"], ["get", "sources"], ["get", "workers"], ["check"]))
            assert not re.search(r"-\d+ ?(s|m|h|d)\b", text), text
        assert host.pids() == pids, "somebody was replaced"
        errors = [x for x in open(host.log) if "level=error" in x]
        assert not errors, errors
        assert "event=time_jumped" in open(host.log).read()
        print(f"clock: {n} jumps, {rev} revisions, nobody taken for dead")


main()
