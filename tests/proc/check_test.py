#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""`nodeproxyctl check`: each finding appears when its reason is there and disappears with it.  Facts of
the host that a test must not change (sysctls, kernels) are in tests/unit/admin/test_finding.c; what
other tests make happen is listed below with where."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import np  # noqa: E402

np.only_in_tiers("process")
np.need_root()
CONFIG = "timeouts: {drain: 2000}\nrespawn: {min: 1, max: 50}"
# name -> the test that makes it appear
ELSEWHERE = dict.fromkeys("pidfd memfd seccomp close_range reuseport landlock somaxconn tw_reuse syncookies ports files_host nr_open "
                          "clock fds_settings capabilities admin_away state_full".split(), "tests/unit/admin/test_finding.c")
ELSEWHERE.update(dict.fromkeys("not_ready waiting view_behind bad_messages accounts conns_many bugs syscalls refused memory_short "
                               "memory_out overload tenant_memory fds_many fds_out log_ring log_sink log_nonsense slots store_aside "
                               "certificate_missing certificate_expired certificate_expires "
                               "source_away crash_loop no_report report_broken not_durable".split(), "tests/unit/admin/test_dispatch.c"))
ELSEWHERE.update(dict.fromkeys("identity_missing identity_overdue identity_expires identity_expired identity_clock issuer_refused "
                               "issuer_missing issuer_expired issuer_ends issuer_expires".split(), "tests/unit/admin/test_certs.c"))
ELSEWHERE["pod_not_captured"] = "tests/lab/proof_test.py"
ELSEWHERE["names_silent"] = ELSEWHERE["names_unasked"] = "tests/lab/names_test.py"
ELSEWHERE["endpoints_late"] = "tests/proc/demand_test.py"
seen = set()


def names(host):
    r = host.ctl("check", "-o", "json")
    found = json.loads(r.stdout)["findings"]
    for f in found:
        assert f["what"] and f["do"] and f["severity"] in ("error", "warning", "info"), f
    return {f["check"] for f in found}


def appears(host, name):
    np.until(f"{name} to be found", lambda: name in names(host))
    seen.add(name)


def goes(host, name):
    np.until(f"{name} to be forgotten", lambda: name not in names(host))


def of(host, comm):
    return sorted(p for p, c in host.pids().items() if c == comm)


def resources(host):
    one = host.backend("one")
    appears(host, "source_empty")
    appears(host, "listener_service")
    host.service("shop/web", 81, [one.port])
    goes(host, "source_empty")
    goes(host, "listener_service")
    appears(host, "listener_port")
    host.service("shop/web", 80, [])
    goes(host, "listener_port")
    appears(host, "no_endpoint")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))       # and does not listen: whoever connects is refused
        host.service("shop/web", 80, [nobody.getsockname()[1]])
        goes(host, "no_endpoint")
        for _ in range(5):
            np.until("a refusal", lambda: host.get("/x").status == 503)
        appears(host, "endpoints_out")
    host.service("shop/web", 80, [one.port])
    goes(host, "endpoints_out")
    np.until("ready", lambda: host.status()["ready"])
    assert "not_ready" not in names(host)
    np.until("an answer", lambda: host.get("/x").status == 200)


def processes(host):
    master = of(host, "nodeproxy-mastr")[0]
    worker = host.status()["workers"][0]["pid"]
    os.kill(worker, signal.SIGSTOP)
    appears(host, "stalled")
    appears(host, "lent")
    os.kill(worker, signal.SIGCONT)
    goes(host, "stalled")
    goes(host, "lent")
    assert "died" not in names(host) and "master_died" not in names(host)
    os.kill(worker, signal.SIGKILL)
    appears(host, "died")
    os.kill(master, signal.SIGKILL)
    appears(host, "master_died")
    appears(host, "stalls")
    np.until("ready", lambda: host.status()["ready"])


def cpus(host):
    cpu, mask = host.status()["workers"][0]["cpu"], os.sched_getaffinity(0)
    master = of(host, "nodeproxy-mastr")[0]
    if len(mask) < 2:
        print("    skipped: cpus_away needs two CPUs")
        seen.add("cpus_away")
        return
    os.sched_setaffinity(master, mask - {cpu})
    appears(host, "cpus_away")
    os.sched_setaffinity(master, mask)
    goes(host, "cpus_away")


def access_log(host):
    os.rename(host.access_log, host.access_log + ".1")
    os.mkdir(host.access_log)       # nobody can open that for writing
    host.ctl("log-reopen")
    host.get("/x")
    os.kill(of(host, "nodeproxy-admin")[0], signal.SIGKILL)    # the next one has no file at all
    np.until("another", lambda: host.status()["ready"])
    appears(host, "log_error")
    os.rmdir(host.access_log)
    assert host.ctl("log-reopen").returncode == 0
    goes(host, "log_error")


def settings(host):
    path = os.path.join(host.dir, "nodeproxy.yaml")
    good = open(path).read()
    open(path, "a").write("nonsense: 1\n")
    assert host.ctl("reload").returncode == 1
    appears(host, "reload")
    open(path, "w").write(good)
    assert host.ctl("reload").returncode == 0
    goes(host, "reload")


def programs(host, libexec):
    path = os.path.join(libexec, "nodeproxy-worker")
    shutil.copy(path, path + "~")
    os.rename(path + "~", path)     # as a package does it
    appears(host, "programs_differ")
    assert "upgrade" in host.ctl("check").stdout


def panics(host):
    if host.ctl("debug", "--help").returncode != 0:
        seen.add("panicked")
        return
    assert "panicked" not in names(host)
    host.ctl("debug", "panic", "--worker", str(host.status()["workers"][0]["id"]))
    appears(host, "panicked")


def views(host):
    if host.ctl("debug", "--help").returncode != 0:
        seen.update(("view_failed", "view_refused"))
        return
    np.until("ready", lambda: host.status()["ready"])
    assert "view_failed" not in names(host)
    for w in host.status()["workers"]:
        host.ctl("debug", "refuse-view", "1", "--worker", str(w["id"]))
    host.service("shop/more", 80, [1])
    appears(host, "view_failed")
    appears(host, "view_refused")
    assert host.get("/x").status == 200 and host.ctl("check").returncode == 1      # an error
    host.service("shop/more", 80, [2])
    goes(host, "view_failed")
    goes(host, "view_refused")


def the_instance():
    wrapper = ["prlimit", "--nofile=8192:8192"]
    with np.Host(workers=2, config=CONFIG, wrapper=wrapper) as host:
        libexec = os.path.join(host.dir, "libexec")
        os.mkdir(libexec)
        for p in ("nodeproxy-worker", "nodeproxy-syncd", "nodeproxy-admind"):
            shutil.copy(os.path.join(np.BUILD, p), libexec)
        host.env = dict(NODEPROXY_LIBEXEC=libexec, NOTIFY_SOCKET=os.path.join(host.dir, "nobody"))
        host.start()
        appears(host, "watchdog")
        appears(host, "fds_limit")
        assert "programs_differ" not in names(host) and "cpus_away" not in names(host)
        for step in (resources, cpus, processes, settings, access_log, panics, views):
            step(host)
            print(f"ok {step.__name__}", flush=True)
        programs(host, libexec)
        print("ok programs")
        assert len(names(host)) > 3 and host.ctl("check").returncode == 0      # no error among them


def without_a_daemon():
    with np.Host(workers=1) as host:
        host.write_config()
        good = os.path.join(host.dir, "nodeproxy.yaml")
        bad = os.path.join(host.dir, "bad.yaml")
        with open(bad, "w") as f:
            f.write("nonsense: 1\n")
        for config, expect in ((good, {"no_daemon"}), (bad, {"no_daemon", "settings"}), (host.dir + "/none", {"no_daemon", "settings"})):
            r = subprocess.run([os.path.join(np.BUILD, "admin/nodeproxyctl"), "-s", host.socket, "-o", "json", "check"],
                               capture_output=True, text=True, env=dict(os.environ, NODEPROXY_CONFIG=config))
            assert r.returncode == 3, r
            found = {f["check"]: f for f in json.loads(r.stdout)["findings"]}
            assert expect <= set(found) and ("settings" in found) == ("settings" in expect), (config, found)
            if config == bad:
                assert "bad.yaml:1" in found["settings"]["what"], found
            seen.update(expect)
        r = subprocess.run([os.path.join(np.BUILD, "admin/nodeproxyctl"), "-s", host.socket, "check"], capture_output=True, text=True)
        assert r.returncode == 3 and "there is no socket" in r.stdout, r
    print("ok without_a_daemon")


def another_version_is_said():
    with np.Host(workers=1) as host:
        s = socket.socket(socket.AF_UNIX)
        s.bind(host.socket)
        s.listen()

        def answer():
            for version in ("9.9.9", None):
                c, _ = s.accept()
                c.recv(65536)
                own = subprocess.run([os.path.join(np.BUILD, "admin/nodeproxyctl"), "--version"], capture_output=True, text=True).stdout.split()[1]
                body = json.dumps({"findings": [], "ok": True, "version": version or own}).encode()
                c.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                c.close()
        threading.Thread(target=answer, daemon=True).start()
        assert names(host) == {"ctl_differs"}
        assert names(host) == set()
        seen.add("ctl_differs")
        s.close()
    print("ok another_version_is_said")


def every_row_has_its_test():
    text = re.sub(r"/\*.*?\*/", "", open(os.path.join(np.SOURCE, "admin/checks.def")).read(), flags=re.S)
    rows = set(re.findall(r"^CHECK\((\w+),", text, re.M))
    assert not rows - seen - set(ELSEWHERE), f"without a test: {sorted(rows - seen - set(ELSEWHERE))}"
    assert not (seen | set(ELSEWHERE)) - rows, f"no such row: {sorted((seen | set(ELSEWHERE)) - rows)}"


without_a_daemon()
another_version_is_said()
the_instance()
every_row_has_its_test()
