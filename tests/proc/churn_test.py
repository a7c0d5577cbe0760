#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Random changes of the routing state, broken documents among them, while clients send requests: not
one request fails, no process grows or keeps a descriptor, and in the end everybody serves the last state
and what is broken is named.  150 changes, with NP_FULL=1 a thousand (a minute); NP_SEED chooses them.

The pace is the system's: the next change is made when a few requests more were answered, and every tenth
time when the workers serve the last one, which is looked at by a change that cannot be overlooked."""
import contextlib
import http.client
import json
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.environ.get("top_srcdir", "."), "tests/lib"))
import np  # noqa: E402

np.only_in_tiers("process")
np.need_root()
SEED = int(os.environ.get("NP_SEED", "1"))
FULL = os.environ.get("NP_FULL", "") not in ("", "0")
CHANGES = 1000 if FULL else 150
GROWTH_KIB = 4096       # of a process between the middle and the end; a leak of a view per change would be more
SANITIZED = b"__asan_init" in open(os.path.join(np.BUILD, "nodeproxy/nodeproxy"), "rb").read()
dice = random.Random(SEED)


class Client(threading.Thread):
    """Asks for good until told to stop; counts answers and keeps what went wrong."""

    def __init__(self, port, path):
        super().__init__(daemon=True)
        self.port, self.path, self.answers, self.wrong, self.stop = port, path, 0, [], False

    def run(self):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        while not self.stop:
            try:
                c.request("GET", self.path)
                r = c.getresponse()
                body = r.read()
                if r.status != 200 or not body.endswith(self.path.encode() + b"\n"):
                    self.wrong.append((r.status, dict(r.getheaders()), body[:80]))
                self.answers += 1
            except (OSError, http.client.HTTPException) as e:
                self.wrong.append(repr(e))
                c.close()
        c.close()


def service(name, ports, broken=""):
    """A Service and a slice with an endpoint per port; broken: a line that makes the Service wrong."""
    text = (f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n{broken}"
            f"  ports: [{{name: main, port: 80, appProtocol: http}}]\n")
    for i, p in enumerate(ports):
        text += (f"---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
                 f"metadata: {{name: {name}-{i}, namespace: shop, labels: {{kubernetes.io/service-name: {name}}}}}\n"
                 f"addressType: IPv4\nports: [{{name: main, port: {p}}}]\nendpoints: [{{addresses: [127.0.0.1]}}]\n")
    return text


def route(to):
    return ("apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r, namespace: shop}\n"
            "spec:\n  parentRefs: [{group: '', kind: Service, name: web, port: 80}]\n  rules:\n"
            f"  - matches: [{{path: {{type: PathPrefix, value: /}}}}]\n    backendRefs: [{{name: {to}, port: 80}}]\n")


def sizes(pids):
    """{pid: (name, PSS in KiB, open descriptors)} of our processes."""
    found = {}
    for p in pids:
        with contextlib.suppress(OSError):
            pss = next(int(x.split()[1]) for x in open(f"/proc/{p}/smaps_rollup") if x.startswith("Pss:"))
            found[p] = (pids[p], pss, len(os.listdir(f"/proc/{p}/fd")))
    return found


def main():
    with np.Host(workers=2) as host:
        clients = []
        ports = [host.backend(n).port for n in ("one", "two", "three")]

        def requests(n):
            """Waits until every client has been answered n times more."""
            want = [c.answers + n for c in clients]
            np.until("answers", lambda: all(c.answers >= w or c.wrong for c, w in zip(clients, want)))

        def some():
            return dice.sample(ports, dice.randint(1, len(ports)))

        def write_slowly(name, text):
            """In place and in two parts, as editors and copies do it: half a document may be seen."""
            with open(os.path.join(host.resources, name), "w") as f:
                half = dice.randrange(len(text))
                f.write(text[:half])
                f.flush()
                if dice.random() < 0.3:
                    requests(10)        # while half of it is there
                f.write(text[half:])

        def remove(name):
            try:
                os.unlink(os.path.join(host.resources, name))
            except FileNotFoundError:
                pass

        def change():
            k = dice.randrange(12)
            side = f"side-{dice.randrange(30)}"
            if k <= 2:
                host.write("web.yaml", service("web", some()))
            elif k == 3:
                host.write("web.yaml", service("web", some(), "  nonsense: 1\n"))
            elif k == 4:
                host.write("web.yaml", service("web", some()) + "---\n{{{ not: [yaml\n")
            elif k == 5:
                write_slowly("web.yaml", service("web", some()))
            elif k == 6:
                host.write("zz-again.yaml", service("web", some()))     # a second one: refused
            elif k == 7:
                remove("zz-again.yaml")
            elif k == 8:
                host.write("route.yaml", route(dice.choice(["web", "api"])))
            elif k == 9:
                host.write("api.yaml", service("api", some(), dice.choice(["", "", "  wrong: {}\n"])))
            elif k == 10:
                host.write(side + ".yaml", service(side, some(), dice.choice(["", "  x: y\n"])))
            else:
                remove(side + ".yaml")

        host.write("web.yaml", service("web", ports))
        host.write("api.yaml", service("api", ports))
        host.start()
        clients += [Client(host.port, f"/{n}") for n in "abc"]
        for c in clients:
            c.start()

        began, made, middle, seen = time.monotonic(), 0, None, 0
        while made < CHANGES:
            change()
            made += 1
            requests(3)
            if made % 10 == 0:
                # Addresses of their own, so that each of these changes is a view of its own.
                host.write("probe.yaml", service("probe", [20000 + made]))
                np.until(f"change {made} in all workers", lambda: f":{20000 + made}" in json.dumps(
                    host.ctl_json("get", "endpoints")) and len({w["rev"] for w in host.status()["workers"]}) == 1)
                seen += 1
            if made == CHANGES // 2:
                middle = sizes(host.pids())
        end = sizes(host.pids())
        took = time.monotonic() - began
        remove("probe.yaml")
        # The end state: one broken document, everything else as it should be.
        remove("zz-again.yaml")
        host.write("web.yaml", service("web", ports[:1]))
        host.write("api.yaml", service("api", ports[:1]))
        host.write("route.yaml", route("api"))
        for i in range(30):
            remove(f"side-{i}.yaml")
        host.write("broken.yaml", service("late", [], "  nonsense: 1\n"))

        def at_rest():
            r = host.ctl_json("get", "sources")
            s = host.status()
            revs = {w["rev"] for w in s["workers"]}
            return (r["sources"][0]["accepted"] == 5 and [x["source"] for x in r["refused"]] == ["broken.yaml"] and
                    revs == {s["view_rev"]} and r["rev"] == s["view_rev"] and (r, s))

        def only_one():
            return all(host.get("/z").body == b"one /z\n" for _ in range(8))
        r, s = np.until("the last state everywhere", at_rest)
        np.until("only the last endpoint", only_one)
        for c in clients:
            c.stop = True
        for c in clients:
            c.join(10)
        wrong = [w for c in clients for w in c.wrong]
        answers = sum(c.answers for c in clients)
        print(f"churn: {made} changes in {took:.0f} s, {seen} of them looked for, {r['rev']} revisions, {answers} requests, "
              f"{len(wrong)} failed, seed {SEED}; change ms {json.dumps(r['timings_ms']['change'])}")
        for p, (name, kib, fds) in sorted(end.items()):
            print(f"  {name} {p}: {middle[p][1]} -> {kib} KiB, {middle[p][2]} -> {fds} descriptors")
            # What is in flight, a view being handed over or a connection of the pool, comes and goes.
            assert fds <= middle[p][2] + 16, f"{name} {p} keeps descriptors"
            assert SANITIZED or kib <= middle[p][1] + GROWTH_KIB, f"{name} {p} grows"
        assert set(end) == set(middle), "somebody was replaced"
        assert not wrong, wrong[:5]
        assert answers > 200 and r["rev"] > seen
        assert r["refused"][0]["line"] == 5 and r["refused"][0]["field"] == "spec.nonsense", r["refused"]
        assert s["failed_rev"] == 0 and all(w["restarts"] == 0 and w["panics"] == 0 for w in s["workers"]), s["workers"]
        assert all(p["restarts"] == 0 for p in s["processes"]), s["processes"]


main()
