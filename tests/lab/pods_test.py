#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Pods whose traffic is captured in their own network namespaces, on hosts that form a mesh."""
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402
import np   # noqa: E402

# Of protocols in which the server speaks first.
GREETINGS = {
    "SMTP": b"220 mail.example ESMTP\r\n",
    "MySQL": b"\x4a\x00\x00\x00\x0a8.0.36\x00\x08\x00\x00\x00" + bytes(range(1, 9)) + b"\x00\xff\xff\xff\x02\x00\xff\xdf\x15" + bytes(10) +
             bytes(range(9, 21)) + b"\x00caching_sha2_password\x00",
    "NATS": b'INFO {"server_id":"N","version":"2.10.0","max_payload":1048576}\r\n',
}

def counted(pod, way):
    """Connections that were captured so far, out of the pod or in to it."""
    pods = pod.host.np.api("pods")["pods"]
    return next(p[way]["connections_total"] for p in pods if p["name"] == pod.name)


def captured(pod, way, n):
    np.until(f"{n} connections {way} of {pod.name}", lambda: counted(pod, way) >= n)
    assert counted(pod, way) == n, (pod.name, way, counted(pod, way))


def reset(s):
    """The connection ends by a reset, or at once, without a byte."""
    try:
        return s.recv(1) == b""
    except ConnectionResetError:
        return True


def refused(pod, address, port):
    """Nobody is there, or one who hangs up without a word."""
    try:
        s = pod.dial(address, port)
    except (ConnectionRefusedError, ConnectionResetError):
        return True
    with s:
        return reset(s)


def captured_to_captured_on_one_host_and_on_two():
    with lab.Lab(hosts=2, pods=2) as mesh:
        client, near = mesh.hosts[0].pods
        far = mesh.hosts[1].pods[0]
        mesh.service("shop/near", 80, [near])
        mesh.service("shop/far", 80, [far])
        mesh.start()
        for pod in (client, near, far):
            pod.add()
            assert pod.rules()
        with near.serve(8080), far.serve(8080):
            for family in ("", "/6"):
                assert client.ask(mesh.vip["shop/near" + family], 80) == b"pod01 hello\n"
                assert client.ask(mesh.vip["shop/far" + family], 80) == b"pod10 hello\n"
            assert client.ask(far.ip4, 8080) == b"pod10 hello\n"      # a pod's own address
            assert client.ask(far.ip6, 8080) == b"pod10 hello\n"
        captured(client, "out", 6)
        captured(near, "in", 2)
        captured(far, "in", 4)
        np.until("the lines of two connections", lambda: 2 == len(re.findall(
            "listener=out:pod00 service=shop/near:80 .* reason=DONE ", open(mesh.hosts[0].np.access_log).read())))


def only_one_side_captured_and_the_host_probes():
    with lab.Lab(hosts=2, pods=1) as mesh:
        (one,), (other,) = mesh.hosts[0].pods, mesh.hosts[1].pods
        mesh.service("shop/other", 80, [other])
        mesh.start()
        one.add()
        with one.serve(8080), other.serve(8080) as server:
            assert one.ask(mesh.vip["shop/other"], 80) == b"pod10 hello\n"
            assert server.seen == [one.ip4]
            for a in one.addresses:
                assert other.ask(a, 8080) == b"pod00 hello\n"       # nobody captured the caller
            assert one.ask(one.ip4, 8080) == b"pod00 hello\n"       # it calls itself: not captured
            probe = lab.inside(one.host.ns, lambda: socket.create_connection((one.ip4, 8080), lab.SYNC))
            with probe:
                probe.sendall(b"ready?\n")
                assert lab.read_line(probe) == b"pod00 ready?\n"
        captured(one, "out", 1)
        captured(one, "in", 3)


def pods_of_one_family():
    for only, family in (("ipv6", "/6"), ("ipv4", "")):
        with lab.Lab(hosts=2, pods=1, **{f: f == only for f in ("ipv4", "ipv6")}) as mesh:
            (client,), (server,) = mesh.hosts[0].pods, mesh.hosts[1].pods
            mesh.service("shop/web", 80, [server])
            # its other addresses cannot be reached from there, and nobody tries
            for h in mesh.hosts:
                text = open(os.path.join(h.np.resources, "shop-web.yaml")).read()
                other, kind = ("10.9.9.9", "IPv4") if only == "ipv6" else ("fd09::9", "IPv6")
                h.np.write("shop-web.yaml", text + f"""---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-other, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}
addressType: {kind}
ports: [{{name: main, port: 8080, protocol: TCP}}]
endpoints: [{{addresses: ['{other}']}}]
""")
            mesh.start()
            client.add(), server.add()
            with server.serve(8080):
                for _ in range(8):
                    assert client.ask(mesh.vip["shop/web" + family], 80) == b"pod10 hello\n"
            captured(client, "out", 8)
            captured(server, "in", 8)


def the_server_speaks_first_and_silent_clients():
    with lab.Lab(pods=2) as mesh:
        client, server = mesh.pods
        mesh.service("shop/mail", 25, [server], target=2525)
        mesh.service("shop/auto", 26, [server], target=2525, app="")
        mesh.start()
        client.add(), server.add()
        ways = ((mesh.vip["shop/mail"], 25), (mesh.vip["shop/auto"], 26), (server.ip6, 2525))
        for hello in GREETINGS.values():
            with server.serve(2525, hello=hello):
                for address, port in ways:
                    with client.dial(address, port) as s:
                        assert s.recv(len(hello), socket.MSG_WAITALL) == hello
                        s.sendall(b"quit\n")
                        assert lab.read_line(s) == b"pod01 quit\n"
        # Nobody says anything, until the one or the other does.
        with server.serve(2525, fn=lambda c: c.sendall(c.recv(1))) as at:
            for n, (address, port) in enumerate(ways, 1):
                with client.dial(address, port) as s:
                    np.until("the server to have it", lambda n=n: len(at.open) == n)
                    s.sendall(b"x")
                    assert s.recv(1) == b"x"


def half_close_works_both_ways():
    def total(c):
        n = 0
        while more := c.recv(65536):
            n += len(more)
        c.sendall(b"%d\n" % n)      # after its end, before ours

    with lab.Lab(hosts=2, pods=1) as mesh:
        (client,), (server,) = mesh.hosts[0].pods, mesh.hosts[1].pods
        mesh.start()
        client.add(), server.add()
        with server.serve(8080, fn=total), client.dial(server.ip4, 8080) as s:
            for _ in range(64):
                s.sendall(bytes(65536))
            s.shutdown(socket.SHUT_WR)
            assert lab.read_line(s) == b"%d\n" % (64 * 65536)
            assert s.recv(1) == b""
        got = []

        def bye_first(c):
            c.sendall(b"bye\n")
            c.shutdown(socket.SHUT_WR)
            got.append(sum(len(more) for more in iter(lambda: c.recv(65536), b"")))
        with server.serve(8080, fn=bye_first), client.dial(server.ip4, 8080) as s:
            assert lab.read_line(s) == b"bye\n" and s.recv(1) == b""
            for _ in range(64):
                s.sendall(bytes(65536))
            s.shutdown(socket.SHUT_WR)
            np.until("all of it", lambda: got == [64 * 65536])


def connections_that_exist_stay_and_those_of_a_pod_that_leaves_end():
    with lab.Lab(hosts=2, pods=1) as mesh:
        (client,), (server,) = mesh.hosts[0].pods, mesh.hosts[1].pods
        mesh.start()
        with server.serve(8080) as at:
            old = client.dial(server.ip4, 8080)
            old.sendall(b"before\n")
            assert lab.read_line(old) == b"pod10 before\n"
            client.add(), server.add()
            new = client.dial(server.ip4, 8080)
            for s in (old, new):
                s.sendall(b"after\n")
                assert lab.read_line(s) == b"pod10 after\n"
            captured(client, "out", 1)
            client.remove()
            assert reset(new), "the client's end"
            np.until("the server's end", lambda: at.open[-1].fileno() == -1)
            np.until("no rules in it", lambda: not client.rules())
            old.sendall(b"still\n")
            assert lab.read_line(old) == b"pod10 still\n"
            assert client.ask(server.ip4, 8080) == b"pod10 hello\n"
            assert [p["name"] for p in client.host.np.api("pods")["pods"]] == []


def a_pod_that_is_deleted_in_mid_transfer_ends_on_both_sides():
    with lab.Lab(hosts=2, pods=1) as mesh:
        (client,), (server,) = mesh.hosts[0].pods, mesh.hosts[1].pods
        mesh.start()
        client.add(), server.add()

        def pour(c):
            while True:
                c.sendall(bytes(65536))
        with server.serve(8080, fn=pour), client.dial(server.ip4, 8080) as s:
            assert s.recv(1000)
            # as a container runtime does it: DEL, then the namespace goes; nobody is left to say goodbye
            server.remove()
            server.delete()

            def ended():
                try:
                    return s.recv(1 << 20) == b""
                except ConnectionResetError:
                    return True
            deleted = time.monotonic()
            np.until("the client to learn it", ended)
            print(f"    the client knew {1000 * (time.monotonic() - deleted):.0f} ms after the server's pod was gone")
        # Its path is another namespace's now, and so is its name; there the client's pod goes.
        server.build_again()
        server.add()
        ends = []

        def drain(c):
            c.sendall(b"!")
            try:
                while c.recv(1 << 20):
                    pass
            except ConnectionResetError:
                pass
            ends.append(time.monotonic())
        with server.serve(8080, fn=drain), client.dial(server.ip4, 8080) as s:
            assert s.recv(1) == b"!"
            captured(server, "in", 1)
            s.sendall(bytes(1 << 16))
            client.remove()
            client.delete()
            deleted = time.monotonic()
            np.until("the server to learn it", lambda: ends)
            print(f"    the server knew {1000 * (ends[0] - deleted):.0f} ms after the client's pod was gone")
        # without a word to us: it is found out
        server.delete()
        np.until("the pod to be missed", lambda: server.host.np.api("pods")["pods"] == [])


def a_name_moves_to_another_namespace():
    with lab.Lab(pods=2) as mesh:
        first, second = mesh.pods
        mesh.start()
        first.add("--label", "a=1")
        first.add("--label", "a=2")                 # the same again: what is said now counts
        pods = first.host.np.api("pods")["pods"]
        assert [p["labels"] for p in pods] == ["a=2"], pods
        r = first.host.np.ctl("pod", "add", "other", "--namespace", "shop", "--netns", first.netns)
        assert r.returncode == 1 and "captured already, as pod shop/pod00" in r.stderr, r.stderr
        r = first.host.np.ctl("pod", "add", first.name, "--namespace", "shop", "--netns", second.netns)
        assert r.returncode == 0, r.stderr
        assert second.rules()
        np.until("the first to be free", lambda: not first.rules())
        for netns, words in (("/proc/self/ns/net", "network namespace of nodeproxy itself"), ("/dev/null", "not a namespace"),
                             ("/nowhere", "No such file"), ("here", "absolute path")):
            r = first.host.np.ctl("pod", "add", "bad", "--namespace", "shop", "--netns", netns)
            assert r.returncode in (1, 2) and words in r.stderr, (netns, r.returncode, r.stderr)
        # a runtime that is late to say that the one before is gone
        r = first.host.np.ctl("pod", "remove", first.name, "--namespace", "shop", "--netns", first.netns)
        assert r.returncode == 1 and "in another network namespace" in r.stderr and second.rules(), r.stderr
        r = first.host.np.ctl("pod", "remove", "nobody", "--namespace", "shop")
        assert r.returncode == 1 and "no pod shop/nobody" in r.stderr, r.stderr


def a_process_names_the_namespace():
    with lab.Lab(pods=1) as mesh:
        pod, host = mesh.pods[0], mesh.hosts[0].np
        mesh.start()
        # another user's, as those of pods are
        process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net={pod.netns}",
                                    "setpriv", "--reuid", "64999", "--clear-groups", "sleep", "1000"])
        try:
            np.until("sleep", lambda: open(f"/proc/{process.pid}/comm").read() == "sleep\n")
            r = host.ctl("pod", "add", "by-pid", "--namespace", "shop", "--pid", str(process.pid))
            assert r.returncode == 0, r.stderr
            assert pod.rules()
        finally:
            process.kill()
            process.wait()
        np.until("the pod to be missed", lambda: host.api("pods")["pods"] == [] and not pod.rules())


def hostile_pods_reach_nobody_through_our_ports():
    with lab.Lab(hosts=2, pods=2) as mesh:
        inside, neighbour = mesh.hosts[0].pods
        stranger = mesh.hosts[1].pods[0]
        mesh.start()
        inside.add(), neighbour.add()
        for port in (15001, 15006, 15008, 15053):
            for address in ("127.0.0.1", "::1", inside.ip4, inside.ip6):
                assert refused(inside, address, port), (address, port)
            for address in (inside.ip4, inside.ip6):
                for caller in (neighbour, stranger):
                    assert refused(caller, address, port), (caller.name, address, port)
        reasons = {r["reason"]: r["count"] for r in inside.host.np.api("reasons")["reasons"]}
        assert reasons["OWN_PORT"] >= 20, reasons

        # Nobody takes our ports, or joins their groups.
        def bind(address, port):
            s = socket.socket(lab.family(address))
            with s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                s.bind((address, port))
                s.listen(1)
        for address, port in (("127.0.0.1", 15001), ("0.0.0.0", 15001), ("::1", 15001), (inside.ip4, 15006), ("0.0.0.0", 15006)):
            try:
                lab.inside(inside.ns, lambda a=address, p=port: bind(a, p))
                raise AssertionError(f"{address} {port} was taken")
            except OSError as e:
                assert e.errno == 98, (address, port, e)
        # Who had them before is not captured, and it is said why; likewise where our table is.
        with stranger.serve(15006):
            r = stranger.host.np.ctl("pod", "add", "late", "--namespace", "shop", "--netns", stranger.netns)
            assert r.returncode == 1 and "cannot listen on port 15006" in r.stderr and not stranger.rules(), r.stderr
        for command, added in (("add table inet nodeproxy", False), ("delete table inet nodeproxy", True)):
            subprocess.run(["nsenter", f"--net={stranger.netns}", "nft", command], check=True)
            r = stranger.host.np.ctl("pod", "add", "late", "--namespace", "shop", "--netns", stranger.netns)
            assert (r.returncode == 0) == added and (added or "a table inet nodeproxy of somebody else" in r.stderr), r.stderr

        # The rules are not for it to change.
        r = subprocess.run(["nsenter", f"--net={inside.netns}", "nft", "flush ruleset; delete table inet nodeproxy"], capture_output=True)
        assert r.returncode != 0 and inside.rules()

        # A mark is no key: what must hold is enforced where it goes.
        with neighbour.serve(8080):
            def marked():
                s = socket.socket()
                s.settimeout(lab.SYNC)
                s.setsockopt(socket.SOL_SOCKET, 36, struct.pack("i", 0x539))    # SO_MARK
                s.connect((neighbour.ip4, 8080))
                return s
            with lab.inside(inside.ns, marked) as s:
                s.sendall(b"x\n")
                assert lab.read_line(s) == b"pod01 x\n"
            captured(inside, "out", sum(p["out"]["connections_total"] for p in inside.host.np.api("pods")["pods"] if p["name"] == inside.name))
            assert counted(neighbour, "in") >= 1


def a_burst_is_served_by_sockets_that_come_in_time():
    with lab.Lab(pods=2) as mesh:
        client, server = mesh.pods
        mesh.service("shop/web", 80, [server])
        mesh.start()
        client.add(), server.add()
        with server.serve(8080):
            held = [client.dial(mesh.vip["shop/web"], 80) for _ in range(200)]
            for s in held:
                s.sendall(b"hello\n")
            for s in held:
                assert lab.read_line(s) == b"pod01 hello\n"
                s.close()
        captured(client, "out", 200)
        captured(server, "in", 200)
        reasons = {r["reason"]: r["count"] for r in client.host.np.api("reasons")["reasons"]}
        assert "NO_POD_SOCKET" not in reasons, reasons


def many_come_at_once():
    with lab.Lab(pods=24) as mesh:
        mesh.start()
        threads = [threading.Thread(target=p.add) for p in mesh.pods]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        host = mesh.hosts[0].np
        assert len(host.api("pods")["pods"]) == 24
        assert all(p.rules() for p in mesh.pods)
        with mesh.pods[7].serve(8080):
            for p in mesh.pods[:7]:
                assert p.ask(mesh.pods[7].ip4, 8080) == b"pod07 hello\n"


def requests_are_handled_as_those_of_a_listener():
    def http(c):
        f = c.makefile("rb")
        while line := f.readline():
            headers = b""
            while (h := f.readline()) not in (b"\r\n", b""):
                headers += h
            body = line + headers
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    with lab.Lab(pods=3) as mesh:
        client, other, server = mesh.pods
        mesh.service("shop/web", 80, [server], app="http")
        mesh.start()
        client.add(), other.add()
        with server.serve(8080, fn=http) as at:
            for pod in (client, other):
                with pod.dial(mesh.vip["shop/web"], 80) as s:
                    for path in (b"/one", b"/two"):
                        s.sendall(b"GET %s HTTP/1.1\r\nHost: web\r\n\r\n" % path)
                        got = b""
                        while b"X-Forwarded-For" not in got or not got.endswith(b"\r\n"):
                            got += s.recv(4096)
                        assert b"HTTP/1.1 200 " in got and b"X-Forwarded-For: %s\r\n" % pod.ip4.encode() in got, got
            # one connection for both requests, and none for two pods
            assert sorted(at.seen) == sorted([client.ip4, other.ip4]), at.seen
        np.until("the lines of its requests", lambda: 2 == len(re.findall(
            "listener=out:pod00 service=shop/web:80 route=- method=GET .* status=200 ", open(client.host.np.access_log).read())))


def pods_outlive_masters_and_workers():
    with lab.Lab(pods=2) as mesh:
        client, server = mesh.pods
        host = mesh.hosts[0].np
        mesh.service("shop/web", 80, [server])
        mesh.start()
        client.add(), server.add()
        with server.serve(8080):
            held = client.dial(server.ip4, 8080)

            def works():
                assert client.ask(mesh.vip["shop/web"], 80) == b"pod01 hello\n"
                assert len(host.api("pods")["pods"]) == 2
                return True

            def pid(comm):
                return next((p for p, c in host.pids().items() if c == comm), None)
            works()
            was = pid("nodeproxy-mastr")
            os.kill(was, 9)
            np.until("another master", lambda: pid("nodeproxy-mastr") not in (None, was))
            np.until("ready", lambda: host.status()["ready"])
            works()
            held.sendall(b"held\n")
            assert lab.read_line(held) == b"pod01 held\n", "the connection outlived the master"
            for w in host.status()["workers"]:
                os.kill(w["pid"], 9)
            np.until("other workers", lambda: np.until("works", works))
            r = host.ctl("drain")
            assert r.returncode == 0, r.stderr
            np.until("drained", lambda: works() and host.status()["ready"])
            r = host.ctl("upgrade")
            assert r.returncode == 0, r.stderr
            works()
            np.until("the old master to leave", lambda: list(host.pids().values()).count("nodeproxy-mastr") == 1)
            client.remove()
            was = pid("nodeproxy-mastr")
            os.kill(was, 9)         # in the middle of it
            np.until("no rules in it", lambda: not client.rules())
            np.until("another master", lambda: pid("nodeproxy-mastr") not in (None, was) and host.status()["ready"])
            os.unlink(f"{host.dir}/run/pods")       # the list of before a stop: with the next change it is whole again
            client.add()
            works()
        host.stop()
        np.until("no rules in them", lambda: not client.rules() and not server.rules())
        server.delete()         # meanwhile its name goes to another namespace
        server.build_again()
        host.start()
        np.until("the one that is still there", lambda: [p["name"] for p in host.api("pods")["pods"]] == [client.name])
        assert client.rules() and not server.rules()
        np.until("the other one to be looked for", lambda: re.search(rf"event=pod_not_back pod=shop/{server.name} ", open(host.log).read()))
        with server.serve(8080):
            works_alone = client.ask(mesh.vip["shop/web"], 80)
            assert works_alone == b"pod01 hello\n"
        host.ctl("pod", "remove", client.name, "--namespace", "shop")
        host.stop()
        host.start()
        assert host.api("pods")["pods"] == []


def a_keeper_that_is_killed_leaves_pods_free():
    with lab.Lab(pods=2) as mesh:
        client, server = mesh.pods
        mesh.start()
        client.add(), server.add()
        with server.serve(8080):
            assert client.ask(server.ip4, 8080) == b"pod01 hello\n"
            os.kill(mesh.hosts[0].np.keeper(), 9)
            mesh.hosts[0].np.process.wait(np.DEADLINE)
            np.until("no rules in them", lambda: not client.rules() and not server.rules())
            assert client.ask(server.ip4, 8080) == b"pod01 hello\n"


TESTS = [captured_to_captured_on_one_host_and_on_two, only_one_side_captured_and_the_host_probes, pods_of_one_family,
         the_server_speaks_first_and_silent_clients, half_close_works_both_ways,
         connections_that_exist_stay_and_those_of_a_pod_that_leaves_end,
         a_pod_that_is_deleted_in_mid_transfer_ends_on_both_sides, a_name_moves_to_another_namespace,
         a_process_names_the_namespace, hostile_pods_reach_nobody_through_our_ports,
         many_come_at_once, requests_are_handled_as_those_of_a_listener, a_burst_is_served_by_sockets_that_come_in_time,
         pods_outlive_masters_and_workers, a_keeper_that_is_killed_leaves_pods_free]

if __name__ == "__main__":
    np.need_root()
    np.only_in_tiers("process")
    for test in TESTS:
        if len(sys.argv) > 1 and test.__name__ not in sys.argv[1:]:
            continue
        began = time.monotonic()
        test()
        print(f"ok {test.__name__} {time.monotonic() - began:.1f} s", flush=True)
