#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""The measures of tests/bench/survival, a few times each: whose connections are cut when a process
dies, is upgraded or reads its file again, and what is left afterwards.  Nothing here depends on the
speed of the machine: who waited for how long is printed, and judged by the bench only."""
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import np  # noqa: E402
import survive  # noqa: E402

np.only_in_tiers("process")
survive.own_network()
TIMES = int(os.environ.get("NP_TIMES", "2"))
SPEED = ("waited over", "memory grows")


def main():
    names = sys.argv[1:] or list(survive.MEASURES)
    if subprocess.run(survive.PID_1 + ["true"], capture_output=True).returncode != 0:
        print("    without PID 1: no pid namespaces here")
        names = [n for n in names if not n.startswith("pid1")]
    failed = False
    names = [n for n in names if not survive.missing(n)]
    for name in names:
        began = time.monotonic()
        r = survive.run(name, TIMES, control_s=0, drain_ms=1000, keep=32, new=100, ws=4, streams=4, think_us=2000)
        no = [x for x in r["not_held"] if not any(w in x for w in SPEED)]
        failed |= bool(no)
        n = r["numbers"]
        print(f"{'FAILED' if no else 'ok'} {name} ({time.monotonic() - began:.1f} s): {n['answers']} answers, own {r['own']}, "
              f"young {r['young']}, told {n['told']}, longest connect {n['connect_us']['max'] / 1000:.0f} ms "
              f"{'; '.join(no)}", flush=True)
        if no:
            print(r["blamed"] or r["events"][:5])
    return failed


sys.exit(main())
