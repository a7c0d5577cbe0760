#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""A hostile worker, sync or admin process (tests/hostile/hostile.c in its place) says everything that
it may not say, sends descriptors of every kind, floods, closes, lies half-alive and scribbles over the
memory that processes share.  Each time it is replaced, counted and named in one line; master and
siblings live, leak nothing and serve requests all the while.  And a hostile master (this script at
the other end of the channel of a real child) never crashes one.

A sample of the cases by default (NP_SEED chooses it), all of them with NP_FULL=1.  Words on the
command line: only cases whose name contains one of them.

That a child could attack the keeper is impossible by construction: the keeper reads one channel, its
master's, and a child has no descriptor of it; see the_keeper_has_no_channel_to_children."""
import fcntl
import mmap
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import np  # noqa: E402

np.only_in_tiers("process")
np.need_root()
FULL = os.environ.get("NP_FULL", "") not in ("", "0")
SEED = int(os.environ.get("NP_SEED", "1"))
WORDS = sys.argv[1:]
HOSTILE = os.path.join(np.BUILD, "tests/hostile/hostile")
SANITIZED = b"__asan_init" in open(os.path.join(np.BUILD, "nodeproxy/nodeproxy"), "rb").read()
dice = random.Random(SEED)

ROLES = dict(worker=3, syncd=4, admind=5)
END, SEND, HELLO, CLOSE, EXIT, LISTENER, VIEW, SCRIBBLE, SLEEP = range(9)
OPS, OP_BYTES = 8, 1200
PIPE, DIRECTORY, UNIX, UNSEALED, SEALED, LARGE, LINGERS, NULL, ITSELF, EVENT, SPARSE, EPOLL = range(1, 13)
KINDS = dict(pipe=PIPE, directory=DIRECTORY, unix=UNIX, unsealed=UNSEALED, sealed=SEALED, large=LARGE,
             lingering=LINGERS, null=NULL, itself=ITSELF, eventfd=EVENT, sparse=SPARSE, epoll=EPOLL)


class Row:
    def __init__(self, line):
        n = line.split()
        self.name = n[1]
        self.type, self.sender, self.to, self.bytes, self.tail, self.fds_min, self.fds_max, self.rate = \
            (int(x) for x in n[:1] + n[2:])


lines = subprocess.run([HOSTILE, "--table"], capture_output=True, text=True, check=True).stdout.splitlines()
BUILD_ID = lines[0].split()[1].encode()
ROWS = {r.name: r for r in map(Row, lines[1:])}


def message(row, payload=None, size=None, kind=None):
    """The datagram of a row, zeroes where payload ends; size: of all of it."""
    row = ROWS[row] if isinstance(row, str) else row
    b = struct.pack("<II", row.type if kind is None else kind, 0) + (payload or b"").ljust(row.bytes, b"\0")
    return b if size is None else b[:size].ljust(size, b"\xa5")


def send(data, fds=0, kind=0, count=1):
    return struct.pack("<6I", SEND, count, fds, kind, min(len(data), OP_BYTES), 0) + data[:OP_BYTES].ljust(OP_BYTES, b"\0")


def op(kind, count=0, arg=0):
    return struct.pack("<6I", kind, count, 0, 0, 0, arg) + bytes(OP_BYTES)


def view(rev=1, base=1, size=4096, kind=1):
    return message("VIEW_MADE", struct.pack("<QQQII", rev, base, size, kind, 0))


def file_want(name):
    return message("FILE_WANT", struct.pack("<QiI", 1, 0, 0) + name.ljust(256, b"\0")[:256])


def order(order=1, worker=0, number=0, who=b"uid=0 pid=1"):
    return message("ORDER", struct.pack("<QIIq", 1, order, worker, number) + who.ljust(64, b"\0")[:64])


def born(role):
    """Phases after START and after READY."""
    return [op(HELLO)], [op(HELLO), send(message("READY"))]


def cases():
    """(name, role, operations, what becomes of it: killed, or lives)."""
    all_cases = []

    def add(name, role, *ops, ends="killed"):
        assert len(ops) <= OPS
        all_cases.append((f"{role}: {name}", role, b"".join(ops), ends))

    for role, bit in ROLES.items():
        told, ready = born(role)
        for row in ROWS.values():
            may = row.sender >> bit & 1 and row.to >> 2 & 1
            good = message(row)
            if row.name != "HELLO":
                add(f"{row.name} before START", role, send(good, row.fds_min, SEALED))
            if not may:
                add(f"{row.name} is not its word", role, *ready, send(good, row.fds_min, SEALED))
                continue
            n = len(good)
            for size in {0, 1, 4, 8, n - 1, n + row.tail + 1, 1024, 1100, OP_BYTES} - {n}:
                if n <= size <= n + row.tail:
                    continue
                add(f"{row.name} of {size} bytes", role, *ready, send(message(row, size=size), row.fds_min, SEALED))
            for fds in {0, 1, row.fds_max + 1, 8, 9, 64, 253}:
                if row.fds_min <= fds <= row.fds_max:
                    continue
                add(f"{row.name} with {fds} descriptors", role, *ready, send(good, fds, dice.choice(list(KINDS.values()))))
            add(f"{row.name} with a second head word", role, *ready, send(good[:4] + b"\1" + good[5:], row.fds_min, SEALED))
        for kind in (0, len(ROWS) + 1, 0x7fffffff, 0xffffffff):
            add(f"type {kind}", role, *ready, send(message("READY", kind=kind)))
        add("64 descriptors a hundred times", role, *ready, send(message("READY"), 64, PIPE, 100))
        add("a lingering socket", role, *ready, send(message("READY"), 1, LINGERS))
        # who it says it is
        for what, r, pid, build in (("another role", 7 - bit, None, BUILD_ID), ("no role", 0xffffffff, None, BUILD_ID),
                                    ("another pid", bit, 1, BUILD_ID), ("another build", bit, None, b"0.0.0-00000000"),
                                    ("a build without end", bit, None, b"\xff" * 32)):
            add(f"HELLO of {what}", role, send(message("HELLO", struct.pack("<II", r, pid or 1) + build.ljust(32, b"\0"))))
        add("HELLO twice", role, op(HELLO), send(message("HELLO", struct.pack("<II", bit, 1) + BUILD_ID.ljust(32, b"\0"))))
        add("READY twice", role, *ready, send(message("READY")))
        add("PONG flood", role, *ready, send(message("PONG"), count=1000000))
        add("HELLO flood", role, send(message("HELLO"), count=1000000))
        add("closes its channel and stays", role, *ready, op(CLOSE))
        add("closes its channel at once", role, op(CLOSE))
        add("leaves at once", role, op(EXIT, arg=0), ends="left")
        add("leaves after READY", role, *ready, op(EXIT, arg=3), ends="left")
        if FULL:
            add("says nothing", role, op(SLEEP, 1))
            add("says HELLO and nothing more", role, *told)
    told, ready = born("worker")
    for rev in (0, 2**40, 2**63, 2**64 - 1):
        add(f"VIEW_ADOPTED {rev}", "worker", *ready, send(message("VIEW_ADOPTED", struct.pack("<Q", rev))))
        add(f"VIEW_REFUSED {rev}", "worker", *ready, send(message("VIEW_REFUSED", struct.pack("<Q", rev)) + b"\x1b[2J\nlevel=error" + b"x" * 100))
    add("DRAINED unasked", "worker", *ready, send(message("DRAINED")))
    add("ORDER", "worker", *ready, send(order(4, 0, 1)))
    add("VIEW_ADOPTED flood", "worker", *ready, op(VIEW), send(message("VIEW_ADOPTED", struct.pack("<Q", 1)), count=1000000))
    add("goes back to an older view", "worker", *ready, op(VIEW), send(message("VIEW_ADOPTED", struct.pack("<Q", 0))))
    add("refuses every view", "worker", *ready, send(message("VIEW_REFUSED", struct.pack("<Q", 1)) + b"no", count=20), ends="replaced")
    for how, words in ((0, "shutdown"), (1, "disconnect")):
        add(f"ends its listener by {words}", "worker", *ready, op(VIEW), op(LISTENER, arg=how))
    for heads in (0, 1):
        add(f"scribbles over {'the heads of ' if heads else ''}shared memory", "worker", *ready, op(VIEW),
            op(SCRIBBLE, 1500 if FULL else 400, heads), op(EXIT, arg=1), ends="left")
    told, ready = born("syncd")
    for words, kind in KINDS.items():
        if kind in (SEALED, LARGE, SPARSE):
            continue
        add(f"VIEW_MADE that is a {words}", "syncd", *ready, send(view(rev=2**20), 1, kind))
        add(f"SOURCES_MADE that is a {words}", "syncd", *ready, send(message("SOURCES_MADE"), 1, kind))
    for words, data in (("larger than it says", view(2**20, size=1)), ("smaller than it says", view(2**20, size=2**40)),
                        ("of no kind", view(2**20, kind=0)), ("of kind 3", view(2**20, kind=3)), ("of revision 0", view(0)),
                        ("of the last revision", view(2**64 - 1)), ("of revision 2^63", view(2**63)),
                        ("of a size that wraps", view(2**20, size=2**64 - 1))):
        add(f"VIEW_MADE {words}", "syncd", *ready, send(data, 1, SEALED))
    add("VIEW_MADE of garbage", "syncd", *ready, send(view(2**20), 1, SEALED), ends="lives")
    add("VIEW_MADE of sparse garbage", "syncd", *ready, send(view(2**20, size=2**40), 1, SPARSE), ends="lives")
    add("VIEW_MADE flood", "syncd", *ready, send(view(2**20), 1, SEALED, 1000000))
    add("SOURCES_MADE of garbage", "syncd", *ready, send(message("SOURCES_MADE"), 1, SEALED), ends="lives")
    add("SOURCES_MADE of sparse garbage", "syncd", *ready, send(message("SOURCES_MADE"), 1, SPARSE), ends="lives")
    add("SOURCES_MADE flood", "syncd", *ready, send(message("SOURCES_MADE"), 1, LARGE, 1000000))
    for name in (b"../nodeproxy.yaml", b"/etc/shadow", b"", b".", b"..", b"a/b", b"x" * 256, b"\xff\xfe", b"a\nb"):
        add(f"FILE_WANT {name[:20]!r}", "syncd", *ready, send(file_want(name)))
    # May be more than five times its rate, which is no accident, and may be less: that is the machine's.
    add("FILE_WANT a million times", "syncd", *ready, send(file_want(b"shop-web.yaml"), count=1000000), ends="lives")
    add("SOURCE_AGAIN flood", "syncd", *ready, send(message("SOURCE_AGAIN"), count=1000000))
    told, ready = born("admind")
    for words, data in (("without a name", order(who=b"\xff" * 64)), ("that does not exist", order(order=77)),
                        ("0", order(order=0)), ("-1", order(order=0xffffffff))):
        add(f"ORDER {words}", "admind", *ready, send(data))
    for words, data in (("to drain nobody", order(1, 63)), ("to drain for ever", order(1, 0, 2**62)),
                        ("to drain backwards", order(1, 0, -1)), ("of a level that is none", order(2, 0, 77)),
                        ("of a negative level", order(2, 0, -2**63))):
        add(f"ORDER {words}", "admind", *ready, send(data), ends="lives")
    add("ORDER flood", "admind", *ready, send(order(2, 0, 1), count=1000000))
    return all_cases


def chosen():
    """All, or some of each role and every kind of end; cases that are slow or special always."""
    everything = cases()
    if WORDS:
        return [c for c in everything if any(w in c[0] for w in WORDS)]
    if FULL:
        return everything
    always = ("lingering socket", "ends its listener by shutdown", "scribbles", "closes its channel and stays", "a million times",
              "VIEW_MADE of garbage", "64 descriptors a hundred")
    keep = [c for c in everything if any(w in c[0] for w in always) and not ("64 desc" in c[0] and "syncd" in c[0])]
    keep = [c for i, c in enumerate(keep) if "closes its channel" not in c[0] or c[1] == "worker"]
    rest = [c for c in everything if c not in keep and not any(w in c[0] for w in ("flood", "closes"))]
    for role in ROLES:
        keep += dice.sample([c for c in rest if c[1] == role], 10)
    return sorted(keep, key=lambda c: list(ROLES).index(c[1]))


class Load(threading.Thread):
    """One request after the other, each on a connection of its own."""

    def __init__(self, host):
        super().__init__(daemon=True)
        self.host, self.on, self.ok, self.cut, self.wrong, self.slowest = host, True, 0, 0, [], 0
        self.start()

    def run(self):
        while self.on:
            began = time.monotonic()
            try:
                r = self.host.get("/x", timeout=20)
                if r.status == 200:
                    self.ok += 1
                else:
                    self.wrong.append(f"status {r.status}")
            except (ConnectionResetError, BrokenPipeError, np.http.client.RemoteDisconnected):
                self.cut += 1
            except OSError as e:
                self.wrong.append(repr(e))
            self.slowest = max(self.slowest, time.monotonic() - began)
            time.sleep(0.005)

    def stop(self):
        self.on = False
        self.join()
        return self


class Control:
    """The file that hostile.c shares with us: struct control."""

    def __init__(self, directory):
        self.path = os.path.join(directory, "control")
        with open(self.path, "wb") as f:
            f.write(bytes(24 + OPS * (24 + OP_BYTES)))
        os.chmod(self.path, 0o666)
        self.f = open(self.path, "r+b")
        self.m = mmap.mmap(self.f.fileno(), 0)

    def get(self, at):
        return struct.unpack_from("<I", self.m, at)[0]

    def put(self, at, v):
        struct.pack_into("<I", self.m, at, v)

    def want(self, role, slot=0):
        self.put(4, slot)
        self.put(0, ROLES.get(role, 0))

    def play(self, ops):
        self.m[24:24 + OPS * (24 + OP_BYTES)] = ops.ljust(OPS * (24 + OP_BYTES), b"\0")
        self.put(12, 1)

    pid = property(lambda self: self.get(8))
    done = property(lambda self: self.get(16))


def gone(pid):
    try:
        return ") Z " in open(f"/proc/{pid}/stat").read()
    except OSError:
        return True


def fds(pid):
    """What it has open, but for views, of which there may be a base or a base and an overlay, and the
    memory of slots, which comes with the first worker in a slot and stays."""
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            link = os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError:
            continue
        if not re.search("memfd:(view|nodeproxy-panic|nodeproxy-ring)", link):
            found.append(re.sub(r"\d+", "", link))
    return sorted(found)


def of(host, comm):
    return sorted(p for p, c in host.pids().items() if c == comm)


def memory_kb(pid):
    """Of its own: what it reads of the board is the board's."""
    return int(re.search(r"RssAnon:\s+(\d+)", open(f"/proc/{pid}/status").read())[1])


def a_hostile_child_is_replaced_and_nobody_else_suffers():
    with np.Host(workers=2, config="timeouts: {drain: 2000}\nrespawn: {min: 1, max: 20}") as host:
        programs = os.path.join(host.dir, "libexec")
        os.mkdir(programs)
        for name in ("nodeproxy-worker", "nodeproxy-syncd", "nodeproxy-admind"):
            shutil.copy(HOSTILE, os.path.join(programs, name))
        control = Control(host.dir)
        host.env = dict(NODEPROXY_LIBEXEC=programs, NP_HOSTILE=control.path, NP_HOSTILE_REAL=np.BUILD)
        one = host.backend("one")
        host.service("shop/web", 80, [one.port])
        host.start()
        np.until("an answer", lambda: host.get("/x").status == 200)
        keeper, master = host.process.pid, of(host, "nodeproxy-mastr")[0]
        before = fds(keeper), fds(master)
        kb = memory_kb(master)
        load = Load(host)
        played, killed, cuts = 0, 0, 0
        wanted = chosen()
        for role in ROLES:
            # who is replaced leaves its slot to nobody: last
            mine = sorted((c for c in wanted if c[1] == role), key=lambda c: c[3] == "replaced")
            if not mine:
                continue
            slot = 1 if role == "worker" else 0
            control.want(role, slot)
            comm = "nodeproxy-" + role
            victim = (next(w["pid"] for w in host.status()["workers"] if w["id"] == slot) if role == "worker"
                      else of(host, comm[:15])[0])
            os.kill(victim, signal.SIGKILL)
            last = 0
            for name, _, ops, ends in mine:
                try:
                    np.until("the hostile one", lambda: control.pid not in (0, last) and not gone(control.pid))
                    pid = last = control.pid
                    if role == "worker" and any(k == VIEW for k in struct.unpack_from("<I", ops)):
                        cuts += 1
                    control.play(ops)
                    np.until("all to be said", lambda: control.done or gone(pid), 120)
                    if ends in ("lives", "replaced"):
                        time.sleep(0.1)     # for those who have to look at it
                        if not gone(pid):
                            os.kill(pid, signal.SIGKILL)
                    np.until("its end", lambda: gone(pid), 60 if FULL else np.DEADLINE)
                    if ends == "killed":
                        killed += 1
                        np.until("a line that says so", lambda: re.search(
                            rf"event=child_killed child={role}/{slot} pid={pid} why=\"[^\"]+\"", open(host.log, errors="replace").read()))
                    assert not gone(master) and not gone(keeper), "it took us with it"
                    played += 1
                except BaseException:
                    print(f"    case: {name}")
                    raise
            control.want(None)
            if mine[-1][3] != "replaced":   # one may wait already
                np.until("the last one or its follower", lambda: control.pid != last or host.status()["ready"])
                if not gone(control.pid):
                    os.kill(control.pid, signal.SIGKILL)
            np.until("ready", lambda: host.status()["ready"])
        load.stop()
        status = host.status()
        assert not load.wrong, load.wrong[:5]
        assert load.ok > 0
        # what it broke is mended: changes come through, everybody serves them
        two = host.backend("two")
        host.service("shop/web", 80, [two.port])
        np.until("the change", lambda: all(host.get("/x").body == b"two /x\n" for _ in range(8)))
        assert host.ctl("check").returncode in (0, 1)
        assert of(host, "nodeproxy-mastr") == [master] and status["master_starts"] == 1
        try:
            np.until("no descriptor to be left", lambda: (fds(keeper), fds(master)) == before)
        except AssertionError:
            print("    before:", before, "\n    after: ", (fds(keeper), fds(master)))
            raise
        grown = memory_kb(master) - kb
        if not SANITIZED:
            assert grown < 4096, f"the master grew by {grown} KB"
        text = open(host.log, errors="replace").read()
        assert "AddressSanitizer" not in text and "runtime error" not in text and 'what="must' not in text
        for line in text.splitlines():
            assert "\x1b" not in line and (line.startswith(("time=", "level=")) or "nodeproxy" in line), line
        assert host.metric("nodeproxy_worker_unknown_syscalls_total") == 0, "the filter refuses what our own code does"
        bad = status["bad_messages"]
        assert host.metric("nodeproxy_bad_messages_total") == bad and (killed == 0 or bad > 0)
        print(f"    {played} cases, {killed} killed, {bad} counted; requests: {load.ok} answered, {load.cut} cut, "
              f"slowest {load.slowest * 1000:.0f} ms; master {grown:+} KB")


def a_lone_worker_that_ends_its_listener_is_replaced_and_the_listener_mended():
    with np.Host(workers=1, config="timeouts: {drain: 2000}\nrespawn: {min: 1, max: 20}") as host:
        programs = os.path.join(host.dir, "libexec")
        os.mkdir(programs)
        for name in ("nodeproxy-worker", "nodeproxy-syncd", "nodeproxy-admind"):
            shutil.copy(HOSTILE, os.path.join(programs, name))
        control = Control(host.dir)
        host.env = dict(NODEPROXY_LIBEXEC=programs, NP_HOSTILE=control.path, NP_HOSTILE_REAL=np.BUILD)
        one = host.backend("one")
        host.service("shop/web", 80, [one.port])
        host.start()
        for how in (0, 1):
            control.want("worker", 0)
            last = control.pid
            os.kill(host.status()["workers"][0]["pid"], signal.SIGKILL)
            np.until("the hostile one", lambda: control.pid not in (0, last))
            pid = control.pid
            control.want(None)
            control.play(op(HELLO) + send(message("READY")) + op(VIEW) + op(LISTENER, arg=how))
            np.until("its end", lambda: gone(pid))
            np.until("an answer", lambda: host.get("/x").status == 200)
        text = open(host.log).read()
        assert "event=listener_mended listener=front" in text and 'why="ended a listening socket"' in text


def the_keeper_has_no_channel_to_children():
    """Each child has exactly one Unix socket, its channel to the master.  The keeper holds the master's
    end of it, to pass on, and never one of which a child has the other end but that."""
    with np.Host(workers=2) as host:
        one = host.backend("one")
        host.service("shop/web", 80, [one.port])
        host.start()
        unix = {}       # inode -> type
        for line in open("/proc/net/unix").read().splitlines()[1:]:
            w = line.split()
            unix[w[6]] = (w[4], w[7] if len(w) > 7 else "")

        def sockets(pid):
            out = {}
            for fd in os.listdir(f"/proc/{pid}/fd"):
                link = os.readlink(f"/proc/{pid}/fd/{fd}")
                if link.startswith("socket:["):
                    out[int(fd)] = link[8:-1]
            return out
        keeper = set(sockets(host.process.pid).values())
        for pid, comm in host.pids().items():
            if comm in ("nodeproxy", "nodeproxy-mastr"):
                continue
            channels = {fd: i for fd, i in sockets(pid).items() if unix.get(i, ("",))[0] == "0005"}
            assert 3 in channels and len(set(channels.values())) == 1, (comm, channels)
            assert not set(channels.values()) & keeper, comm


# ---- a hostile master: a real child with us at the other end of its channel

def sealed(data, seal=True):
    fd = os.memfd_create("x", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    if seal:
        fcntl.fcntl(fd, 1033, 0xf)
    return fd


def shared(size):
    fd = os.memfd_create("x", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, 1033, 0x6)
    return fd


def child_of_ours(role, uid=64650):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def be_child():
        os.dup2(theirs.fileno(), 3)
        os.set_inheritable(3, True)
    p = subprocess.Popen([f"nodeproxy-{role}", "0", f"{uid}:{uid}"], executable=os.path.join(np.BUILD, f"nodeproxy-{role}"),
                         preexec_fn=be_child, close_fds=False, stderr=subprocess.PIPE)
    theirs.close()
    ours.settimeout(np.DEADLINE)
    return p, ours


def a_hostile_master_never_crashes_a_child():
    """Whatever it says, a child goes on or leaves with an exit code: no signal, no hang."""
    knobs_fd = sealed(os.urandom(4096))
    page, memory = shared(4096), shared(1 << 20)
    start = message("START", struct.pack("<IIIIQQ", 0, 0, 1, 1, 0, 0))
    pipe = os.pipe()
    plans = [("nothing", []), ("garbage knobs", [(start, [knobs_fd, page, memory, memory, memory])]),
             ("a pipe for knobs", [(start, [pipe[0], page, memory, memory])]),
             ("unsealed knobs", [(start, [sealed(bytes(4096), False), page])]),
             ("a pipe for the page", [(start, [knobs_fd, pipe[1]])]), ("START without descriptors", [(start, [])]),
             ("START with nine", [(start, [pipe[0]] * 9)]), ("an empty datagram", [(b"", [])]), ("one byte", [(b"x", [])]),
             ("STOP", [(message("STOP"), [])]), ("descriptors without words", [(b"", [pipe[0]])])]
    for row in ROWS.values():
        if row.name not in ("START", "STOP"):
            plans.append((f"{row.name} first", [(message(row), [memory] * row.fds_min)]))
    todo = [(role, *plan) for role in ROLES for plan in plans]
    if not FULL:
        todo = dice.sample(todo, 12)
    for role, words, messages in todo:
        p, chan = child_of_ours(role)
        chan.recv(1024)     # HELLO
        for data, fds_ in messages:
            try:
                socket.send_fds(chan, [data], fds_)
            except BrokenPipeError:
                break
        chan.close()
        code = p.wait(np.DEADLINE)
        text = p.stderr.read().decode(errors="replace")
        p.stderr.close()
        assert code >= 0 and "AddressSanitizer" not in text and "runtime error" not in text, (role, words, code, text[-2000:])
    for fd in (knobs_fd, page, memory, *pipe):
        os.close(fd)
    print(f"    {len(todo)} plans")


TESTS = [the_keeper_has_no_channel_to_children, a_hostile_master_never_crashes_a_child,
         a_lone_worker_that_ends_its_listener_is_replaced_and_the_listener_mended,
         a_hostile_child_is_replaced_and_nobody_else_suffers]

names = [t.__name__ for t in TESTS]
if set(WORDS) & set(names):
    TESTS = [t for t in TESTS if t.__name__ in WORDS]
    WORDS = []
for test in TESTS:
    began = time.monotonic()
    test()
    print(f"ok {test.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
