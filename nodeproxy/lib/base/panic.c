/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See panic.h.  Everything between here and abort() is async-signal-safe, but for snprintf in
 * panic() itself, which runs on a normal stack and touches only local memory. */
#include "nodeproxy/lib/base/panic.h"

#include <errno.h>
#include <execinfo.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "nodeproxy/lib/base/log.h"

bool never_aborts;
uint64_t never_count;

static struct panic_page *the_page;
static char the_role[16];
static const char *doing = "";
static const struct trail *trail_at_hand;
static volatile sig_atomic_t panicking;

extern char __executable_start[];	/* from the linker: makes addresses position-independent */

static void put_str(char *to, size_t n, const char *from)
{
	size_t i = 0;

	for (; from && from[i] && i + 1 < n; i++)
		to[i] = from[i];
	for (; i < n; i++)
		to[i] = 0;
}

static uint32_t in_bytes(unsigned word)
{
	return (word & 0xf) | (word >> 4 & 0xf) << 8 | (word >> 8 & 0xf) << 16 | word >> 12 << 24;
}

static void page_fill(struct panic_page *p, const char *file, int line, int signo, uintptr_t addr,
		      const char *what)
{
	struct timespec ts;
	void *frames[PANIC_FRAMES];
	int n = backtrace(frames, PANIC_FRAMES);

	clock_gettime(CLOCK_REALTIME, &ts);
	p->pid = (uint32_t)getpid();
	p->line = (uint32_t)line;
	p->signo = (uint32_t)signo;
	p->at_unix_ms = (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
	p->fault_addr = addr;
	put_str(p->role, sizeof p->role, the_role);
	put_str(p->stage, sizeof p->stage, doing);
	put_str(p->file, sizeof p->file, file);
	put_str(p->what, sizeof p->what, what);
	put_str(p->version, sizeof p->version, PACKAGE_VERSION);
	for (int i = 0; i < PANIC_TRAIL; i++)
		p->trail[i] = trail_at_hand ? in_bytes(trail_at(trail_at_hand, (unsigned)i)) : 0;
	for (int i = 0; i < PANIC_FRAMES; i++)
		p->frames[i] = i < n ? (uint64_t)((char *)frames[i] - __executable_start) : 0;
	__atomic_store_n(&p->magic, PANIC_MAGIC, __ATOMIC_RELEASE);
}

static void say(const char *s)
{
	log_text(s, strlen(s));		/* a full pipe must not keep a dead process alive */
}

void panic(const char *file, int line, const char *fmt, ...)
{
	char what[512], text[768];
	va_list ap;

	if (panicking++)
		abort();
	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	snprintf(text, sizeof text, "level=crit role=%s event=panic at=%s:%d what=\"%s\"\n",
		 the_role[0] ? the_role : "-", file, line, what);
	say(text);
	if (the_page)
		page_fill(the_page, file, line, 0, 0, what);
	abort();
}

bool never_happened(const char *file, int line, const char *what)
{
	never_count++;
	if (never_aborts)
		panic(file, line, "never(%s)", what);
	return true;
}

static void fatal_signal(int signo, siginfo_t *si, void *uc)
{
	(void)uc;
	if (!panicking++) {
		say("level=crit event=panic what=\"fatal signal\"\n");
		if (the_page)
			page_fill(the_page, "", 0, signo, (uintptr_t)si->si_addr, "fatal signal");
	}
	/* SA_RESETHAND restored the default: die of the same signal, so the master sees it. */
	raise(signo);
}

void panic_init(struct panic_page *page, const char *role)
{
	static const int fatal[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP };
	static char alt[64 * 1024];
	void *warm[2];

	the_page = page;
	put_str(the_role, sizeof the_role, role);
	backtrace(warm, 2);	/* the first call loads libgcc_s: must not happen after seccomp */

#if !defined(__SANITIZE_ADDRESS__)
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
	return;			/* the sanitizer reports fatal signals better than we can */
#endif
#endif
	stack_t ss = { .ss_sp = alt, .ss_size = sizeof alt };
	struct sigaction sa = { .sa_sigaction = fatal_signal,
				.sa_flags = SA_SIGINFO | SA_RESETHAND | SA_ONSTACK | SA_NODEFER };

	sigaltstack(&ss, NULL);
	sigemptyset(&sa.sa_mask);
	for (size_t i = 0; i < countof(fatal); i++)
		sigaction(fatal[i], &sa, NULL);
#else
	(void)fatal, (void)alt, (void)fatal_signal;
#endif
}

void panic_doing(const char *what)
{
	doing = what;
}

void panic_trail(const struct trail *trail)
{
	trail_at_hand = trail;
}

/* Copies at most n bytes of a string that a broken process wrote; odd bytes become '?'. */
static const char *clean(const char *s, size_t n, char *out)
{
	size_t i = 0;

	for (; i + 1 < n && s[i]; i++)
		out[i] = s[i] >= 0x20 && s[i] < 0x7f ? s[i] : '?';
	out[i] = 0;
	return out;
}

size_t panic_page_text(const struct panic_page *p, char *out, size_t n)
{
	char a[512], b[96], c[32], d[16], e[64];
	int at, r;

	r = snprintf(out, n,
		     "role=%s pid=%u at_unix_ms=%llu version=%s\n"
		     "what=\"%s\" at=%s:%u signal=%u address=0x%llx\n"
		     "doing=%s rev=%llu turn=%llu\n",
		     clean(p->role, sizeof p->role, d), p->pid, (unsigned long long)p->at_unix_ms,
		     clean(p->version, sizeof p->version, e), clean(p->what, sizeof p->what, a),
		     clean(p->file, sizeof p->file, b), p->line, p->signo,
		     (unsigned long long)p->fault_addr, clean(p->stage, sizeof p->stage, c),
		     (unsigned long long)p->rev, (unsigned long long)p->turn);
	at = r < 0 ? 0 : min_of(r, (int)n);
	for (int i = 0; i < PANIC_TRAIL && (size_t)at < n; i++) {
		if (!p->trail[i])
			continue;
		r = snprintf(out + at, n - (size_t)at, "trail %u+%u->%u\n", p->trail[i] & 0xff,
			     (p->trail[i] >> 8) & 0xff, (p->trail[i] >> 16) & 0xff);
		at = min_of(at + max_of(r, 0), (int)n);
	}
	for (int i = 0; i < PANIC_FRAMES && p->frames[i] && (size_t)at < n; i++) {
		r = snprintf(out + at, n - (size_t)at, "frame +0x%llx\n",
			     (unsigned long long)p->frames[i]);
		at = min_of(at + max_of(r, 0), (int)n);
	}
	return (size_t)at;
}
