/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See route.h. */
#include "nodeproxy/route.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "nodeproxy/lib/base/fd.h"

#define TABLE	   15006u	/* as the port */
#define PREFERENCE 15u		/* behind the table of local addresses (0), before all that others add */
#define MARK_MASK  0xfffu
#define LO	   1u		/* index of lo, in every namespace */
#define ANSWER_S   2

struct number {
	struct rtattr a;
	uint32_t v;
};

static struct number number(unsigned short type, uint32_t v)
{
	return (struct number){ { sizeof(struct number), type }, v };
}

/* One message and its answer. */
static int ask(struct fd s, const void *msg, size_t n)
{
	struct sockaddr_nl to = { .nl_family = AF_NETLINK };
	_Alignas(8) uint8_t in[1024];
	const struct nlmsghdr *h = (const void *)in;
	const struct nlmsgerr *e = NLMSG_DATA(h);
	ssize_t got;

	if (sendto(s.v, msg, n, 0, (struct sockaddr *)&to, sizeof to) < 0)
		return -errno;
	do
		got = recv(s.v, in, sizeof in, 0);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	if (got < (ssize_t)NLMSG_LENGTH(sizeof *e) || h->nlmsg_type != NLMSG_ERROR)
		return -EBADMSG;
	return e->error;
}

static struct nlmsghdr head(size_t n, bool on, uint16_t add, uint16_t del)
{
	return (struct nlmsghdr){ .nlmsg_len = (uint32_t)n,
				  .nlmsg_type = on ? add : del,
				  .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK |
							    (on ? NLM_F_CREATE | NLM_F_EXCL : 0)) };
}

/* fwmark MARK/MASK lookup TABLE */
static int rule(struct fd s, bool on, uint8_t family)
{
	struct {
		struct nlmsghdr h;
		struct fib_rule_hdr r;
		struct number n[4];
	} m = {
		.h = head(sizeof m, on, RTM_NEWRULE, RTM_DELRULE),
		.r = { .family = family, .action = FR_ACT_TO_TBL, .table = RT_TABLE_UNSPEC },
		.n = { number(FRA_PRIORITY, PREFERENCE), number(FRA_FWMARK, ORIGIN_MARK),
		       number(FRA_FWMASK, MARK_MASK), number(FRA_TABLE, TABLE) },
	};

	static_must(sizeof m == sizeof m.h + sizeof m.r + sizeof m.n);
	return ask(s, &m, sizeof m);
}

/* local default dev lo table TABLE */
static int route(struct fd s, bool on, uint8_t family)
{
	struct {
		struct nlmsghdr h;
		struct rtmsg r;
		struct number n[2];
	} m = {
		.h = head(sizeof m, on, RTM_NEWROUTE, RTM_DELROUTE),
		.r = { .rtm_family = family, .rtm_table = RT_TABLE_UNSPEC, .rtm_protocol = RTPROT_STATIC,
		       .rtm_scope = family == AF_INET ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE,
		       .rtm_type = RTN_LOCAL },
		.n = { number(RTA_TABLE, TABLE), number(RTA_OIF, LO) },
	};

	static_must(sizeof m == sizeof m.h + sizeof m.r + sizeof m.n);
	return ask(s, &m, sizeof m);
}

static bool is_so(bool on, int r)
{
	return r == 0 || (on ? r == -EEXIST : r == -ENOENT || r == -ESRCH);
}

int route_origin(bool on, bool has_ipv6)
{
	static const uint8_t family[] = { AF_INET, AF_INET6 };
	const struct timeval patience = { .tv_sec = ANSWER_S };
	struct fd s = { socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_ROUTE) };
	int r = 0;

	if (s.v < 0)
		return -errno;
	if (setsockopt(s.v, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) < 0)
		r = -errno;
	for (unsigned i = 0; r == 0 && i < (has_ipv6 ? 2 : 1); i++) {
		r = route(s, on, family[i]);
		if (is_so(on, r))
			r = rule(s, on, family[i]);
		if (is_so(on, r))
			r = 0;
	}
	fd_close(&s);
	return r;
}
