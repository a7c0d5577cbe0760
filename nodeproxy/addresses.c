/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See addresses.h.  (getifaddrs() opens a raw socket, for which we would be killed.) */
#include "nodeproxy/addresses.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "nodeproxy/lib/base/fd.h"

#define LO	 1u		/* index of lo, in every namespace */
#define ANSWER_S 2

/* One address of a dump; false: nobody else can dial it. */
static bool take(const struct nlmsghdr *h, uint8_t ret[16])
{
	const struct ifaddrmsg *m = NLMSG_DATA(h);
	const struct rtattr *a = IFA_RTA(m);
	int n = (int)IFA_PAYLOAD(h);
	const uint8_t *ip = NULL;
	size_t want = m->ifa_family == AF_INET ? 4 : 16;

	if (h->nlmsg_type != RTM_NEWADDR || h->nlmsg_len < NLMSG_LENGTH(sizeof *m) || m->ifa_index == LO ||
	    (m->ifa_family != AF_INET && m->ifa_family != AF_INET6) || m->ifa_scope >= RT_SCOPE_LINK)
		return false;
	/* IFA_ADDRESS is the other end's where there are two. */
	for (; RTA_OK(a, n); a = RTA_NEXT(a, n))
		if ((a->rta_type == IFA_LOCAL || (a->rta_type == IFA_ADDRESS && !ip)) && RTA_PAYLOAD(a) == want)
			ip = RTA_DATA(a);
	if (!ip)
		return false;
	memset(ret, 0, 16);
	if (want == 4)
		ret[10] = ret[11] = 0xff;
	memcpy(ret + 16 - want, ip, want);
	return true;
}

/* 0; 1: more follows; or -errno. */
static int take_some(struct fd s, struct pod_addresses *to)
{
	_Alignas(8) uint8_t in[8192];
	ssize_t n = recv(s.v, in, sizeof in, 0);

	if (n < 0)
		return errno == EINTR ? 1 : -errno;
	for (struct nlmsghdr *h = (void *)in; NLMSG_OK(h, (size_t)n); h = NLMSG_NEXT(h, n)) {
		uint8_t ip[16];

		if (h->nlmsg_type == NLMSG_DONE)
			return 0;
		if (h->nlmsg_type == NLMSG_ERROR)
			return -EPROTO;
		if (to->n < POD_ADDRESSES && take(h, ip))
			memcpy(to->ip[to->n++], ip, sizeof ip);
	}
	return 1;
}

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, 16);
}

int addresses_read(struct pod_addresses *ret)
{
	const struct timeval patience = { .tv_sec = ANSWER_S };
	struct {
		struct nlmsghdr h;
		struct ifaddrmsg m;
	} ask = { .h = { .nlmsg_len = sizeof ask, .nlmsg_type = RTM_GETADDR,
			 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP } };
	struct sockaddr_nl to = { .nl_family = AF_NETLINK };
	struct fd s = { socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_ROUTE) };
	struct pod_addresses all = { 0 };
	int r = 0;

	if (s.v < 0)
		return -errno;
	if (setsockopt(s.v, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) < 0 ||
	    sendto(s.v, &ask, sizeof ask, 0, (struct sockaddr *)&to, sizeof to) < 0)
		r = -errno;
	if (r == 0)
		while ((r = take_some(s, &all)) == 1)
			;
	fd_close(&s);
	if (r < 0)
		return r;
	qsort(all.ip, all.n, 16, compare);
	*ret = all;
	return 0;
}
