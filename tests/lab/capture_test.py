#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""How captured pods of a namespace are treated: its modes, whose address applications see, the way to
pods of the same host."""
import ipaddress
import os
import re
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402
import np   # noqa: E402


def namespace(host, name="shop", **modes):
    """Writes the Namespace with these modes, _ for -."""
    labels = ", ".join(f"nodeproxy.io/{k.replace('_', '-')}: {v}" for k, v in modes.items())
    host.np.write(f"namespace-{name}.yaml",
                  f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n")


def modes(pod):
    """Of a captured pod, as the master has them."""
    p = next((p for p in pod.host.np.api("pods")["pods"] if p["name"] == pod.name), None)
    return p and p["modes"]


def has(pod, **want):
    want = {k.replace("_", "-"): v for k, v in want.items()}
    np.until(f"{pod.name} to have {want}, not {modes(pod)}", lambda: want.items() <= (modes(pod) or {}).items())


def die(host, comm):
    """A process of the host is killed, and there is another one."""
    def pid():
        return next((p for p, c in host.np.pids().items() if c == comm), None)
    was = pid()
    os.kill(was, 9)
    np.until(f"another {comm}", lambda: pid() not in (None, was))


def modes_follow_the_namespace_and_outlive_everybody():
    with lab.Lab(pods=2) as mesh:
        pod, own = mesh.pods
        host = pod.host
        namespace(host, when_away="closed", source_address="proxy-protocol")
        mesh.start()
        pod.add(), own.add("--label", "app=web,nodeproxy.io/source-address=own")
        has(pod, when_away="closed", source_address="proxy-protocol", same_host="direct")
        has(own, when_away="closed", source_address="own")
        described = host.np.ctl_json("describe", "namespace", "shop")["modes"]
        assert described == {"unknown-destination": "pass", "same-host": "direct", "when-away": "closed",
                             "source-address": "proxy-protocol"}, described
        r = host.np.ctl("pod", "add", "bad", "--namespace", "shop", "--netns", pod.netns, "--label", "nodeproxy.io/when-away=open")
        assert r.returncode == 2 and "only the label source-address" in r.stderr, r.stderr

        namespace(host, when_away="closed", same_host="veth")       # live
        has(pod, source_address="preserve", same_host="veth")
        has(own, source_address="own", same_host="veth")

        # What happens while one of them is away is told when it is back.
        for comm, mode in (("nodeproxy-syncd", "direct"), ("nodeproxy-mastr", "veth"), ("nodeproxy-syncd", "direct")):
            die(host, comm)
            namespace(host, when_away="closed", same_host=mode)
            has(pod, when_away="closed", same_host=mode)
        os.remove(os.path.join(host.np.resources, "namespace-shop.yaml"))
        has(pod, when_away="open")
        namespace(host, when_away="closed")
        has(pod, when_away="closed")

        # And all of it from the last start, without the source.
        host.np.stop()
        os.rename(host.np.resources, host.np.resources + ".away")
        host.np.start()
        np.until("the pods to be back", lambda: modes(pod) and modes(own))
        has(pod, when_away="closed", source_address="preserve")
        has(own, when_away="closed", source_address="own")


def unknown_destinations_are_denied_live():
    with lab.Lab(hosts=2, pods=1) as mesh:
        (client,), (known,) = mesh.hosts[0].pods, mesh.hosts[1].pods
        host = client.host.np
        nobody = "10.99.0.2", "fd99::2"     # the other host's own
        mesh.service("shop/web", 80, [known])
        namespace(client.host, unknown_destination="deny")
        mesh.start()
        client.add()

        def refused(address, said=b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"):
            with client.dial(address, 9999) as s:
                s.sendall(said)
                try:
                    return s.recv(4096) or b"end"
                except ConnectionResetError:
                    return b""

        def explained(address):
            return host.ctl("explain", f"http://{address}/", "--from", "shop/" + client.name).stdout

        with known.serve(8080), known.serve(9999):
            for family, address in zip(("", "/6"), known.addresses):
                assert client.ask(mesh.vip["shop/web" + family], 80) == b"pod10 hello\n"
                assert client.ask(address, 9999) == b"pod10 hello\n"       # an endpoint's, be it at another port
            assert "an endpoint has the address" in explained(f"{known.ip4}:9999"), explained(f"{known.ip4}:9999")
            for address in nobody:
                answer = refused(address)
                assert answer.startswith(b"HTTP/1.1 502 ") and b"nodeproxy.io/unknown-destination" in answer, answer
                assert refused(address, b"\x16\x03\x01 no HTTP, and more of it") == b"", "a reset"
            said = explained("10.99.0.2:9999")
            assert "UNKNOWN_DESTINATION" in said and "unknown-destination: deny" in said, said
            np.until("four lines", lambda: 4 == len(re.findall(
                "listener=out:pod00 service=- .* reason=UNKNOWN_DESTINATION flag=UH", open(host.access_log).read())))

            namespace(client.host, unknown_destination="pass")
            server = lab.inside(known.host.ns, lambda: socket.create_server(("10.99.0.2", 9999)))
            with server:
                np.until("it to pass", lambda: "as it was dialled" in explained("10.99.0.2:9999"))
                client.dial("10.99.0.2", 9999).close()
                assert server.accept()[1][0] == client.ip4


def policy_routing(pod):
    """What we have put into its namespace for answers, of both families; chains of our table."""
    def out(*words, there=True):
        r = subprocess.run(["nsenter", f"--net={pod.netns}", *words], capture_output=True, text=True)
        assert r.returncode == 0 or not there, r.stderr
        return r.stdout
    found = [line for f in ("-4", "-6") for line in out("ip", f, "rule").splitlines() if "15006" in line]
    for f in ("-4", "-6"):
        r = subprocess.run(["nsenter", f"--net={pod.netns}", "ip", f, "route", "show", "table", "15006"], capture_output=True, text=True)
        found += r.stdout.splitlines()
    chains = re.findall(r"chain (\w+)", out("nft", "list", "table", "inet", "nodeproxy", there=False))
    return len(found), "answers" in chains and "callers" in chains


def told(c):
    """A line that says what the PROXY protocol says: family, caller, destination."""
    head = b""
    while len(head) < 16:
        head += c.recv(16 - len(head))
    rest = b""
    while len(rest) < head[15]:
        rest += c.recv(head[15] - len(rest))
    six = head[13] == 0x21
    n, family_of = (16, socket.AF_INET6) if six else (4, socket.AF_INET)
    ports = struct.unpack("!HH", rest[2 * n:])
    addresses = [socket.inet_ntop(family_of, rest[i * n:][:n]) for i in range(2)]
    c.sendall(f"{head[:13].hex()} {head[13]:x} {addresses[0]} {ports[0]} {addresses[1]} {ports[1]}\n".encode())
    lab.read_line(c)


def saw(server, *addresses):
    """The last caller had one of these addresses."""
    last = ipaddress.ip_address(server.seen[-1])
    return last in map(ipaddress.ip_address, addresses)


def applications_see_their_caller():
    with lab.Lab(hosts=2, pods=2) as mesh:
        (client, near), (far, _) = mesh.hosts[0].pods, mesh.hosts[1].pods
        mesh.service("shop/near", 80, [near])
        mesh.service("shop/far", 80, [far])
        mesh.start()
        with near.serve(8080) as at_near, far.serve(8080) as at_far:
            client.add(), near.add(), far.add()
            for pod in (near, far):
                assert policy_routing(pod) == (4, True), policy_routing(pod)
            for i, family in enumerate(("", "/6")):
                assert client.ask(mesh.vip["shop/near" + family], 80) == b"pod01 hello\n"
                assert client.ask(mesh.vip["shop/far" + family], 80) == b"pod10 hello\n"
                assert saw(at_near, client.ip4), at_near.seen       # endpoints are of the first clusterIP's family
                assert client.ask(far.addresses[i], 8080) == b"pod10 hello\n"
                assert saw(at_far, client.addresses[i]), at_far.seen
                # one that nobody captured, and the host itself
                assert mesh.hosts[1].pods[1].ask(far.addresses[i], 8080) == b"pod10 hello\n"
                assert saw(at_far, mesh.hosts[1].pods[1].addresses[i]), at_far.seen
                probe = lab.inside(far.host.ns, lambda i=i: socket.create_connection((far.addresses[i], 8080), lab.SYNC))
                with probe:
                    probe.sendall(b"ready?\n")
                    assert lab.read_line(probe) == b"pod10 ready?\n"
                assert saw(at_far, f"10.{100 + far.host.number}.{far.number}.1", f"fd10:{far.host.number}:{far.number}::1"), at_far.seen
            # what a pod does itself to connections that are made inside comes first
            r = subprocess.run(["nsenter", f"--net={near.netns}", "nft", "-f", "-"], text=True, capture_output=True, input=(
                f"table ip own {{ chain output {{ type nat hook output priority -100; oif lo tcp dport 8081 dnat to {near.ip4}:8080\n}}\n}}\n"))
            assert r.returncode == 0, r.stderr
            assert client.ask(near.ip4, 8081) == b"pod01 hello\n" and saw(at_near, client.ip4), at_near.seen
            # many at once, from ports that connections of the other side have, too
            held = [client.dial(far.ip4, 8080) for _ in range(60)]
            for i, s in enumerate(held):
                s.sendall(b"%d\n" % i)
                assert lab.read_line(s) == b"pod10 %d\n" % i
            for s in held:
                s.close()
            far.remove()
            np.until("nothing of ours in it", lambda: policy_routing(far) == (0, False))
            near.host.np.stop()
            assert policy_routing(near) == (0, False), policy_routing(near)


def an_application_is_told_its_caller_or_not_at_all():
    with lab.Lab(hosts=2, pods=1, config="timeouts: {drain: 2s}") as mesh:
        (client,), (server,) = mesh.hosts[0].pods, mesh.hosts[1].pods
        namespace(server.host, source_address="proxy-protocol")
        mesh.start()
        client.add(), server.add()
        has(server, source_address="proxy-protocol")
        assert policy_routing(server) == (0, False), policy_routing(server)
        with server.serve(9000, fn=told):
            for a, f in zip(server.addresses, (0x11, 0x21)):
                with client.dial(a, 9000) as s:
                    s.sendall(b"first\n")
                    line = lab.read_line(s).decode().split()
                    assert line[:2] == ["0d0a0d0a000d0a515549540a21", f"{f:x}"], line
                    assert list(map(ipaddress.ip_address, line[2:6:2])) == [ipaddress.ip_address(b) for b in (client.addresses[f == 0x21], a)], line
                    assert line[5] == "9000" and int(line[3]) > 1023, line
        with server.serve(8080) as at:
            namespace(server.host, source_address="own")
            has(server, source_address="own")
            np.until("its own address", lambda: client.ask(server.ip4, 8080) == b"pod10 hello\n" and saw(at, server.ip4))
            assert client.ask(server.ip6, 8080) == b"pod10 hello\n" and saw(at, server.ip6)
            namespace(server.host)          # and live: shown
            np.until("the caller's", lambda: client.ask(server.ip4, 8080) == b"pod10 hello\n" and saw(at, client.ip4))
            assert policy_routing(server) == (4, True)
            held = client.dial(server.ip6, 8080)
            held.sendall(b"held\n")
            assert lab.read_line(held) == b"pod10 held\n" and saw(at, client.ip6)
            namespace(server.host, source_address="own")    # not any more: what runs is given timeouts.drain
            np.until("its own address", lambda: client.ask(server.ip4, 8080) == b"pod10 hello\n" and saw(at, server.ip4))
            held.sendall(b"still\n")
            assert lab.read_line(held) == b"pod10 still\n"
            np.until("nothing of ours in it", lambda: policy_routing(server) == (0, False), 15)
            try:
                assert held.recv(1) == b""
            except ConnectionResetError:
                pass
            np.until("its line", lambda: "reason=ORIGIN_CHANGED" in open(server.host.np.access_log).read())
            # a pod's own label counts before its namespace's
            server.add("--label", "nodeproxy.io/source-address=preserve")
            np.until("the caller's", lambda: client.ask(server.ip4, 8080) == b"pod10 hello\n" and saw(at, client.ip4))


TESTS = [modes_follow_the_namespace_and_outlive_everybody, unknown_destinations_are_denied_live, applications_see_their_caller,
         an_application_is_told_its_caller_or_not_at_all]

if __name__ == "__main__":
    np.need_root()
    np.only_in_tiers("process")
    for test in TESTS:
        if len(sys.argv) > 1 and test.__name__ not in sys.argv[1:]:
            continue
        began = time.monotonic()
        test()
        print(f"ok {test.__name__} {time.monotonic() - began:.1f} s", flush=True)
