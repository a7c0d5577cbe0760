#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""What capturing pods costs.

  enrol.py [--pods 500] [--workers 8] [--pairs 100]

Pods are network namespaces with a loopback interface and nothing in them.

  enrol     nodeproxyctl pod add against nft -f of the same rules in such a namespace, by turns; exit 1 when
            the median of the first is more than twice that of the second
  memory    with all pods captured and idle: PSS of all processes, and what the kernel has more (MemFree,
            caches not counted) and its slab, per pod; exit 1 over 64 KiB
  turns     how long the master did not look at its events meanwhile (turns.c), and while they were removed
            and added once more; the CPU's time is what counts when others have the machine, too:
            exit 1 when one of these took over 1 ms of it
"""
import argparse
import ctypes
import os
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402

RUN = "/run/netns"
CTL = None


def sh(*words, **more):
    r = subprocess.run(words, check=False, capture_output=True, text=True, **more)
    if r.returncode:
        raise RuntimeError(f"{' '.join(words)}: {r.stderr}")
    return r.stdout


class Namespaces:
    def __init__(self, n):
        self.prefix = f"npb{os.getpid()}"
        self.names = [f"{self.prefix}-{i}" for i in range(n)]

    def __enter__(self):
        os.makedirs(RUN, exist_ok=True)
        sh("ip", "-batch", "-", input="".join(f"netns add {n}\n" for n in self.names))
        for n in self.names:
            sh("ip", "-n", n, "link", "set", "lo", "up")
        return self

    def __exit__(self, *_):
        subprocess.run(["ip", "-batch", "-"], input="".join(f"netns del {n}\n" for n in self.names), text=True, check=False)


def add(np, name):
    sh(CTL, "-s", np.dir + "/run/admin.sock", "pod", "add", name, "--namespace", "bench", "--netns", f"{RUN}/{name}")


def remove(np, name):
    sh(CTL, "-s", np.dir + "/run/admin.sock", "pod", "remove", name, "--namespace", "bench")


def timed(fn, *words):
    began = time.perf_counter()
    fn(*words)
    return (time.perf_counter() - began) * 1000


def rules_of(name):
    """What somebody would write who puts them by hand: without the owner, which only lasts as long as nft."""
    text = sh("nsenter", f"--net={RUN}/{name}", "nft", "-s", "list", "ruleset")
    return re.sub(r"^\s*flags owner\n|^\s*#.*\n", "", text, flags=re.M)


def enrol(np, names, pairs):
    """Each in a namespace that the other one has not touched."""
    ours, theirs = [], []
    add(np, names[0])
    with tempfile.NamedTemporaryFile("w", suffix=".nft") as f:
        f.write(rules_of(names[0]))
        f.flush()
        for i in range(pairs):
            a, b = names[1 + 2 * i], names[2 + 2 * i]
            first, second = (lambda: ours.append(timed(add, np, a))), (lambda: theirs.append(timed(
                sh, "nsenter", f"--net={RUN}/{b}", "nft", "-f", f.name)))
            for step in (first, second) if i % 2 else (second, first):
                step()
            sh("nsenter", f"--net={RUN}/{b}", "nft", "flush", "ruleset")
    o, t = statistics.median(ours), statistics.median(theirs)
    print(f"enrol     pod add {o:.1f} ms, nft -f {t:.1f} ms (medians of {pairs}): {o / t:.2f} times")
    return o <= 2 * t


def meminfo():
    m = dict(re.findall(r"^(\w+):\s+(\d+)", open("/proc/meminfo").read(), re.M))
    used = int(m["MemTotal"]) - sum(int(m[k]) for k in ("MemFree", "Buffers", "Cached", "SReclaimable")) + int(m["Shmem"])
    return used, int(m["SUnreclaim"]), int(m.get("Percpu", 0))


def slab():
    """KiB by cache."""
    lines = [x.split() for x in open("/proc/slabinfo").read().splitlines()[2:]]
    return {x[0]: int(x[2]) * int(x[3]) / 1024 for x in lines}


def most(after, before, n, count=6):
    each = sorted(((after[k] - before.get(k, 0)) / n, k) for k in after)
    return ", ".join(f"{k} {v:.1f}" for v, k in reversed(each[-count:]) if v >= 0.1)


def settled(np):
    last = None
    for _ in range(20):
        now = (np.memory()["sum"], *meminfo())
        if last and abs(now[0] - last[0]) * 200 <= last[0]:
            return now
        last = now
        time.sleep(1)
    return last


class Turns:
    FORM = struct.Struct("11Q")

    def __init__(self, directory, pid):
        self.path = os.path.join(directory, str(pid))

    def say(self, what):
        with open(self.path, "r+b") as f:
            v = self.FORM.unpack(f.read(self.FORM.size)[:self.FORM.size])
            f.seek(8 * 11)
            f.write(struct.pack("Q", 1))
        print(f"turns     {what}: {v[0]}, the longest {v[3] / 1e6:.2f} ms ({v[4] / 1e6:.2f} of the CPU), over 1 ms {v[1]} ({v[2]}); "
              f"of the CPU the longest fork {v[5] / 1e6:.2f} ms of {v[8]}, rename {v[6] / 1e6:.2f} of {v[9]}, write {v[7] / 1e6:.2f} of {v[10]}")
        return v[2]


def comm(pid):
    try:
        return open(f"/proc/{pid}/comm").read().strip()
    except OSError:
        return ""


def main():
    global CTL
    p = argparse.ArgumentParser()
    p.add_argument("--pods", type=int, default=500)
    p.add_argument("--workers", default="8")
    p.add_argument("--pairs", type=int, default=100)
    a = p.parse_args()
    lab.own_namespace()
    CTL = os.environ.get("NODEPROXYCTL") or os.path.join(os.path.dirname(lab.binary()), "../bin/nodeproxyctl")
    good = True
    with tempfile.TemporaryDirectory(prefix="np-turns-") as tmp, Namespaces(max(a.pods, 2 * a.pairs + 1)) as ns:
        so = os.path.join(tmp, "turns.so")
        sh(os.environ.get("CC", "cc"), "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-shared", "-fPIC", "-o", so, f"{lab.HERE}/turns.c", "-ldl")
        os.environ.update(NP_TURNS=tmp, LD_PRELOAD=so)
        with lab.Nodeproxy({}, [(8080, "default", "default/none:80")], workers=a.workers) as np:
            del os.environ["LD_PRELOAD"]
            master = next(p for p in np.pids() if comm(p).startswith("nodeproxy-mast"))
            turns = Turns(tmp, master)
            before, before_of, before_slab = settled(np), np.memory(), slab()
            captured = set()
            turns.say("at its start")
            if a.pairs:
                good &= enrol(np, ns.names, a.pairs)
                captured = {ns.names[0]} | {ns.names[1 + 2 * i] for i in range(a.pairs)}
            for n in ns.names[:a.pods]:
                if n not in captured:
                    add(np, n)
            good &= turns.say(f"while {len(np.get('pods')['pods'])} were added") == 0
            time.sleep(2)
            after = settled(np)
            n = len(np.get("pods")["pods"])
            pss, used, slab_more, percpu = ((x - y) / n for x, y in zip(after, before))
            print(f"memory    {n} pods, {a.workers} workers: {max(used, pss + slab_more + percpu):.1f} KiB each: PSS {pss:.1f}, slab {slab_more:.1f}, "
                  f"per CPU {percpu:.1f}; in use on the machine {used:.1f}")
            print(f"          PSS: {most({k: v for k, v in np.memory().items() if k != 'sum'}, before_of, n)}")
            print(f"          slab: {most(slab(), before_slab, n, 12)}")
            good &= max(used, pss + slab_more + percpu) <= 64
            turns.say("in an idle while")
            for name in ns.names[:32]:
                remove(np, name)
                add(np, name)
            good &= turns.say(f"while 32 of {n} were removed and added") == 0
    sys.exit(0 if good else 1)


main()
