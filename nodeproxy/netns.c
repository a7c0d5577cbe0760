/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See netns.h. */
#include "nodeproxy/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "nodeproxy/lib/base/memfd.h"
#include "nodeproxy/lib/net/addr.h"
#include "nodeproxy/lib/role/enter.h"
#include "nodeproxy/addresses.h"
#include "nodeproxy/listeners.h"
#include "nodeproxy/nft.h"
#include "nodeproxy/pods.h"
#include "nodeproxy/route.h"
#include "nodeproxy/visit.h"

/* What is in the way may be what was there before, and is being closed just now: the keeper does that for
 * some 60 pods a second.  Well below ERRAND_S, as a transaction that is refused takes its time, too. */
#define AGAIN_MOST_MS 2500
#define AGAIN_MS      5

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71	/* of Linux 5.14 */
#endif

#define OWN_NETNS "/proc/self/ns/net"
#define SAID 384	/* words of an error */
#define BANK_MESSAGE CHAN_MAX_FDS	/* sockets that go with one */

/* ---- the channel ---- */

/* Nobody watches it here: it waits until the master has room. */
void errand_say(struct chan *ch, enum msg_type t, const void *payload, const char *text,
		const struct fd *fd, unsigned n)
{
	struct pollfd p = { .fd = ch->fd.v, .events = POLLOUT };
	int fds[CHAN_MAX_FDS];

	for (unsigned i = 0; i < n; i++)
		fds[i] = fd[i].v;
	if (chan_send(ch, t, payload, slice_str(text), fds, n) < 0)
		_exit(1);
	while (ch->queued) {
		(void)poll(&p, 1, -1);
		if (chan_flush(ch) == -EPIPE)
			_exit(1);
	}
}

/* The next of that type. */
static const struct msg *await(struct chan *ch, enum msg_type t)
{
	struct pollfd p = { .fd = ch->fd.v, .events = POLLIN };
	const struct msg *msg;
	int r;

	for (;;) {
		r = chan_recv(ch, &msg);
		if (r == 1 && msg->type == t)
			return msg;
		if (r < 0)
			_exit(1);	/* the master is gone */
		if (r == 0)
			(void)poll(&p, 1, -1);
	}
}

/* ---- namespaces ---- */

static int inode_of(int fd, uint64_t *ret)
{
	struct statfs fs;
	struct stat st;

	if (fstatfs(fd, &fs) < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (fs.f_type != NSFS_MAGIC)
		return -EINVAL;
	*ret = st.st_ino;
	return 0;
}

/* O_PATH first would not do: the kernel follows the link of /proc only for who may. */
int netns_open(const char *path, struct fd *ret, uint64_t *inode)
{
	struct fd f = { open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY) };
	int r = f.v < 0 ? -errno : inode_of(f.v, inode);

	if (r < 0)
		fd_close(&f);
	else
		*ret = f;
	return r;
}

static int own_inode(uint64_t *ret)
{
	struct fd f;
	int r = netns_open(OWN_NETNS, &f, ret);

	if (r == 0)
		fd_close(&f);
	return r;
}

/* ---- enter ---- */

/* Those of a family, in the order of messages.h. */
static const struct {
	uint16_t port;
	bool loopback, udp;
} socket_of[POD_SOCKETS] = { { POD_OUT, true, false }, { POD_IN, false, false },
			     { POD_NAMES, true, false }, { POD_NAMES, true, true } };

static int open_udp(const struct addr *a, struct fd *ret)
{
	struct sockaddr_storage ss;
	socklen_t n = addr_to_sockaddr(a, &ss);
	struct fd f = { socket(ss.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) };
	int one = 1, r = 0;

	if (f.v < 0)
		return -errno;
	if ((a->family == 6 && setsockopt(f.v, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) < 0) ||
	    bind(f.v, (struct sockaddr *)&ss, n) < 0)
		r = -errno;
	if (r < 0)
		fd_close(&f);
	else
		*ret = f;
	return r;
}

static int open_one(uint8_t family, unsigned which, uint16_t port, struct fd *ret)
{
	struct addr a = { .family = family, .port = port };
	int one = 1, r;

	if (socket_of[which].loopback && family == 4)
		memcpy(a.ip, (const uint8_t[]){ 127, 0, 0, 1 }, 4);
	else if (socket_of[which].loopback)
		a.ip[15] = 1;
	/* Without SO_REUSEPORT: nobody in the pod can join the group. */
	if (socket_of[which].udp)
		return open_udp(&a, ret);
	r = listener_bind(&a, false, ret);
	if (r == 0)
		r = listener_listen(*ret);
	if (r == 0 && setsockopt(ret->v, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0)
		r = -errno;
	return r;
}

/* All of a family; what went wrong with which is in words.  Of a uid there is only the first one, on the
 * port that it has in IPv4, where it may be any. */
static int open_listeners(uint8_t family, struct rules *rules, struct fd *ret, char words[SAID])
{
	for (unsigned i = 0; i < pod_sockets(rules->uid); i++) {
		uint16_t port = rules->uid ? rules->port : socket_of[i].port;
		int r = open_one(family, i, port, &ret[i]);

		if (r == 0)
			continue;
		snprintf(words, SAID, "cannot listen on port %u of IPv%u in it: %s", port, family,
			 strerror(-r));
		return r;
	}
	if (rules->uid)
		rules->port = netns_port(ret[0]);
	return 0;
}

uint16_t netns_port(struct fd f)
{
	struct sockaddr_storage ss;
	socklen_t n = sizeof ss;
	struct addr a = { .family = 0 };

	if (getsockname(f.v, (struct sockaddr *)&ss, &n) == 0)
		addr_from_sockaddr(&ss, &a);
	return a.port;
}

static int capture(struct rules rules, struct fd *ret, char words[SAID])
{
	int r = nft_capture(rules, ret);

	if ((r == -EEXIST || r == -EPERM) && rules.uid)
		snprintf(words, SAID, "another nodeproxy of this network namespace captures uid %u", rules.uid);
	else if (r == -EEXIST)
		snprintf(words, SAID, "it has a table inet nodeproxy of somebody else");
	else if (r < 0)
		snprintf(words, SAID, "cannot put the rules of nftables: %s", strerror(-r));
	return r;
}

static int find(const struct errand_job *job, struct fd *ret, uint64_t *inode, char words[SAID])
{
	const char *path = job->how.uid ? OWN_NETNS : job->netns;	/* processes of a uid are in ours */
	uint64_t own;
	int r = netns_open(path, ret, inode);

	if (r == -EINVAL)
		snprintf(words, SAID, "%s is not a namespace", path);
	else if (r < 0)
		snprintf(words, SAID, "%s: %s", path, strerror(-r));
	if (job->how.uid)
		return r;
	if (r == 0)
		r = own_inode(&own);
	if (r < 0)
		return r;
	if (*inode != own)
		return 0;
	snprintf(words, SAID, "%s is the network namespace of nodeproxy itself", job->netns);
	return -EINVAL;
}

/* The master knows whether it may be: it is captured already, perhaps. */
static int ask(struct chan *ch, uint64_t inode, char words[SAID])
{
	struct msg_pod_found found = { .inode = inode };
	const struct msg *msg;

	errand_say(ch, MSG_POD_FOUND, &found, "", NULL, 0);
	msg = await(ch, MSG_POD_ENTER);
	snprintf(words, SAID, "%.*s", (int)msg->tail.n, (const char *)msg->tail.p);
	return ((const struct msg_errand_done *)msg->p)->error;
}

/* The way of answers. */
static int lead_back(bool has_ipv6, char words[SAID])
{
	int r = route_origin(true, has_ipv6);

	if (r < 0)
		snprintf(words, SAID, "cannot put the route that showing callers' addresses needs: %s",
			 strerror(-r));
	return r;
}

/* The socket of the rules, and the listeners: these are opened first, so that nothing is led to nobody. */
static int open_all(const struct errand_job *job, struct fd ret[1 + POD_LISTENERS], char words[SAID])
{
	struct rules rules = job->how;
	char none[SAID];
	bool ipv6;
	int r = open_listeners(4, &rules, &ret[1], words);

	if (r < 0)
		return r;
	r = open_listeners(6, &rules, &ret[1 + pod_sockets(rules.uid)], none);
	if (r == -EADDRNOTAVAIL || r == -EAFNOSUPPORT) {
		/* A pod without IPv6 has no ::1. */
	} else if (r < 0) {
		memcpy(words, none, SAID);
		return r;
	}
	r = capture(rules, &ret[0], words);
	if (r < 0 || !rules.origin)
		return r;
	/* Not before: who was captured here before this takes away its own until its rules are gone. */
	ipv6 = fd_is_open(ret[1 + pod_sockets(rules.uid)]);
	r = lead_back(ipv6, words);
	if (r < 0) {
		(void)!route_origin(false, ipv6);
		rules.origin = false;
		(void)!nft_free(ret[0], rules);		/* so that they go with the socket */
	}
	return r;
}

/* Inside: whether it is the one that it was. */
static int same(const struct errand_job *job, uint64_t *ret_cookie, char words[SAID])
{
	struct fd s = { socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
	socklen_t n = sizeof *ret_cookie;

	*ret_cookie = 0;
	if (s.v >= 0)
		(void)getsockopt(s.v, SOL_SOCKET, SO_NETNS_COOKIE, ret_cookie, &n);
	fd_close(&s);
	if (!job->cookie || job->cookie == *ret_cookie)
		return 0;
	snprintf(words, SAID, "%s is another namespace now",
		 job->how.uid ? "the network namespace of nodeproxy" : job->netns);
	return -ESTALE;
}

static void enter(const struct errand_job *job, struct chan *ch)
{
	struct msg_pod_entered e = { .error = 0 };
	struct fd fd[2 + POD_LISTENERS];
	char words[SAID] = "";
	unsigned n = 2 + pod_sockets(job->how.uid);
	int r;

	for (unsigned i = 0; i < countof(fd); i++)
		fd[i] = FD_NONE;

	r = find(job, &fd[0], &e.inode, words);
	if (r == 0)
		r = ask(ch, e.inode, words);
	if (r == 0 && !job->how.uid && setns(fd[0].v, CLONE_NEWNET) < 0) {
		r = -errno;
		snprintf(words, sizeof words, "cannot enter %s: %s", job->netns, strerror(-r));
	}
	if (r == 0)
		r = same(job, &e.cookie, words);
	for (struct mono began = clock_tick(); r == 0; ) {
		r = open_all(job, &fd[1], words);
		if ((r != -EADDRINUSE && r != -EEXIST && r != -EPERM) ||
		    mono_diff_ms(clock_tick(), began) > AGAIN_MOST_MS)
			break;
		for (unsigned k = 1; k < countof(fd); k++)
			fd_close(&fd[k]);
		(void)poll(NULL, 0, AGAIN_MS);
		r = 0;
	}
	/* Without them it is dialled as any other.  Those of a uid are everybody's here. */
	if (r == 0 && !job->how.uid && addresses_read(&e.addresses) < 0)
		e.addresses.n = 0;
	e.error = r;
	if (fd_is_open(fd[n]))
		n += pod_sockets(job->how.uid);
	errand_say(ch, MSG_POD_ENTERED, &e, r < 0 ? words : "", fd, r < 0 ? 0 : n);
}

/* ---- bank ---- */

static int open_socket(unsigned sort, struct fd *ret)
{
	bool udp = sort >= 2, ipv4 = sort % 2 == 0;
	struct fd f = { socket(ipv4 ? AF_INET : AF_INET6,
			       (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) };
	int mark = POD_MARK, one = 1;

	if (f.v < 0)
		return -errno;
	/* The last two are for those that will show a caller's address: to tell them apart, in banks of
	 * their own, would cost more. */
	if (setsockopt(f.v, SOL_SOCKET, SO_MARK, &mark, sizeof mark) < 0 ||
	    (!udp && (setsockopt(f.v, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0 ||
		      setsockopt(f.v, ipv4 ? SOL_IP : SOL_IPV6, ipv4 ? IP_TRANSPARENT : IPV6_TRANSPARENT,
				 &one, sizeof one) < 0 ||
		      setsockopt(f.v, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one) < 0))) {
		fd_close(&f);
		return -errno;
	}
	*ret = f;
	return 0;
}

static int fill(const struct errand_job *job, struct chan *ch)
{
	if (setns(job->inside.v, CLONE_NEWNET) < 0)
		return -errno;
	for (unsigned k = 0; k < BANK_KINDS; k++) {
		struct msg_bank b = { .ref = job->ref, .sort = k };
		unsigned left = min_of(job->n[k], (uint16_t)BANK_ERRAND);

		while (left) {
			struct fd fd[BANK_MESSAGE];
			unsigned n = 0;

			int r = 0;

			while (n < BANK_MESSAGE && n < left && (r = open_socket(k, &fd[n])) == 0)
				n++;
			if (n == 0)
				return r;
			errand_say(ch, MSG_BANK_OPENED, &b, "", fd, n);
			left -= n;
			/* A copy here would keep the socket open when its user closes it. */
			for (unsigned i = 0; i < n; i++)
				fd_close(&fd[i]);
		}
	}
	return 0;
}

/* ---- origin ---- */

/* The rules first when it ends, the route first when it begins: nothing is marked that has no way.  Of one
 * that leaves the rules go with their socket. */
static int set_origin(const struct errand_job *job)
{
	bool on = job->how.origin;
	int r = setns(job->inside.v, CLONE_NEWNET) < 0 ? -errno : 0;

	if (r == 0 && on)
		r = route_origin(true, job->has_ipv6);
	if (r == 0 && fd_is_open(job->rules))
		r = nft_change(job->rules, job->how);
	if (r == 0 && !on)
		r = route_origin(false, job->has_ipv6);
	return r;
}

static void sweep(const struct errand_pod *pod, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct fd f;
		uint64_t inode;

		if (netns_open(pod[i].netns, &f, &inode) < 0)
			continue;
		if (inode == pod[i].inode && setns(f.v, CLONE_NEWNET) == 0)
			(void)!route_origin(false, true);
		fd_close(&f);
	}
}

/* ---- look ---- */

static void look(const struct errand_pod *pod, size_t n, struct chan *ch)
{
	for (size_t i = 0; i < n; i++) {
		struct msg_pod gone = { .ref = pod[i].ref };
		struct stat st;

		if (pod[i].uid)
			continue;
		if (stat(pod[i].netns, &st) == 0 ? st.st_ino != pod[i].inode
						 : errno == ENOENT || errno == ESRCH)
			errand_say(ch, MSG_POD_LEFT, &gone, "", NULL, 0);
	}
}

/* ---- all ---- */

static void take_job(struct chan *ch, struct errand_job *ret)
{
	const struct msg *msg = await(ch, MSG_ERRAND);
	const struct msg_errand *e = msg->p;
	struct fd *fds[] = { &ret->inside, &ret->rules, &ret->list };
	unsigned n = 0;

	*ret = (struct errand_job){ .kind = (enum errand_kind)e->kind, .ref = e->ref, .cookie = e->cookie,
				    .has_ipv6 = e->has_ipv6 };
	ret->how = (struct rules){ .uid = e->uid, .port = e->port, .stays = e->stays, .origin = e->origin };
	memcpy(ret->netns, e->netns, sizeof ret->netns);
	memcpy(ret->n, e->n, sizeof ret->n);
	for (unsigned i = 0; i < countof(fds); i++)
		*fds[i] = e->fds & 1u << i && n < msg->nfds ? fd_take(&ch->in.fd[n++]) : FD_NONE;
}

static int do_job(const struct errand_job *job, struct chan *ch)
{
	const struct errand_pod *pod;
	struct slice bytes = { 0 };
	size_t n;

	if (fd_is_open(job->list) && memfd_map_sealed(job->list, PODS_MAX * sizeof *pod, &bytes) < 0)
		return -EBADMSG;
	pod = (const void *)bytes.p;
	n = bytes.n / sizeof *pod;
	switch (job->kind) {
	case ERRAND_ENTER:
		enter(job, ch);
		break;
	case ERRAND_BANK:
		return fill(job, ch);
	case ERRAND_CHANGE:
		return nft_change(job->rules, job->how);
	case ERRAND_FREE:
		return nft_free(job->rules, job->how);
	case ERRAND_ORIGIN:
		return set_origin(job);
	case ERRAND_SWEEP:
		sweep(pod, n);
		break;
	case ERRAND_LOOK:
		look(pod, n, ch);
		visit_pods(pod, n, ch);
		break;
	}
	return 0;
}

_Noreturn void errand_run(struct fd fd)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGALRM, SIGCHLD };
	struct msg_errand_done done;
	struct errand_job job;
	struct chan ch;

	for (size_t i = 0; i < countof(signals); i++)
		signal(signals[i], SIG_DFL);
	alarm(ERRAND_S);
	prctl(PR_SET_NAME, "nodeproxy-errand");
	chan_init(&ch, &fd, ROLE_ERRAND, ROLE_MASTER);
	take_job(&ch, &job);
	if (role_raise(ROLE_MASTER) < 0)
		_exit(1);
	done = (struct msg_errand_done){ .error = do_job(&job, &ch) };
	errand_say(&ch, MSG_ERRAND_DONE, &done, "", NULL, 0);
	_exit(0);
}
