#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
# What bash offers after the words of nodeproxyctl, with a daemon that knows a little.
set -u
. "${top_builddir:-.}/man/nodeproxyctl.bash" 2>/dev/null || . "${top_srcdir:-.}/man/nodeproxyctl.bash" || exit 1

nodeproxyctl() {
	case $* in
	*"get services") printf 'NAMESPACE  NAME  PORTS\nshop  web  80\nbank  db  5432\n' ;;
	*"get policies") printf 'NAMESPACE  POLICY  SERVICE\nshop  slow  web\n' ;;
	*"get routes") printf 'NAMESPACE  ROUTE  KIND\nshop  web  HTTPRoute\nshop  rpc  GRPCRoute\n' ;;
	*"get httproute") printf 'KIND  NAMESPACE  NAME\nHTTPRoute  shop  web\n' ;;
	*"get workers") printf 'ID  PID\n0  7\n1  8\n' ;;
	*"get namespaces") printf 'NAMESPACE  TENANT\nshop  shop\n' ;;
	esac
}
failed=0
offers() { # expected, words; the last one is being typed
	local expected=$1
	shift
	COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
	_nodeproxyctl
	if [ "${COMPREPLY[*]}" != "$expected" ]; then
		printf 'FAIL %s: offers "%s", not "%s"\n' "$*" "${COMPREPLY[*]}" "$expected"
		failed=1
	fi
}
offers "status" nodeproxyctl sta
offers "endpointslice endpoints" nodeproxyctl get e
offers "services" nodeproxyctl get services
offers "shop/web" nodeproxyctl get httproute sh
offers "apply" nodeproxyctl ap
offers "check export -s -o --help --version" nodeproxyctl store ""
offers "--dry-run" nodeproxyctl apply --d
offers "-f -n --dry-run --wait --registry --user --password-file --cert --cert-key --ca -c -s -o --help" nodeproxyctl delete -
offers "tenant" nodeproxyctl -o yaml store export te
offers "table json yaml" nodeproxyctl -o ""
offers "-n --service -s -o --help" nodeproxyctl -s /x get endpoints -
offers "service" nodeproxyctl describe se
offers "shop/web" nodeproxyctl describe service sh
offers "bank/db" nodeproxyctl -o json describe service b
offers "trafficpolicy" nodeproxyctl describe tr
offers "ratelimitpolicy" nodeproxyctl describe ra
offers "shop/slow" nodeproxyctl describe trafficpolicy s
offers "shop/rpc" nodeproxyctl describe grpcroute s
offers "shop" nodeproxyctl get services -n ""
offers "db web" nodeproxyctl get endpoints --service ""
offers "0 1" nodeproxyctl drain --worker ""
offers "--worker --deadline --help" nodeproxyctl drain --
offers "warn" nodeproxyctl log-level w
offers "show" nodeproxyctl panic s
offers "services" nodeproxyctl top s
offers "p50 p99" nodeproxyctl top services --sort p
offers "shop" nodeproxyctl explain --from s
offers "POST PUT PATCH" nodeproxyctl explain web --method P
offers "--once" nodeproxyctl top --on
exit $failed
