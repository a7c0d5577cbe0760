#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
#
# The unit passes systemd-analyze verify without a word, and scores OK (below 5.0) or better in
# systemd-analyze security.
set -u
command -v systemd-analyze >/dev/null || { echo "SKIP: systemd-analyze is not installed (package systemd)"; exit 77; }
top=${top_srcdir:-.}
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
for name in nodeproxy nodeproxyctl; do printf '#!/bin/sh\nexit 0\n' >"$dir/$name" && chmod 755 "$dir/$name"; done
sed -e "s|@sbindir@|$dir|; s|@bindir@|$dir|; s|@sysconfdir@|/etc|" "$top/systemd/nodeproxy.service.in" >"$dir/nodeproxy.service"
words=$(systemd-analyze verify --man=no "$dir/nodeproxy.service" 2>&1) || { echo "verify failed: $words"; exit 1; }
[ -z "$words" ] || { echo "verify complains: $words"; exit 1; }
score=$(systemd-analyze security --offline=true "$dir/nodeproxy.service" | sed -n 's/.*Overall exposure level.*: \([0-9.]*\) .*/\1/p')
echo "exposure $score"
awk -v s="$score" 'BEGIN { exit !(s != "" && s < 5.0) }'
