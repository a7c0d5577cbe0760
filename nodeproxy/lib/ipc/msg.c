/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See msg.h. */
#include "nodeproxy/lib/ipc/msg.h"

#include <errno.h>
#include <stdio.h>

#define KEEPER (1u << ROLE_KEEPER)
#define MASTER (1u << ROLE_MASTER)
#define WORKER (1u << ROLE_WORKER)
#define SYNCD  (1u << ROLE_SYNCD)
#define ADMIND (1u << ROLE_ADMIND)
#define KEYD   (1u << ROLE_KEYD)
#define ERRAND (1u << ROLE_ERRAND)
#define CHILD  (WORKER | SYNCD | ADMIND | KEYD)

static const struct msg_rule rules[MSGS] = {
#define MSG(name, from, to, payload, tail, fds_min, fds_max, rate)                                 \
	[MSG_##name] = { #name, from, to, sizeof(struct payload), tail, fds_min, fds_max, rate },
#include "nodeproxy/lib/ipc/msg.def"
#undef MSG
};

#define MSG(name, from, to, payload, tail, fds_min, fds_max, rate)                                 \
	static_must(sizeof(struct msg_head) + sizeof(struct payload) + (tail) <= CHAN_MAX_BYTES);  \
	static_must((fds_min) <= (fds_max) && (fds_max) <= CHAN_MAX_FDS);                          \
	static_must(sizeof(struct payload) % 4 == 0);
#include "nodeproxy/lib/ipc/msg.def"
#undef MSG

/* What keepers and masters of other builds know: see msg.def. */
static_must(sizeof(struct msg_head) == 8 && CHAN_MAX_BYTES >= 1024 && CHAN_MAX_FDS >= 8);
static_must(MSG_KEEP == 1 && sizeof(struct msg_keep) == 144);
static_must(MSG_KEPT == 2 && MSG_KEPT_END == 3 && sizeof(struct msg_kept_end) == 32);
static_must(MSG_MASTER_READY == 4 && sizeof(struct msg_build) == 32);
static_must(MSG_GOODBYE == 5 && sizeof(struct msg_goodbye) == 8);
static_must(MSG_LAUNCH == 6 && sizeof(struct msg_launch) == 16);
static_must(MSG_LAST_WORDS == 7 && MSG_LAUNCH_FAILED == 8 && sizeof(struct msg_empty) == 4);
static_must(MSG_TAKE_OVER == 9 && MSG_RETIRE == 10);
static_must(MSG_OLD_ONES == 11 && sizeof(struct msg_old_ones) == 8);
static_must(MSG_REAPED == 12 && sizeof(struct msg_reaped) == 8);
static_must(ROLE_KEEPER == 1 && ROLE_MASTER == 2);

static const char *const roles[ROLES] = { "none",   "keeper", "master",
					  "worker", "syncd",  "admind", "keyd", "errand" };

const char *role_name(enum role r)
{
	return r < ROLES ? roles[r] : "none";
}

const char *msg_name(enum msg_type t)
{
	return t > MSG_NONE && t < MSGS ? rules[t].name : "NONE";
}

const struct msg_rule *msg_rule(uint32_t type)
{
	return type > MSG_NONE && type < MSGS ? &rules[type] : NULL;
}

bool msg_may(const struct msg_rule *r, enum role from, enum role to)
{
	return (r->from & 1u << from) && (r->to & 1u << to);
}

int msg_parse(const void *bytes, size_t n, unsigned nfds, enum role from, enum role to,
	      struct msg *ret)
{
	const struct msg_head *h = bytes;
	const struct msg_rule *r;

	if (n < sizeof *h || h->zero != 0)
		return -EPROTO;
	r = msg_rule(h->type);
	if (!r || !msg_may(r, from, to))
		return -EPROTO;
	n -= sizeof *h;
	if (n < r->bytes || n - r->bytes > r->tail || nfds < r->fds_min || nfds > r->fds_max)
		return -EPROTO;
	ret->type = (enum msg_type)h->type;
	ret->p = h + 1;
	ret->tail = slice_of((const uint8_t *)(h + 1) + r->bytes, n - r->bytes);
	return 0;
}

/* FNV-1a over every number and name of the table. */
static uint32_t fold(uint32_t h, const void *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		h = (h ^ ((const uint8_t *)p)[i]) * 16777619u;
	return h;
}

const char *msg_build(void)
{
	static char text[MSG_BUILD_ID];
	uint32_t h = 2166136261u;

	if (text[0])
		return text;
	for (unsigned i = 1; i < MSGS; i++) {
		const struct msg_rule *r = &rules[i];
		uint32_t v[] = { r->from, r->to, r->bytes, r->tail, r->fds_min, r->fds_max };

		h = fold(h, r->name, strlen(r->name));
		h = fold(h, v, sizeof v);
	}
	snprintf(text, sizeof text, "%.20s-%08x", PACKAGE_VERSION, h);
	return text;
}

bool msg_text(const char *s, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (s[i] == 0)
			return true;
		if (s[i] < 0x20 || s[i] > 0x7e)
			return false;
	}
	return false;
}
