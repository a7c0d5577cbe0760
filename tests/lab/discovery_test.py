#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Discovery: a Service that selects labels has the captured pods of all hosts of a real etcd as endpoints."""
import contextlib
import json
import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab   # noqa: E402
import etcd  # noqa: E402
import np    # noqa: E402

ROOT = "/nodeproxy/default/"
SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
           "spec": {"clusterIP": "10.96.0.1", "selector": {"app": "web"},
                    "ports": [{"name": "main", "port": 80, "protocol": "TCP", "appProtocol": "tcp", "targetPort": 8080}]}}


def workload(c, pod, labels, **spec):
    c.put(f"{ROOT}ns/shop/nodeproxy.io/Workload/{pod.name}", {
        "apiVersion": "nodeproxy.io/v1alpha1", "kind": "Workload",
        "metadata": {"name": pod.name, "namespace": "shop", "labels": labels},
        "spec": {"networkNamespace": pod.netns, "serviceAccount": "web", "node": pod.host.np.node, **spec}})


def endpoints(host):
    """(address, ready, terminating, node, zone) of shop/web as the host's workers have them."""
    return sorted((e["address"], e["ready"], e["terminating"], e["node"], e["zone"])
                  for e in host.np.api("endpoints")["endpoints"] if e["service"] == "web")


def said(c, pod):
    """What its host says of it; None: nothing."""
    out = c.ctl("get", "--print-value-only", f"{ROOT}node/{pod.host.np.node}/pod/shop/{pod.name}")
    return json.loads(out) if out.strip() else None


def key_of(c, pod):
    """As etcd has it: lease, create_revision."""
    kvs = json.loads(c.ctl("get", "-w", "json", f"{ROOT}node/{pod.host.np.node}/pod/shop/{pod.name}")).get("kvs")
    return kvs[0] if kvs else {"lease": None}


def lease_of(c, pod):
    return key_of(c, pod)["lease"]


def not_missed(mesh, c, pod, want, again):
    """Its host, or a process of it, comes again; all the time the other host has the same endpoints."""
    before = key_of(c, pod)
    again(pod.host.np)

    def under_another_lease():
        assert endpoints(mesh.hosts[0]) == want
        return lease_of(c, pod) not in (None, before["lease"])
    np.until("its keys are under another lease", under_another_lease)
    assert key_of(c, pod)["create_revision"] == before["create_revision"]
    np.until("it has all itself", lambda: endpoints(pod.host) == want)


def kill_syncd(host):
    os.kill(next(p for p, comm in host.pids().items() if comm == "nodeproxy-syncd"), signal.SIGKILL)


def restart(host):
    assert host.stop() == 0
    host.start()


def upgrade(host):
    r = host.ctl("upgrade")
    assert r.returncode == 0, r.stderr


@contextlib.contextmanager
def hosts_of_one_etcd(hosts, pods):
    """The mesh, not started yet, and the etcd that is on its wire."""
    with lab.Lab(hosts=hosts, pods=pods, ipv6=False) as mesh:
        lab.ip("addr add 10.99.0.254/24 dev br0", "link set lo up", ns=mesh.wire)
        with etcd.Cluster(1, address="10.99.0.254", inside=["nsenter", f"--net={lab.RUN}/{mesh.wire}"]) as c:
            for h in mesh.hosts:
                h.np.node = f"host-{h.number}"
                h.np.config += f"\nzone: zone-{h.number}"
                h.np.source = f"{{kind: etcd, endpoints: ['{c.endpoints()[0]}']}}"
            yield mesh, c


@contextlib.contextmanager
def two_hosts(pods=2):
    with hosts_of_one_etcd(2, pods) as (mesh, c):
        c.put(f"{ROOT}ns/shop/core/Service/web", SERVICE)
        mesh.start()
        yield mesh, c


def pods_of_all_hosts_are_endpoints():
    with two_hosts() as (mesh, c):
        client, near, far, other = mesh.hosts[0].pods + mesh.hosts[1].pods
        with near.serve(8080), far.serve(8080):
            workload(c, client, {"app": "client"})
            workload(c, near, {"app": "web"})
            workload(c, far, {"app": "web"})
            workload(c, other, {"app": "other"})
            want = [(f"{near.ip4}:8080", True, False, "host-0", "zone-0"), (f"{far.ip4}:8080", True, False, "host-1", "zone-1")]
            for h in mesh.hosts:
                np.until("both are endpoints", lambda h=h: endpoints(h) == sorted(want))
            answers = {client.ask("10.96.0.1", 80) for _ in range(20)}
            assert answers == {f"{p.name} hello\n".encode() for p in (near, far)}, answers

            # A host that starts again is not missed, nor is one that is upgraded, or whose process starts again.
            for again in (kill_syncd, upgrade, restart):
                not_missed(mesh, c, far, sorted(want), again)

            # What another host says of an address takes it from both, and says so.
            lie = said(c, far)
            lie["metadata"]["name"], lie["spec"]["node"], lie["spec"]["pod"] = "liar.host-9", "host-9", "liar"
            c.put(f"{ROOT}node/host-9/pod/shop/liar", lie)
            np.until("it is no endpoint", lambda: [e[0] for e in endpoints(mesh.hosts[0])] == [f"{near.ip4}:8080"])
            assert "is no endpoint of either" in json.dumps(mesh.hosts[0].np.ctl_json("get", "sources")["refused"])
            c.ctl("del", f"{ROOT}node/host-9/pod/shop/liar")
            np.until("it is again", lambda: endpoints(mesh.hosts[0]) == sorted(want))

            # One whose Workload goes is said to drain, and then gone.
            c.ctl("del", f"{ROOT}ns/shop/nodeproxy.io/Workload/{far.name}")
            np.until("it drains", lambda: (f"{far.ip4}:8080", False, True, "host-1", "zone-1") in endpoints(mesh.hosts[0]))
            np.until("it is gone", lambda: endpoints(mesh.hosts[0]) == want[:1] and said(c, far) is None)


def the_pods_of_a_host_that_is_dead_go_with_its_lease():
    with two_hosts(pods=1) as (mesh, c):
        near, far = mesh.pods
        workload(c, near, {"app": "web"}), workload(c, far, {"app": "web"})
        np.until("both are endpoints", lambda: len(endpoints(mesh.hosts[0])) == 2)
        lease = lease_of(c, far)
        os.kill(mesh.hosts[1].np.keeper(), signal.SIGKILL)
        mesh.hosts[1].np.process.wait(20)
        assert said(c, far)
        c.ctl("lease", "revoke", f"{lease:x}")       # as etcd does by itself when its time is over
        np.until("it is gone", lambda: [e[0] for e in endpoints(mesh.hosts[0])] == [f"{near.ip4}:8080"])


def with_files_those_of_the_host_are():
    with lab.Lab(pods=2, ipv6=False) as mesh:
        client, server = mesh.pods
        host = mesh.hosts[0].np
        host.write("web.yaml", json.dumps(SERVICE))
        mesh.start()
        client.add("--label", "app=client"), server.add("--label", "app=web")
        np.until("it is an endpoint", lambda: [e[0] for e in endpoints(mesh.hosts[0])] == [f"{server.ip4}:8080"])
        with server.serve(8080):
            assert client.ask("10.96.0.1", 80) == f"{server.name} hello\n".encode()
        host.write("other.yaml", json.dumps(dict(SERVICE, metadata={"name": "other", "namespace": "shop"},
                                                 spec=dict(SERVICE["spec"], clusterIP="10.96.0.2"))))
        np.until("another Service has it, too", lambda: "other" in json.dumps(host.api("endpoints")))
        server.remove()
        np.until("it is gone", lambda: not endpoints(mesh.hosts[0]))


TESTS = [pods_of_all_hosts_are_endpoints, the_pods_of_a_host_that_is_dead_go_with_its_lease, with_files_those_of_the_host_are]

if __name__ == "__main__":
    np.need_root()
    np.only_in_tiers("process")
    etcd.need()
    for test in TESTS:
        if len(sys.argv) > 1 and test.__name__ not in sys.argv[1:]:
            continue
        began = time.monotonic()
        test()
        print(f"ok {test.__name__} {time.monotonic() - began:.1f} s", flush=True)
