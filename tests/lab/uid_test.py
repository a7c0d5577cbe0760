#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Processes of a uid in the host's own network namespace: what they dial is captured."""
import contextlib
import json
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402
import np   # noqa: E402

UID, OTHER = 54321, 54322
DIAL = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as s:
        s.sendall(b"hello\\n")
        print(s.makefile("rb").readline().decode().strip() or "hung up", end="")
except OSError as e:
    print(type(e).__name__, end="")
"""


def dial(host, uid, address, port):
    """By a process of that user on the host: what it was answered, or how it failed."""
    r = subprocess.run(["nsenter", f"--net={lab.RUN}/{host.ns}", "setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups",
                        sys.executable, "-c", DIAL, address, str(port)], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    return r.stdout


def add(daemon, uid, name="batch", *more):
    return daemon.ctl("pod", "add", name, "--namespace", "shop", "--service-account", "batch", "--uid", str(uid), *more)


def ruleset(host):
    r = subprocess.run(["nsenter", f"--net={lab.RUN}/{host.ns}", "nft", "list", "ruleset"], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    return r.stdout


def tables(host):
    return re.findall(r"table inet (\S+)", ruleset(host))


def shown(daemon, name="batch"):
    return next((p for p in daemon.api("pods")["pods"] if p["name"] == name), None)


def captured(daemon, n):
    np.until(f"{n} connections of it", lambda: shown(daemon)["out"]["connections_total"] == n)


def when_away(daemon, mode):
    daemon.write("namespace-shop.yaml", f"apiVersion: v1\nkind: Namespace\n"
                 f"metadata: {{name: shop, labels: {{nodeproxy.io/when-away: {mode}}}}}\n")


def kill_all(daemon):
    pids = [daemon.keeper(), *daemon.pids()]
    for number in (19, 9):
        for p in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(p, number)
    daemon.process.wait(np.DEADLINE)
    np.until("all of them are gone", lambda: not any(os.path.exists(f"/proc/{p}") for p in pids))


def what_a_user_dials_is_captured():
    with lab.Lab(pods=1, config="timeouts: {drain: 2000}\nnames: {resolv_conf: /dev/null}") as mesh:
        host, (server,) = mesh.hosts[0], mesh.pods
        lab.ip("route add default dev wire", "route add ::/0 dev wire", ns=host.ns)       # as hosts have
        mesh.service("shop/web", 80, [server])
        mesh.start()
        for uid, words in ((0, "all processes of a uid but 0"), (2 ** 32 - 1, "there is no such uid")):
            r = add(host.np, uid)
            assert r.returncode == 2 and words in r.stderr, r.stderr
        r = add(host.np, UID, "batch", "--netns", server.netns)
        assert r.returncode == 2 and "either in a network namespace, or all processes of a uid" in r.stderr, r.stderr
        worker = next(int(re.search(r"^Uid:\s+(\d+)", open(f"/proc/{p}/status").read(), re.M)[1])
                      for p, name in host.np.pids().items() if name.startswith("nodeproxy-work"))
        r = add(host.np, worker)
        assert r.returncode == 2 and f"uid {worker} is an account of nodeproxy itself" in r.stderr, r.stderr

        assert dial(host, UID, mesh.vip["shop/web"], 80) != "pod00 hello"
        assert add(host.np, UID).returncode == 0
        # nobody is to be asked by the host's resolv.conf, which is no concern of this one
        found = json.loads(host.np.ctl("check", "-o", "json").stdout)["findings"]
        assert shown(host.np)["names"] is None and "names_unasked" not in [f["check"] for f in found]
        r = add(host.np, UID, "again")
        assert r.returncode == 1 and f"uid {UID} is captured already, as pod shop/batch" in r.stderr, r.stderr
        p = shown(host.np)
        assert (p["uid"], p["netns"], p["ipv6"], p["service_account"]) == (UID, None, True, "batch"), p
        with server.serve(8080):
            for family in ("", "/6"):
                assert dial(host, UID, mesh.vip["shop/web" + family], 80) == "pod00 hello"
            for a in server.addresses:
                assert dial(host, UID, a, 8080) == dial(host, OTHER, a, 8080) == dial(host, 0, a, 8080) == "pod00 hello"
            captured(host.np, 4)                                # of nobody else

            # its port is nobody's to dial
            port = re.search(r"redirect to :(\d+)", ruleset(host))[1]
            for uid in (UID, OTHER):
                for a in ("127.0.0.1", "::1"):
                    assert dial(host, uid, a, port) in ("ConnectionResetError", "hung up")
            np.until("it is proven", lambda: shown(host.np)["proof"] == "proven")

            # masters come and go
            before = shown(host.np)["since_unix_ms"]
            os.kill(next(p for p, name in host.np.pids().items() if name == "nodeproxy-mastr"), 9)
            np.until("it is there with its workers", lambda: (shown(host.np) or {"workers": 0})["workers"])
            assert shown(host.np)["since_unix_ms"] == before
            assert dial(host, UID, mesh.vip["shop/web"], 80) == "pod00 hello"

            # the same by a Workload, once the order's is gone
            host.np.write("workload.yaml", "apiVersion: nodeproxy.io/v1alpha1\nkind: Workload\n"
                          f"metadata: {{name: job, namespace: shop}}\nspec: {{uid: {UID}}}\n")
            np.until("why not", lambda: "is captured already, as pod shop/batch" in (shown(host.np, "job") or {"problem": ""})["problem"])
            assert host.np.ctl("pod", "remove", "batch", "--namespace", "shop").returncode == 0
            np.until("it is captured", lambda: shown(host.np, "job")["captured"])
            assert dial(host, UID, mesh.vip["shop/web"], 80) == "pod00 hello"
            os.unlink(os.path.join(host.np.resources, "workload.yaml"))
            np.until("no rules", lambda: tables(host) == [])
            assert dial(host, UID, server.ip4, 8080) == "pod00 hello"


def one_uid_is_of_one_nodeproxy_and_closed_when_all_are_away():
    with lab.Lab(pods=1) as mesh:
        host, (server,) = mesh.hosts[0], mesh.pods
        mesh.start()
        with np.Host(workers=1, wrapper=host.np.wrapper) as second, server.serve(8080):
            second.start()
            assert add(host.np, UID).returncode == 0
            r = add(second, UID)
            assert r.returncode == 1 and f"another nodeproxy of this network namespace captures uid {UID}" in r.stderr, r.stderr
            assert add(second, OTHER).returncode == 0
            for uid in (UID, OTHER):
                assert dial(host, uid, server.ip4, 8080) == "pod00 hello"
            captured(host.np, 1)
            captured(second, 1)

            # closed: of the one that is killed, and of nobody else
            when_away(host.np, "closed")
            np.until("a table that stays", lambda: f"nodeproxy-uid-{UID}-away" in tables(host))
            kill_all(host.np)
            np.until("the others are there", lambda: sorted(tables(host)) == [f"nodeproxy-uid-{UID}-away", f"nodeproxy-uid-{OTHER}"])
            for a in server.addresses:
                assert dial(host, UID, a, 8080) == "ConnectionRefusedError"
                assert dial(host, OTHER, a, 8080) == "pod00 hello"
            host.np.start()
            np.until("it is there with its workers", lambda: (shown(host.np) or {"workers": 0})["workers"])
            assert dial(host, UID, server.ip4, 8080) == "pod00 hello"
            captured(host.np, 1)

            # open: it passes
            when_away(host.np, "open")
            np.until("no table that stays", lambda: f"nodeproxy-uid-{UID}-away" not in tables(host))
            kill_all(host.np)
            np.until("its table is gone", lambda: tables(host) == [f"nodeproxy-uid-{OTHER}"])
            assert dial(host, UID, server.ip4, 8080) == "pod00 hello"


TESTS = [what_a_user_dials_is_captured, one_uid_is_of_one_nodeproxy_and_closed_when_all_are_away]

if __name__ == "__main__":
    np.need_root()
    np.only_in_tiers("process")
    for test in TESTS:
        if len(sys.argv) > 1 and test.__name__ not in sys.argv[1:]:
            continue
        began = time.monotonic()
        test()
        print(f"ok {test.__name__} {time.monotonic() - began:.1f} s", flush=True)
