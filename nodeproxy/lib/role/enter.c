/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See enter.h. */
#include "nodeproxy/lib/role/enter.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/securebits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define CAP(c)	    (1ull << CAP_##c)
#define MASTER_CAPS                                                                                \
	(CAP(CHOWN) | CAP(DAC_OVERRIDE) | CAP(FOWNER) | CAP(KILL) | CAP(SETGID) | CAP(SETUID) |    \
	 CAP(SETPCAP) | CAP(NET_BIND_SERVICE) | CAP(SYS_NICE))

/* What errands of the master need in pods (nodeproxy/netns.h). */
#define ERRAND_CAPS (CAP(NET_ADMIN) | CAP(SYS_ADMIN) | CAP(SYS_PTRACE))

#define FILTER_S 5	/* a thousand times what it takes */

uint64_t role_unknown_count;
int role_unknown_last;

static const struct role_row rows[ROLES] = {
#define ROLE(name, program, account, uid, caps, spare)                                             \
	[ROLE_##name] = { program, account, uid, caps, spare, (account) != NULL },
#include "nodeproxy/lib/role/roles.def"
};

const struct role_row *role_row(enum role r)
{
	return r > ROLE_NONE && r < ROLES && rows[r].program ? &rows[r] : NULL;
}

/* ---- limits ---- */

static int set_limits(const struct role_row *row)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) < 0)
		return -errno;
	l.rlim_cur = l.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &l) < 0)
		return -errno;
	l = (struct rlimit){ 0, 0 };	/* a core file would hold every tenant's plaintext */
	if (row->account && setrlimit(RLIMIT_CORE, &l) < 0)
		return -errno;
	return 0;
}

/* ---- uid and capabilities ---- */

static int set_caps(uint64_t permitted, uint64_t effective)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2] = { 0 };

	d[0].permitted = (uint32_t)permitted;
	d[1].permitted = (uint32_t)(permitted >> 32);
	d[0].effective = (uint32_t)effective;
	d[1].effective = (uint32_t)(effective >> 32);
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
		return -errno;
	return syscall(SYS_capset, &h, d) < 0 ? -errno : 0;
}

/* What the process has now, of the wanted: a container may have given less, which is said by
 * whoever needs the missing one. */
static int caps_at_hand(uint64_t *ret)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2] = { 0 };

	if (syscall(SYS_capget, &h, d) < 0)
		return -errno;
	*ret = d[0].permitted | (uint64_t)d[1].permitted << 32;
	return 0;
}

static int drop_bounding(uint64_t keep)
{
	for (int c = 0; c < 64; c++) {
		if (keep & 1ull << c)
			continue;
		if (prctl(PR_CAPBSET_READ, c, 0, 0, 0) == 1 &&
		    prctl(PR_CAPBSET_DROP, c, 0, 0, 0) < 0)
			return -errno;
	}
	return 0;
}

static int become(uid_t uid, gid_t gid)
{
	const int locked = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP_LOCKED |
			   SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE |
			   SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;

	if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0)
		return -errno;
	if (prctl(PR_SET_SECUREBITS, locked, 0, 0, 0) < 0)
		return -errno;
	return setresuid(uid, uid, uid) < 0 ? -errno : 0;
}

/* ---- Landlock: raw calls, because the headers of Debian 12 are older than its newer kernels ---- */

struct ruleset {
	uint64_t fs, net, scoped;
};
static_must(sizeof(struct ruleset) == 24);

#define FS_BITS(n)   ((1ull << (n)) - 1)
#define SCOPE_BITS   3ull	/* abstract Unix sockets, signals */

int role_landlock_version(void)
{
	long v = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	return v > 0 ? (int)v : 0;
}

int role_landlock(const int *dirs, unsigned n)
{
	int version = role_landlock_version(), set, r = 0;
	/* file rights by version: 13 in the first, + REFER, TRUNCATE, IOCTL_DEV */
	unsigned bits = version >= 5 ? 16 : version >= 3 ? 15 : version == 2 ? 14 : 13;
	struct ruleset rs = { .fs = FS_BITS(bits), .scoped = version >= 6 ? SCOPE_BITS : 0 };

	if (version == 0)
		return 0;
	set = (int)syscall(SYS_landlock_create_ruleset, &rs,
			   version >= 6 ? 24 : version >= 4 ? 16 : 8, 0);
	if (set < 0)
		return -errno;
	for (unsigned i = 0; i < n && r == 0; i++) {
		struct landlock_path_beneath_attr a = { .allowed_access = rs.fs,
							.parent_fd = dirs[i] };

		if (syscall(SYS_landlock_add_rule, set, LANDLOCK_RULE_PATH_BENEATH, &a, 0) < 0)
			r = -errno;
	}
	if (r == 0 && syscall(SYS_landlock_restrict_self, set, 0) < 0)
		r = -errno;
	close(set);
	return r;
}

/* ---- the filter ---- */

#define W (1u << ROLE_WORKER)
#define S (1u << ROLE_SYNCD)
#define A (1u << ROLE_ADMIND)
#define K (1u << ROLE_KEYD)
#define X (W | S | A | K)
#define P (1u << ROLE_KEEPER | 1u << ROLE_MASTER)
#ifdef NP_SANITIZED
#define Z X
#else
#define Z 0u
#endif

#define ALWAYS (-1)
#define OPTION (-2)	/* of setsockopt: mask is the level, value the option */
#define SELF   (-3)	/* the first argument is our pid */

struct allowed {
	uint32_t roles;
	int nr, arg;
	uint64_t mask, value;
};

static const struct allowed allowed[] = {
#define ALLOW(roles, name)			  { roles, SCMP_SYS(name), ALWAYS, 0, 0 },
#define ALLOW_IF(roles, name, arg, mask, value) { roles, SCMP_SYS(name), arg, mask, value },
#define ALLOW_FCNTL(roles, command)		  { roles, SCMP_SYS(fcntl), 1, 0xffffffff, command },
#define ALLOW_OPTION(roles, level, option)	  { roles, SCMP_SYS(setsockopt), OPTION, level, option },
#define ALLOW_SELF(roles, name)			  { roles, SCMP_SYS(name), SELF, 0, 0 },
#define ALLOW_TCP(roles)
#include "nodeproxy/lib/role/roles.def"
};

static const struct {
	uint32_t roles;
	int nr;
} kills[] = {
#define KILL(roles, name) { roles, SCMP_SYS(name) },
#include "nodeproxy/lib/role/roles.def"
};

static const uint32_t tcp_roles = 0
#define ALLOW(...)
#define ALLOW_IF(...)
#define ALLOW_FCNTL(...)
#define ALLOW_OPTION(...)
#define ALLOW_SELF(...)
#define ALLOW_TCP(roles) | (roles)
#include "nodeproxy/lib/role/roles.def"
	;

#undef W
#undef S
#undef A
#undef K
#undef X
#undef P
#undef Z

static void refused(int signo, siginfo_t *si, void *uc)
{
	ucontext_t *u = uc;

	(void)signo;
	role_unknown_last = si->si_syscall;
	__atomic_fetch_add(&role_unknown_count, 1, __ATOMIC_RELAXED);
#if defined(__x86_64__)
	u->uc_mcontext.gregs[REG_RAX] = -EPERM;
#elif defined(__aarch64__)
	u->uc_mcontext.regs[0] = (unsigned long long)-EPERM;
#else
	(void)u;
#endif
}

/* EPERM with a count where we know where the answer goes, plain EPERM elsewhere. */
static uint32_t refuse_action(void)
{
#if defined(__x86_64__) || defined(__aarch64__)
	struct sigaction sa = { .sa_sigaction = refused, .sa_flags = SA_SIGINFO | SA_NODEFER };

	sigemptyset(&sa.sa_mask);
	if (sigaction(SIGSYS, &sa, NULL) == 0)
		return SCMP_ACT_TRAP;
#endif
	return SCMP_ACT_ERRNO(EPERM);
}

/* Raw sockets kill; TCP in the namespace it lives in, where the role has it. */
static int socket_rules(scmp_filter_ctx f, uint32_t me)
{
	static const uint64_t family[] = { AF_INET, AF_INET6 };
	static const uint64_t protocol[] = { 0, IPPROTO_TCP };
	int r;

	/* the low four bits of the type are the type, the others its flags */
	r = seccomp_rule_add(f, SCMP_ACT_KILL_PROCESS, SCMP_SYS(socket), 1,
			     SCMP_A1(SCMP_CMP_MASKED_EQ, 0xf, SOCK_RAW));
	if (r == 0)
		r = seccomp_rule_add(f, SCMP_ACT_KILL_PROCESS, SCMP_SYS(socket), 1,
				     SCMP_A0(SCMP_CMP_EQ, AF_PACKET, 0));
	if (!(me & tcp_roles))
		return r;
	for (size_t i = 0; r == 0 && i < 4; i++)
		r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(socket), 3,
				     SCMP_A0(SCMP_CMP_EQ, family[i / 2], 0),
				     SCMP_A1(SCMP_CMP_MASKED_EQ, 0xf, SOCK_STREAM),
				     SCMP_A2(SCMP_CMP_EQ, protocol[i % 2], 0));
	return r;
}

static int allow(scmp_filter_ctx f, const struct allowed *a)
{
	const uint64_t int_bits = 0xffffffff;	/* the kernel looks at no more of an int */

	switch (a->arg) {
	case ALWAYS:
		return seccomp_rule_add(f, SCMP_ACT_ALLOW, a->nr, 0);
	case OPTION:
		return seccomp_rule_add(f, SCMP_ACT_ALLOW, a->nr, 2,
					SCMP_A1(SCMP_CMP_MASKED_EQ, int_bits, a->mask),
					SCMP_A2(SCMP_CMP_MASKED_EQ, int_bits, a->value));
	case SELF:
		return seccomp_rule_add(f, SCMP_ACT_ALLOW, a->nr, 1,
					SCMP_A0(SCMP_CMP_MASKED_EQ, int_bits, (uint64_t)getpid()));
	default:
		return seccomp_rule_add(f, SCMP_ACT_ALLOW, a->nr, 1,
					SCMP_CMP((unsigned)a->arg, SCMP_CMP_MASKED_EQ, a->mask,
						 a->value));
	}
}

static int load_filter(enum role role)
{
	const uint32_t me = 1u << role;
	scmp_filter_ctx f = seccomp_init(rows[role].listed ? refuse_action() : SCMP_ACT_ALLOW);
	int r = 0;

	if (!f)
		return -ENOMEM;
	(void)seccomp_attr_set(f, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	(void)seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2);	/* a binary tree */
	for (size_t i = 0; r == 0 && i < countof(kills); i++)
		if (kills[i].roles & me)
			r = seccomp_rule_add(f, SCMP_ACT_KILL_PROCESS, kills[i].nr, 0);
	for (size_t i = 0; r == 0 && rows[role].listed && i < countof(allowed); i++) {
		const struct allowed *a = &allowed[i];

		if (!(a->roles & me))
			continue;
		r = allow(f, a);
		if (r == -EEXIST)	/* a sanitizer row says it again */
			r = 0;
	}
	if (r == 0)
		r = socket_rules(f, me);
	if (r == 0)
		r = seccomp_load(f);
	seccomp_release(f);
	return r;
}

int role_raise(enum role role)
{
	const struct role_row *row = role_row(role);
	uint64_t have = 0;
	int r = row ? caps_at_hand(&have) : -EINVAL;

	if (r < 0)
		return r;
	have &= row->caps | row->spare;
	return set_caps(have, have);
}

int role_enter(enum role role, uid_t uid, gid_t gid, const char **step)
{
	const struct role_row *row = role_row(role);
	const char *at = "role";
	uint64_t have = 0;
	int r = -EINVAL;

	if (!row)
		goto out;
	at = "limits";
	r = set_limits(row);
	if (r < 0)
		goto out;
	at = "no_new_privs";
	r = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
	if (r < 0)
		goto out;
	at = "capabilities";
	r = caps_at_hand(&have);
	if (r == 0)
		r = drop_bounding(row->caps | row->spare);
	if (r < 0)
		goto out;
	if (row->account) {
		at = "uid";
		r = become(uid, gid);
		if (r < 0)
			goto out;
	}
	at = "capabilities";
	r = set_caps((row->caps | row->spare) & have, row->caps & have);
	if (r < 0)
		goto out;
	if (role == ROLE_WORKER || role == ROLE_ADMIND) {
		at = "landlock";	/* syncd and keyd: once they have their directory, see begin.c */
#ifndef NP_SANITIZED
		r = role_landlock(NULL, 0);
		if (r < 0)
			goto out;
#endif
	}
	at = "seccomp";
	/* Without memory libseccomp 2.5 may loop for ever: better dead.  The clock goes on, because
	 * the filter allows nobody to stop it. */
	signal(SIGALRM, SIG_DFL);
	alarm(FILTER_S);
	r = load_filter(role);
	signal(SIGALRM, SIG_IGN);
out:
	if (step)
		*step = at;
	return r;
}
