#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""The n-th allocation or system call of one process fails, once; n = 1.. until the scenario passes
untouched (NP_FULL=1, or NP_FULL=sys for one class), or a sample of n that covers the run (default).

Whatever fails, the host gets ready, serves, takes a change, drains and leaves nothing behind.  The
process itself may refuse a request with a reason or die and be replaced; only an instance that
cannot even start may leave, with a message."""
import os
import random
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.environ.get("top_srcdir", "."), "tests/lib"))
import np  # noqa: E402

np.only_in_tiers("process")
np.need_root()
PRELOAD = os.path.join(np.BUILD, "tests/lib/fault.so")
if b"__asan_init" in open(os.path.join(np.BUILD, "nodeproxy/nodeproxy"), "rb").read():
    np.skip("a sanitized build brings its own allocator: runs in the plain build")
FULL = os.environ.get("NP_FULL", "")     # 1: every n; alloc or sys: every n of that class
SEED = int(os.environ.get("NP_SEED", "1"))
# Keeper and master (NP_PROGRAMS=nodeproxy) only on demand: without memory at their very start,
# libseccomp 2.5 may loop for ever inside seccomp_load(), before anything of ours runs.
PROGRAMS = os.environ.get("NP_PROGRAMS", "nodeproxy-worker nodeproxy-syncd nodeproxy-admind").split()


def scenario(program, kind, n):
    """Runs once with a fault; how many calls there were, and whether it fired."""
    with np.Host(workers=1, config="timeouts: {drain: 2000}\nrespawn: {min: 1, max: 100}") as host:
        state = os.path.join(host.dir, "fault")
        with open(state, "wb") as f:
            f.write(bytes(16))
        host.env = dict(LD_PRELOAD=PRELOAD, NP_FAULT_PROGRAM=program, NP_FAULT_CLASS=kind, NP_FAULT_N=str(n),
                        NP_FAULT_FILE=state)
        one, two = host.backend("one"), host.backend("two")
        host.service("shop/web", 80, [one.port])
        host.start(wait=False)
        try:
            try:
                host.await_ready()
            except AssertionError:
                if program != "nodeproxy" or host.process.poll() is None:
                    raise
                # The keeper or the first master could not start: it must have said why.
                words = open(host.log).read()
                assert "level=error" in words or "level=crit" in words or "nodeproxy:" in words, f"left with {host.process.returncode} in silence"
                host.start()        # the fault has fired: a second try must work

            def serves(name):
                return host.get("/x").body == f"{name} /x\n".encode()
            np.until("an answer", lambda: serves("one"))
            host.service("shop/web", 80, [two.port])
            np.until("the change to be served", lambda: serves("two"))
            np.until("an answer to check", lambda: host.ctl("check").returncode in (0, 1))
            pids = host.pids()
            code = host.stop()
            assert code == 0, f"exit code {code}"
            left = [p for p in pids if os.path.exists(f"/proc/{p}") and
                    open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()[0] != "Z"]
            assert not left, f"left behind: {left}"
            # Libraries may crash on an allocation that fails (libseccomp) or abort (libev): the
            # process is replaced.  Our own assertions must hold, and a ready worker stays.
            words = open(host.log, errors="replace").read()
            assert 'what="must' not in words, "an assertion failed"
            served = words.partition("event=ready ")[2]
            assert "event=child_died child=worker" not in served, "a worker that served has died"
        except BaseException:
            print(f"{program}: {kind} number {n} failed")
            raise
        count, fired, _ = struct.unpack("<QII", open(state, "rb").read())
        return count, bool(fired)


def main():
    subprocess.run(["true"], check=True)
    dice = random.Random(SEED)
    total = 0
    for program in PROGRAMS:
        for kind in ("alloc", "sys"):
            calls, fired = scenario(program, kind, 1 << 60)
            assert not fired
            if FULL in ("1", kind):
                wanted = range(1, calls + 1)
            else:
                # The number of system calls depends on timing: a sample of them would be another
                # one each time, so make check fails allocations only.
                steps = 5 if kind == "alloc" else 0
                wanted = sorted({min(calls, round(calls * (i + dice.random()) / steps) or 1) for i in range(steps if calls else 0)})
            for n in wanted:
                scenario(program, kind, n)
                total += 1
            print(f"{program}: {kind}: {calls} calls, {len(wanted)} of them failed in turn", flush=True)
    print(f"fault: {total} faults survived")


main()
