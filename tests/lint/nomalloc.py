#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""No malloc of ours on the path: in the folders that carry traffic, the allocator, unbounded string
functions, formatted printing, clocks, randomness and sockets may be named only in functions that
say so with a comment `/* at start */`, or in the files that are the door to them."""
import os
import re
import sys

PATH = ["workers/path", "workers/codec", "workers/pool", "workers/sched", "workers/obs", "workers/names"]
ALLOC = re.compile(r"\b(malloc|calloc|realloc|strdup|strndup|asprintf|vasprintf|aligned_alloc|posix_memalign|getline)\s*\(")
PRINT = re.compile(r"\b(printf|snprintf|fprintf|strbuf_printf|sprintf|vsnprintf)\s*\(")
UNSAFE = re.compile(r"\b(strcpy|strcat|sprintf|gets|strtok|strncpy)\s*\(")
DOORS = [  # pattern, files that may
    (re.compile(r"\b(clock_gettime|gettimeofday|time)\s*\("), ("nodeproxy/lib/base/clock.c", "nodeproxy/lib/base/panic.c")),
    (re.compile(r"\b(rand|random|getrandom|srand)\s*\("), ("nodeproxy/lib/base/rand.c",)),
]
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\])*\"", re.S)


def strip(text):
    return COMMENT.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def functions(text):
    """(start line, name, body start, body end) of each function by the house style: brace in column 0."""
    for m in re.finditer(r"^(?:[A-Za-z_][^\n;={]*\n?[^\n;={]*)\)\n\{\n(.*?)^\}", text, re.S | re.M):
        yield m.start(), m.end()


def main():
    top = os.environ.get("top_srcdir", ".")
    bad, files = [], 0
    for root in ("nodeproxy", "store", "workers", "admin"):
        for here, dirs, names in os.walk(os.path.join(top, root)):
            for name in sorted(names):
                if not name.endswith((".c", ".h")):
                    continue
                path = os.path.relpath(os.path.join(here, name), top)
                raw = open(os.path.join(top, path), encoding="utf-8").read()
                text = strip(raw)
                files += 1

                def say(m, what):
                    bad.append(f"{path}:{text[:m.start()].count(chr(10)) + 1}: {m.group(1)}() {what}")

                for m in UNSAFE.finditer(text):
                    say(m, "has no bound")
                for pattern, may in DOORS:
                    if path not in may:
                        for m in pattern.finditer(text):
                            say(m, "is reached only through its door in lib/base")
                if any(path.startswith(p + "/") for p in PATH):
                    spans = [(a, b) for a, b in functions(raw)]
                    for pattern, what in ((ALLOC, "on the path"), (PRINT, "formats on the path")):
                        for m in pattern.finditer(text):
                            inside = next(((a, b) for a, b in spans if a <= m.start() < b), None)
                            before = raw[max(0, (inside or (m.start(),))[0] - 400):(inside or (m.start(),))[0]]
                            tail = before[before.rfind("\n}\n") + 1:] if "\n}\n" in before else before
                            if not (inside and "at start" in tail) and "for show" not in tail:
                                say(m, what)
    for b in bad:
        print(b)
    print(f"nomalloc: {files} files, {len(bad)} problems")
    return 1 if bad or files == 0 else 0


sys.exit(main())
