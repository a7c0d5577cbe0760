#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Who may include whom.  One row per folder, lowest layer first; a file includes only its own
folder and what its row lists.  Also: full include paths that exist, SPDX lines, a paragraph of
purpose, and no cycles between folders."""
import os
import re
import sys

ROWS = [  # folder (longest match wins), what it may include beside itself
    ("nodeproxy/lib/base", ""),
    ("nodeproxy/lib/net", "nodeproxy/lib/base"),
    ("nodeproxy/lib/doc", "nodeproxy/lib/base"),
    ("nodeproxy/lib/ipc", "nodeproxy/lib/base"),
    ("nodeproxy/lib/role", "nodeproxy/lib/base nodeproxy/lib/ipc"),
    ("nodeproxy/lib/knobs", "nodeproxy/lib/base nodeproxy/lib/net nodeproxy/lib/doc"),
    ("workers/obs", "nodeproxy/lib/base nodeproxy/lib/net"),
    ("store/rows", "nodeproxy/lib/base nodeproxy/lib/net"),
    ("store/db", "nodeproxy/lib/base nodeproxy/lib/net store/rows"),
    ("store/view", "nodeproxy/lib/base nodeproxy/lib/net store/rows"),
    ("store/resource", "nodeproxy/lib/base nodeproxy/lib/net nodeproxy/lib/doc store/rows"),
    ("store/registry", "nodeproxy/lib/base nodeproxy/lib/net nodeproxy/lib/doc store/rows store/resource"),
    ("store/sync", "nodeproxy/lib/base nodeproxy/lib/net nodeproxy/lib/ipc nodeproxy/lib/role nodeproxy/lib/knobs "
                   "nodeproxy/lib/doc workers/obs store/rows store/db store/view store/resource store/registry"),
    ("workers/sched", "nodeproxy/lib/base workers/obs"),
    ("workers/codec", "nodeproxy/lib/base nodeproxy/lib/net"),
    ("workers/pool", "nodeproxy/lib/base nodeproxy/lib/net store/view workers/obs workers/sched workers/codec"),
    ("workers/path", "nodeproxy/lib/base nodeproxy/lib/net nodeproxy/lib/knobs store/view workers/obs workers/sched "
                     "workers/codec workers/pool"),
    ("workers/names", "nodeproxy/lib/base nodeproxy/lib/net nodeproxy/lib/knobs store/view workers/obs workers/sched "
                      "workers/pool workers/path"),
    ("workers", "nodeproxy/lib/base nodeproxy/lib/net nodeproxy/lib/ipc nodeproxy/lib/role nodeproxy/lib/knobs "
                "store/view workers/obs workers/sched workers/codec workers/pool workers/path workers/names"),
    ("nodeproxy/keyd", "nodeproxy/lib/base nodeproxy/lib/net nodeproxy/lib/ipc nodeproxy/lib/role"),
    ("nodeproxy", "nodeproxy/lib/base nodeproxy/lib/net nodeproxy/lib/doc nodeproxy/lib/ipc nodeproxy/lib/role "
                  "nodeproxy/lib/knobs workers/obs"),
    ("admin/cli", "nodeproxy/lib/base nodeproxy/lib/net admin"),
    ("admin/cni", "nodeproxy/lib/base admin admin/cli"),
    ("admin/ca", "nodeproxy/lib/base nodeproxy/lib/net admin"),
    ("admin/resources", "nodeproxy/lib/base nodeproxy/lib/net nodeproxy/lib/doc nodeproxy/lib/knobs store/rows "
                        "store/resource store/registry store/db store/view store/sync admin admin/cli"),
    ("admin", "nodeproxy/lib/base nodeproxy/lib/net nodeproxy/lib/ipc nodeproxy/lib/role nodeproxy/lib/knobs "
              "nodeproxy/lib/doc workers/obs store/view"),
]
RANK = {folder: (allowed.split()) for folder, allowed in ROWS}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)
SOURCES = (".c", ".h", ".def")


def folder_of(path):
    best = max((f for f in RANK if path == f or path.startswith(f + "/") or
                (f == "store/rows" and re.match(r"store/rows\.", path))), key=len, default=None)
    return best


def main():
    top = os.environ.get("top_srcdir", ".")
    bad, edges, files = [], {}, 0
    for root in ("nodeproxy", "store", "workers", "admin", "tests"):
        for here, dirs, names in os.walk(os.path.join(top, root)):
            dirs.sort()
            for name in sorted(names):
                if not name.endswith(SOURCES):
                    continue
                path = os.path.relpath(os.path.join(here, name), top)
                text = open(os.path.join(top, path), encoding="utf-8").read()
                files += 1
                head = text[:200]
                if "SPDX-License-Identifier: Apache-2.0" not in head or "Copyright the nodeproxy authors" not in head:
                    bad.append(f"{path}:1: SPDX or copyright line missing")
                if not re.match(r"/\*.*?\*/\s*/\*", text, re.S):
                    bad.append(f"{path}:4: no paragraph that says what the file is for")
                if path.startswith("tests/"):
                    if re.search(r'#\s*include\s+"[^"]+\.c"', text):
                        bad.append(f"{path}: includes a .c file")
                    continue
                mine = folder_of(path)
                if mine is None:
                    bad.append(f"{path}: its folder has no row in tests/lint/includes.py")
                    continue
                for inc in INCLUDE.findall(text):
                    line = text[:text.index(f'"{inc}"')].count("\n") + 1
                    if inc == "config.h" or "/" not in inc and inc.endswith(".inc"):
                        continue
                    its = folder_of(inc)
                    if its is None or "/" not in inc:
                        bad.append(f'{path}:{line}: "{inc}" is not a full path from the top')
                    elif its != mine and its not in RANK[mine]:
                        bad.append(f'{path}:{line}: {mine} may not include "{inc}"')
                    elif its != mine:
                        edges.setdefault(mine, set()).add(its)
    seen, done = [], set()

    def walk(f):
        if f in seen:
            bad.append("cycle: " + " -> ".join(seen[seen.index(f):] + [f]))
            return
        if f in done:
            return
        seen.append(f)
        for g in sorted(edges.get(f, ())):
            walk(g)
        seen.pop()
        done.add(f)

    for f in sorted(edges):
        walk(f)
    for b in bad:
        print(b)
    print(f"includes: {files} files, {sum(map(len, edges.values()))} edges between folders, {len(bad)} problems")
    return 1 if bad or files == 0 else 0


sys.exit(main())
