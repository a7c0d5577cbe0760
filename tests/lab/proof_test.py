#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""That pods are captured is proven from inside them, and what passes them untouched is counted."""
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402
import np   # noqa: E402

# Each is something that somebody in the pod who may do all there (CAP_NET_ADMIN) can put before our rules.
SHADOWS = {
    "a mark": "chain c { type filter hook output priority mangle; meta l4proto tcp meta mark set 0x539; }",
    "no tracking": "chain c { type filter hook output priority raw; meta l4proto tcp notrack; }",
    "a drop, of IPv6 alone": "chain c { type filter hook output priority filter; meta nfproto ipv6 meta l4proto tcp drop; }",
}


def pods(host):
    return {p["name"]: p for p in host.np.api("pods")["pods"]}


def checks(host):
    found = json.loads(host.np.ctl("check", "-o", "json").stdout)["findings"]
    return [(f["check"], f["where"]) for f in found if f["check"] == "pod_not_captured"]


def metric(pod, name, **labels):
    host = pod.host
    return lab.inside(host.ns, lambda: host.np.metric(name, pod=pod.name, **labels))


@contextlib.contextmanager
def shadow(pod, text):
    def nft(command):
        subprocess.run(["nsenter", f"--net={pod.netns}", "nft", command], check=True)
    nft(f"table inet shadow {{\n {text}\n }}\n")
    yield
    nft("delete table inet shadow")


def guess(pod):
    """What somebody in the pod may do: dials the address, with whatever token."""
    def dial():
        for token in range(1, 50):
            with socket.socket() as s, contextlib.suppress(ConnectionResetError):
                s.settimeout(lab.SYNC)
                s.connect(("192.0.2.15", token))
                s.recv(1)
    lab.inside(pod.ns, dial)
    np.until("what is too much to be counted", lambda: 0 < sum(
        r["count"] for r in pod.host.np.api("reasons")["reasons"] if r["reason"] == "OWN_PORT"))


def passed(pod):
    p = pods(pod.host)[pod.name]
    return {f"{way} {what}": p[way][f"passed_{what}_total"] for way in ("out", "in") for what in ("other", "link_local")}


def what_passes_is_counted(one, other):
    def server():
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(lab.SYNC)
        s.bind((other.ip4, 5353))
        return s

    def talk(at):
        for _ in range(3):              # flows
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.settimeout(lab.SYNC)
                s.connect((other.ip4, 5353))
                for _ in range(8):      # packets
                    s.send(b"there")
                    data, peer = at.recvfrom(64)
                    at.sendto(data + b" and back", peer)
                    assert s.recv(64) == b"there and back" and peer[0] == one.ip4

    def dial_on_the_link():
        with socket.socket(socket.AF_INET6) as s, contextlib.suppress(ConnectionRefusedError):
            s.settimeout(lab.SYNC)
            s.connect((":".join(link[i:i + 4] for i in range(0, 32, 4)), 9, 0, socket.if_nametoindex("eth0")))

    def links():
        return [a.split() for a in open("/proc/thread-self/net/if_inet6")]
    was, was_other = passed(one), passed(other)
    with lab.inside(other.ns, server) as at:
        lab.inside(one.ns, lambda: talk(at))
    link = next(a[0] for a in lab.inside(one.host.ns, links) if a[0].startswith("fe80") and a[5] == f"p{one.number}")
    lab.inside(one.ns, dial_on_the_link)
    np.until("three flows out", lambda: passed(one)["out other"] >= was["out other"] + 3)
    np.until("three flows in", lambda: passed(other)["in other"] >= was_other["in other"] + 3)
    np.until("a flow on the link", lambda: passed(one)["out link_local"] > was["out link_local"])
    assert passed(one)["out other"] < was["out other"] + 24, "packets are not counted"
    assert metric(one, "nodeproxy_pod_passed_flows_total", direction="out", what="other") >= 3


def what_goes_before_our_rules_is_found_and_forgotten():
    with lab.Lab(pods=len(SHADOWS) + 3, config="timeouts: {drain: 2000}\npods: {check: 0}") as mesh:
        host = mesh.hosts[0]
        shadowed, (well, other, still) = mesh.pods[:-3], mesh.pods[-3:]
        lab.ip(f"route del default via 10.100.{still.number}.1", f"route del default via fd10:0:{still.number}::1", ns=still.ns)
        mesh.start()
        for p in mesh.pods:
            p.add()
        guess(well)
        with contextlib.ExitStack() as stack:
            for p, text in zip(shadowed, SHADOWS.values()):
                stack.enter_context(shadow(p, text))
            assert {p["proof"] for p in pods(host).values()} == {"not proven"}
            host.np.config = host.np.config.replace("check: 0", "check: 1000")
            host.np.write_config()
            assert host.np.ctl("reload").returncode == 0
            what_passes_is_counted(well, other)
            for p, what in zip(shadowed, SHADOWS):
                np.until(f"{what} to be found", lambda p=p: ("pod_not_captured", f"shop/{p.name}") in checks(host))
                told = pods(host)[p.name]
                assert told["proof"] == "failed" and told["failed_unix_ms"] > 0, told
                assert metric(p, "nodeproxy_pod_captured") == 0
            assert len(checks(host)) == len(SHADOWS)
            assert host.np.ctl("check").returncode == 1
        for p in mesh.pods[:-1]:
            np.until(f"{p.name} to be proven", lambda p=p: pods(host)[p.name]["proof"] == "proven")
            assert metric(p, "nodeproxy_pod_captured") == 1
            assert pods(host)[p.name]["failed_unix_ms"] is None
        # There is no way out of it, which is its own affair.
        told = host.np.ctl("get", "pods").stdout
        assert re.search(rf"{still.name} .* not proven +- ", told), told
        assert checks(host) == []
        # Said once as it changes; nobody else's traffic, and no line of its own.
        log = open(host.np.log).read()
        for event in ("pod_not_captured", "pod_proven"):
            told = re.findall(rf"event={event} pod=(\S+)", log)
            assert sorted(told) == [f"shop/{p.name}" for p in shadowed], (event, told)
        assert re.search(rf"event=pod_not_captured pod=shop/{shadowed[-1].name} ipv4=1 ipv6=0", log)
        assert all(p["out"]["connections_total"] == 0 for p in pods(host).values())
        assert "192.0.2.15" not in open(host.np.access_log).read()


TESTS = [what_goes_before_our_rules_is_found_and_forgotten]

if __name__ == "__main__":
    np.need_root()
    np.only_in_tiers("process")
    for test in TESTS:
        if len(sys.argv) > 1 and test.__name__ not in sys.argv[1:]:
            continue
        began = time.monotonic()
        test()
        print(f"ok {test.__name__} {time.monotonic() - began:.1f} s", flush=True)
