/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See nft.h. */
#include "nodeproxy/nft.h"

#include <endian.h>
#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>

#include "nodeproxy/ruleset.h"

#define ANSWER_MS 2000

/* ---- transactions ---- */

/* Every message of the transaction is answered; the first error is why all of it was refused. */
static int hear(struct fd s, uint32_t first, uint32_t last)
{
	_Alignas(8) uint8_t in[8192];

	for (uint32_t done = first; done <= last; ) {
		ssize_t n = recv(s.v, in, sizeof in, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		for (struct nlmsghdr *h = (void *)in; NLMSG_OK(h, (size_t)n); h = NLMSG_NEXT(h, n)) {
			const struct nlmsgerr *e = NLMSG_DATA(h);

			if (h->nlmsg_type != NLMSG_ERROR)
				continue;
			if (e->error)
				return e->error;
			done++;
		}
	}
	return 0;
}

/* All of it or nothing. */
static int commit(struct fd s, struct batch *b)
{
	struct sockaddr_nl to = { .nl_family = AF_NETLINK };
	uint32_t last = ruleset_end(b);

	if (sendto(s.v, b->at, b->n, 0, (struct sockaddr *)&to, sizeof to) < 0)
		return -errno;
	return hear(s, 2, last);	/* the first begins the transaction */
}

int nft_free(struct fd s, struct rules how)
{
	struct batch b = { .n = 0 };

	ruleset_begin(&b, &how);
	ruleset_hollow(&b, &how);
	return commit(s, &b);
}

/* Whatever of ours is to go first, none: a table that is there is somebody else's. */
static int put(struct fd s, void (*go)(struct batch *), struct rules how)
{
	struct batch b = { .n = 0 };

	ruleset_begin(&b, &how);
	if (go)
		go(&b);
	ruleset_capture(&b, &how);
	return commit(s, &b);
}

int nft_change(struct fd s, struct rules how)
{
	return put(s, ruleset_no_table, how);
}

static int open_socket(struct fd *ret)
{
	struct sockaddr_nl to = { .nl_family = AF_NETLINK };
	const struct timeval patience = { .tv_sec = ANSWER_MS / 1000 };
	struct fd s = { socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_NETFILTER) };
	int r = 0;

	if (s.v < 0)
		return -errno;
	if (setsockopt(s.v, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) < 0 ||
	    bind(s.v, (struct sockaddr *)&to, sizeof to) < 0)
		r = -errno;
	if (r < 0)
		fd_close(&s);
	else
		*ret = s;
	return r;
}

int nft_capture(struct rules how, struct fd *ret)
{
	struct fd s;
	int r = open_socket(&s);

	if (r < 0)
		return r;
	r = put(s, NULL, how);
	if (r == -EEXIST) {
		r = put(s, ruleset_no_table_that_stays, how);
		r = r == -ENOENT ? -EEXIST : r;
	}
	if (r < 0)
		fd_close(&s);
	else
		*ret = s;
	return r;
}

/* ---- counts ---- */

/* The attribute in these bytes; NULL: there is none, or they are not whole. */
static const struct nlattr *find_attr(const void *at, size_t n, uint16_t type)
{
	const uint8_t *p = at;

	while (n >= NLA_HDRLEN) {
		const struct nlattr *a = (const struct nlattr *)(const void *)p;
		size_t whole = NLMSG_ALIGN(a->nla_len);

		if (a->nla_len < NLA_HDRLEN || a->nla_len > n)
			return NULL;
		if ((a->nla_type & NLA_TYPE_MASK) == type)
			return a;
		if (whole >= n)
			return NULL;
		p += whole;
		n -= whole;
	}
	return NULL;
}

/* One counter of a dump. */
static void take_count(const struct nlmsghdr *h, uint64_t ret[PASSED])
{
	const size_t head = NLMSG_LENGTH(sizeof(struct nfgenmsg));
	const uint8_t *p = (const uint8_t *)h + head;
	size_t n = h->nlmsg_len > head ? h->nlmsg_len - head : 0;
	const struct nlattr *name = find_attr(p, n, NFTA_OBJ_NAME);
	const struct nlattr *data = find_attr(p, n, NFTA_OBJ_DATA), *packets;
	uint64_t v;

	packets = data ? find_attr(data + 1, data->nla_len - NLA_HDRLEN, NFTA_COUNTER_PACKETS) : NULL;
	if (!name || !packets || packets->nla_len != NLA_HDRLEN + sizeof v)
		return;
	memcpy(&v, packets + 1, sizeof v);
	for (unsigned i = 0; i < PASSED; i++)
		if (name->nla_len == NLA_HDRLEN + strlen(ruleset_counters[i]) + 1 &&
		    memcmp(name + 1, ruleset_counters[i], strlen(ruleset_counters[i]) + 1) == 0)
			ret[i] = be64toh(v);
}

/* 0; 1: more follows; or -errno. */
static int take_counts(struct fd s, uint64_t ret[PASSED])
{
	_Alignas(8) uint8_t in[8192];
	ssize_t n = recv(s.v, in, sizeof in, 0);

	if (n < 0)
		return errno == EINTR ? 1 : -errno;
	for (struct nlmsghdr *h = (void *)in; NLMSG_OK(h, (size_t)n); h = NLMSG_NEXT(h, n)) {
		const struct nlmsgerr *e = NLMSG_DATA(h);

		if (h->nlmsg_type == NLMSG_DONE)
			return 0;
		if (h->nlmsg_type == NLMSG_ERROR)
			return e->error ? e->error : -EPROTO;
		take_count(h, ret);
	}
	return 1;
}

int nft_count(uint32_t uid, uint64_t ret[PASSED])
{
	struct sockaddr_nl to = { .nl_family = AF_NETLINK };
	struct batch b = { .n = 0 };
	struct fd s;
	int r = open_socket(&s);

	if (r < 0)
		return r;
	memset(ret, 0, PASSED * sizeof ret[0]);
	ruleset_ask_counters(&b, uid);
	if (sendto(s.v, b.at, b.n, 0, (struct sockaddr *)&to, sizeof to) < 0)
		r = -errno;
	else
		do
			r = take_counts(s, ret);
		while (r > 0);
	fd_close(&s);
	return r;
}
