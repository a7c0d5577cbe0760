/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See ruleset.h. */
#include "nodeproxy/ruleset.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_tuple_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "nodeproxy/route.h"

#define TABLE	  "nodeproxy"
#define STAYS	  "when-away-closed"	/* an empty chain of a table that no socket owns */
#define NAT_PRIORITY (-100)
#define NAT_OUT_PRIORITY 100	/* of what leaves */
#define RAW_PRIORITY (-300)	/* before connection tracking (-200) */
#define MANGLE_PRIORITY (-150)	/* behind it */
#define ZONE	  1u
#define DNS	  53
#define LO	  1u		/* index of lo, in every namespace */
#define TABLE_OWNER 2u		/* NFT_TABLE_F_OWNER, younger than the headers of Debian 12 may be */

static void *room(struct batch *b, size_t n)
{
	void *p = b->at + b->n;

	must(b->n + NLMSG_ALIGN(n) <= RULESET_ROOM);
	memset(p, 0, NLMSG_ALIGN(n));
	b->n += NLMSG_ALIGN(n);
	return p;
}

static void msg_end(struct batch *b)
{
	struct nlmsghdr *h = (struct nlmsghdr *)(void *)(b->at + b->msg);

	h->nlmsg_len = (uint32_t)(b->n - b->msg);
}

static void msg_begin(struct batch *b, uint16_t type, uint16_t flags, uint8_t family, uint16_t res)
{
	struct nlmsghdr *h;
	struct nfgenmsg *g;

	b->msg = b->n;
	h = room(b, sizeof *h);
	h->nlmsg_type = type;
	h->nlmsg_flags = NLM_F_REQUEST | flags;
	h->nlmsg_seq = ++b->seq;
	g = room(b, sizeof *g);
	g->nfgen_family = family;
	g->version = NFNETLINK_V0;
	g->res_id = htons(res);
}

static void attr(struct batch *b, uint16_t type, const void *p, size_t n)
{
	struct nlattr *a = room(b, NLA_HDRLEN + n);

	a->nla_type = type;
	a->nla_len = (uint16_t)(NLA_HDRLEN + n);
	memcpy(a + 1, p, n);
}

static void attr_str(struct batch *b, uint16_t type, const char *s)
{
	attr(b, type, s, strlen(s) + 1);
}

static void attr_u32(struct batch *b, uint16_t type, uint32_t v)
{
	v = htonl(v);
	attr(b, type, &v, sizeof v);
}

static size_t nest(struct batch *b, uint16_t type)
{
	size_t at = b->n;
	struct nlattr *a = room(b, NLA_HDRLEN);

	a->nla_type = type | NLA_F_NESTED;
	return at;
}

static void nest_end(struct batch *b, size_t at)
{
	struct nlattr *a = (struct nlattr *)(void *)(b->at + at);

	a->nla_len = (uint16_t)(b->n - at);
}

/* ---- tables, chains, rules ---- */

/* What follows is about that table; a uid's has the uid in its name, so that one uid is captured by one
 * nodeproxy of a network namespace. */
static void about(struct batch *b, const char *behind)
{
	if (b->uid)
		snprintf(b->table, sizeof b->table, TABLE "-uid-%u%s", b->uid, behind);
	else
		snprintf(b->table, sizeof b->table, TABLE);
}

static void of_table(struct batch *b, uint16_t type, uint16_t flags)
{
	msg_begin(b, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), NLM_F_ACK | flags, NFPROTO_INET, 0);
}

static void table(struct batch *b, bool stays)
{
	of_table(b, NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL);
	attr_str(b, NFTA_TABLE_NAME, b->table);
	attr_u32(b, NFTA_TABLE_FLAGS, stays ? 0 : TABLE_OWNER);
	msg_end(b);
	if (!stays)
		return;
	of_table(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE);
	attr_str(b, NFTA_CHAIN_TABLE, b->table);
	attr_str(b, NFTA_CHAIN_NAME, STAYS);
	msg_end(b);
}

static void delete_table(struct batch *b)
{
	of_table(b, NFT_MSG_DELTABLE, 0);
	attr_str(b, NFTA_TABLE_NAME, b->table);
	msg_end(b);
}

/* The table goes, should it be there: what is made before it is deleted cannot be missing. */
void ruleset_no_table(struct batch *b)
{
	of_table(b, NFT_MSG_NEWTABLE, NLM_F_CREATE);
	attr_str(b, NFTA_TABLE_NAME, b->table);
	msg_end(b);
	delete_table(b);
}

/* Likewise, but only one that is ours and stays: of another there is no such chain, and all is refused. */
void ruleset_no_table_that_stays(struct batch *b)
{
	of_table(b, NFT_MSG_DELCHAIN, 0);
	attr_str(b, NFTA_CHAIN_TABLE, b->table);
	attr_str(b, NFTA_CHAIN_NAME, STAYS);
	msg_end(b);
	delete_table(b);
}

static void chain(struct batch *b, const char *name, const char *type, uint32_t hook, int priority)
{
	size_t at;

	of_table(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE);
	attr_str(b, NFTA_CHAIN_TABLE, b->table);
	attr_str(b, NFTA_CHAIN_NAME, name);
	at = nest(b, NFTA_CHAIN_HOOK);
	attr_u32(b, NFTA_HOOK_HOOKNUM, hook);
	attr_u32(b, NFTA_HOOK_PRIORITY, (uint32_t)priority);
	nest_end(b, at);
	attr_u32(b, NFTA_CHAIN_POLICY, NF_ACCEPT);
	attr_str(b, NFTA_CHAIN_TYPE, type);
	msg_end(b);
}

static size_t rule(struct batch *b, const char *chain_name)
{
	of_table(b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
	attr_str(b, NFTA_RULE_TABLE, b->table);
	attr_str(b, NFTA_RULE_CHAIN, chain_name);
	return nest(b, NFTA_RULE_EXPRESSIONS);
}

static void rule_end(struct batch *b, size_t at)
{
	nest_end(b, at);
	msg_end(b);
}

const char *const ruleset_counters[PASSED] = {
	[PASSED_OUT_OTHER] = "outbound-other", [PASSED_OUT_LINK_LOCAL] = "outbound-link-local",
	[PASSED_IN_OTHER] = "inbound-other", [PASSED_IN_LINK_LOCAL] = "inbound-link-local",
};

static void counter(struct batch *b, enum passed which)
{
	of_table(b, NFT_MSG_NEWOBJ, NLM_F_CREATE);
	attr_str(b, NFTA_OBJ_TABLE, b->table);
	attr_str(b, NFTA_OBJ_NAME, ruleset_counters[which]);
	attr_u32(b, NFTA_OBJ_TYPE, NFT_OBJECT_COUNTER);
	nest_end(b, nest(b, NFTA_OBJ_DATA));
	msg_end(b);
}

/* ---- expressions: each loads register 1, or looks at it, or decides ---- */

struct expr {
	size_t elem, data;
};

static struct expr expr(struct batch *b, const char *name)
{
	struct expr e = { .elem = nest(b, NFTA_LIST_ELEM) };

	attr_str(b, NFTA_EXPR_NAME, name);
	e.data = nest(b, NFTA_EXPR_DATA);
	return e;
}

static void expr_end(struct batch *b, struct expr e)
{
	nest_end(b, e.data);
	nest_end(b, e.elem);
}

static void value(struct batch *b, uint16_t type, const void *p, size_t n)
{
	size_t at = nest(b, type);

	attr(b, NFTA_DATA_VALUE, p, n);
	nest_end(b, at);
}

static void load_meta(struct batch *b, uint32_t key)
{
	struct expr e = expr(b, "meta");

	attr_u32(b, NFTA_META_KEY, key);
	attr_u32(b, NFTA_META_DREG, NFT_REG_1);
	expr_end(b, e);
}

static void load_payload(struct batch *b, uint32_t base, uint32_t offset, uint32_t n)
{
	struct expr e = expr(b, "payload");

	attr_u32(b, NFTA_PAYLOAD_DREG, NFT_REG_1);
	attr_u32(b, NFTA_PAYLOAD_BASE, base);
	attr_u32(b, NFTA_PAYLOAD_OFFSET, offset);
	attr_u32(b, NFTA_PAYLOAD_LEN, n);
	expr_end(b, e);
}

/* Of the destination, as the kernel routes it: RTN_LOCAL, ... */
static void load_address_type(struct batch *b)
{
	struct expr e = expr(b, "fib");

	attr_u32(b, NFTA_FIB_DREG, NFT_REG_1);
	attr_u32(b, NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
	attr_u32(b, NFTA_FIB_FLAGS, NFTA_FIB_F_DADDR);
	expr_end(b, e);
}

/* Of the connection that it is tracked as. */
static void load_ct(struct batch *b, uint32_t key)
{
	struct expr e = expr(b, "ct");

	attr_u32(b, NFTA_CT_KEY, key);
	attr_u32(b, NFTA_CT_DREG, NFT_REG_1);
	expr_end(b, e);
}

static void mask(struct batch *b, const void *bits, uint32_t n)
{
	static const uint8_t none[4];
	struct expr e = expr(b, "bitwise");

	attr_u32(b, NFTA_BITWISE_SREG, NFT_REG_1);
	attr_u32(b, NFTA_BITWISE_DREG, NFT_REG_1);
	attr_u32(b, NFTA_BITWISE_LEN, n);
	value(b, NFTA_BITWISE_MASK, bits, n);
	value(b, NFTA_BITWISE_XOR, none, n);
	expr_end(b, e);
}

static void compare(struct batch *b, uint32_t op, const void *p, size_t n)
{
	struct expr e = expr(b, "cmp");

	attr_u32(b, NFTA_CMP_SREG, NFT_REG_1);
	attr_u32(b, NFTA_CMP_OP, op);
	value(b, NFTA_CMP_DATA, p, n);
	expr_end(b, e);
}

static void compare_u32(struct batch *b, uint32_t op, uint32_t v)
{
	compare(b, op, &v, sizeof v);
}

static void count_it(struct batch *b, enum passed which)
{
	struct expr e = expr(b, "objref");

	attr_u32(b, NFTA_OBJREF_IMM_TYPE, NFT_OBJECT_COUNTER);
	attr_str(b, NFTA_OBJREF_IMM_NAME, ruleset_counters[which]);
	expr_end(b, e);
}

static void accept_it(struct batch *b)
{
	struct expr e = expr(b, "immediate");
	size_t data, verdict;

	attr_u32(b, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
	data = nest(b, NFTA_IMMEDIATE_DATA);
	verdict = nest(b, NFTA_DATA_VERDICT);
	attr_u32(b, NFTA_VERDICT_CODE, NF_ACCEPT);
	nest_end(b, verdict);
	nest_end(b, data);
	expr_end(b, e);
}

static void load_value(struct batch *b, const void *p, size_t n)
{
	struct expr e = expr(b, "immediate");

	attr_u32(b, NFTA_IMMEDIATE_DREG, NFT_REG_1);
	value(b, NFTA_IMMEDIATE_DATA, p, n);
	expr_end(b, e);
}

static void redirect(struct batch *b, uint16_t port)
{
	struct expr e;

	port = htons(port);
	load_value(b, &port, sizeof port);
	e = expr(b, "redir");
	attr_u32(b, NFTA_REDIR_REG_PROTO_MIN, NFT_REG_1);
	expr_end(b, e);
}

/* ct KEY set; direction NULL: of both. */
static void set_ct(struct batch *b, uint32_t key, const uint8_t *direction)
{
	struct expr e = expr(b, "ct");

	attr_u32(b, NFTA_CT_KEY, key);
	attr_u32(b, NFTA_CT_SREG, NFT_REG_1);
	if (direction)
		attr(b, NFTA_CT_DIRECTION, direction, 1);
	expr_end(b, e);
}

static void set_zone(struct batch *b, uint16_t zone, const uint8_t *direction)
{
	load_value(b, &zone, sizeof zone);
	set_ct(b, NFT_CT_ZONE, direction);
}

static void set_mark(struct batch *b, uint32_t mark)
{
	struct expr e;

	load_value(b, &mark, sizeof mark);
	e = expr(b, "meta");
	attr_u32(b, NFTA_META_KEY, NFT_META_MARK);
	attr_u32(b, NFTA_META_SREG, NFT_REG_1);
	expr_end(b, e);
}

/* ---- what we say ---- */

/* The port of the source (offset 0) or destination (2). */
static void compare_port(struct batch *b, uint32_t offset, uint32_t op, uint16_t port)
{
	port = htons(port);
	load_payload(b, NFT_PAYLOAD_TRANSPORT_HEADER, offset, sizeof port);
	compare(b, op, &port, sizeof port);
}

static void is_udp(struct batch *b)
{
	const uint8_t udp = IPPROTO_UDP;

	load_meta(b, NFT_META_L4PROTO);
	compare(b, NFT_CMP_EQ, &udp, 1);
}

static void has_our_mark(struct batch *b, bool has)
{
	const uint32_t twelve_bits = 0xfff;

	load_meta(b, NFT_META_MARK);
	mask(b, &twelve_bits, sizeof twelve_bits);
	compare_u32(b, has ? NFT_CMP_EQ : NFT_CMP_NEQ, POD_MARK);
}

static void is_whose(struct batch *b)
{
	if (!b->uid)
		return;
	load_meta(b, NFT_META_SKUID);
	compare_u32(b, NFT_CMP_EQ, b->uid);
}

/* oif != lo, without our mark */
static void leaves_the_pod(struct batch *b)
{
	load_meta(b, NFT_META_OIF);
	compare_u32(b, NFT_CMP_NEQ, LO);
	has_our_mark(b, false);
	is_whose(b);
}

/* meta l4proto tcp, and of the flags SYN alone */
static void is_first_segment(struct batch *b)
{
	const uint8_t tcp = IPPROTO_TCP, fin_syn_rst_ack = 0x17, syn = 0x02;

	load_meta(b, NFT_META_L4PROTO);
	compare(b, NFT_CMP_EQ, &tcp, 1);
	load_payload(b, NFT_PAYLOAD_TRANSPORT_HEADER, 13, 1);
	mask(b, &fin_syn_rst_ack, 1);
	compare(b, NFT_CMP_EQ, &syn, 1);
}

/* ip6 daddr fe80::/10 counter accept */
static void link_local(struct batch *b, const char *name, enum passed which)
{
	const uint8_t ipv6 = NFPROTO_IPV6, ten_bits[2] = { 0xff, 0xc0 }, fe80[2] = { 0xfe, 0x80 };
	size_t at = rule(b, name);

	load_meta(b, NFT_META_NFPROTO);
	compare(b, NFT_CMP_EQ, &ipv6, 1);
	load_payload(b, NFT_PAYLOAD_NETWORK_HEADER, 24, 2);
	mask(b, ten_bits, 2);
	compare(b, NFT_CMP_EQ, fe80, 2);
	is_whose(b);
	count_it(b, which);
	accept_it(b);
	rule_end(b, at);
}

/* meta l4proto != tcp counter */
static void is_other(struct batch *b, enum passed which)
{
	const uint8_t tcp = IPPROTO_TCP;

	load_meta(b, NFT_META_L4PROTO);
	compare(b, NFT_CMP_NEQ, &tcp, 1);
	count_it(b, which);
}

/* Questions: by UDP, and by TCP as any other connection. */
static void names(struct batch *b)
{
	size_t at = rule(b, "outbound");

	leaves_the_pod(b);
	is_udp(b);
	compare_port(b, 2, NFT_CMP_EQ, DNS);
	redirect(b, POD_NAMES);
	rule_end(b, at);
	at = rule(b, "outbound");
	leaves_the_pod(b);
	is_first_segment(b);
	compare_port(b, 2, NFT_CMP_EQ, DNS);
	redirect(b, POD_NAMES);
	rule_end(b, at);
}

/* What answers our own questions.  (What comes to port 53 is asked of the pod.) */
static void zone_of_answers(struct batch *b)
{
	size_t at;

	chain(b, "zone_in", "filter", NF_INET_PRE_ROUTING, RAW_PRIORITY);
	at = rule(b, "zone_in");
	load_meta(b, NFT_META_IIF);
	compare_u32(b, NFT_CMP_NEQ, LO);
	is_udp(b);
	compare_port(b, 0, NFT_CMP_EQ, DNS);
	compare_port(b, 2, NFT_CMP_NEQ, DNS);
	set_zone(b, ZONE, NULL);
	rule_end(b, at);
}

/* What we send inside: our questions, and connections to applications, which show whose they are.  Every
 * packet that the pod sends is asked, and each chain costs it more than a rule: there is one, and what is
 * not ours leaves it first. */
static void ours(struct batch *b, bool questions, bool callers)
{
	const uint8_t original = IP_CT_DIR_ORIGINAL;
	size_t at;

	chain(b, "ours", "filter", NF_INET_LOCAL_OUT, RAW_PRIORITY);
	at = rule(b, "ours");
	has_our_mark(b, false);
	accept_it(b);
	rule_end(b, at);
	if (questions) {
		at = rule(b, "ours");
		is_udp(b);
		compare_port(b, 2, NFT_CMP_EQ, DNS);
		set_zone(b, ZONE, NULL);
		rule_end(b, at);
	}
	if (callers) {
		at = rule(b, "ours");
		load_meta(b, NFT_META_OIF);
		compare_u32(b, NFT_CMP_EQ, LO);
		set_zone(b, ZONE, &original);	/* no second one, should it have one */
		rule_end(b, at);
	}
}

static void outbound(struct batch *b)
{
	size_t at;

	counter(b, PASSED_OUT_OTHER);
	counter(b, PASSED_OUT_LINK_LOCAL);
	chain(b, "outbound", "nat", NF_INET_LOCAL_OUT, NAT_PRIORITY);
	link_local(b, "outbound", PASSED_OUT_LINK_LOCAL);
	if (!b->uid)
		names(b);
	at = rule(b, "outbound");
	leaves_the_pod(b);
	is_first_segment(b);
	redirect(b, b->port);
	rule_end(b, at);
	at = rule(b, "outbound");
	leaves_the_pod(b);
	is_other(b, PASSED_OUT_OTHER);
	rule_end(b, at);
}

static void inbound(struct batch *b)
{
	size_t at;

	counter(b, PASSED_IN_OTHER);
	counter(b, PASSED_IN_LINK_LOCAL);
	chain(b, "inbound", "nat", NF_INET_PRE_ROUTING, NAT_PRIORITY);
	link_local(b, "inbound", PASSED_IN_LINK_LOCAL);
	at = rule(b, "inbound");
	load_meta(b, NFT_META_IIF);
	compare_u32(b, NFT_CMP_NEQ, LO);
	load_address_type(b);
	compare_u32(b, NFT_CMP_EQ, RTN_LOCAL);
	is_first_segment(b);
	redirect(b, POD_IN);
	rule_end(b, at);
	at = rule(b, "inbound");
	load_meta(b, NFT_META_IIF);
	compare_u32(b, NFT_CMP_NEQ, LO);
	load_address_type(b);
	compare_u32(b, NFT_CMP_EQ, RTN_LOCAL);
	is_other(b, PASSED_IN_OTHER);
	rule_end(b, at);
}

/* The answers of applications to connections that show whose they are.  Those are marked by a chain of
 * type nat, which sees of each the first packet only; behind what a pod may do with it itself. */
static void callers(struct batch *b)
{
	const uint32_t origin_mark = ORIGIN_MARK;
	size_t at;

	chain(b, "callers", "nat", NF_INET_POST_ROUTING, NAT_OUT_PRIORITY);
	at = rule(b, "callers");
	load_meta(b, NFT_META_OIF);
	compare_u32(b, NFT_CMP_EQ, LO);
	has_our_mark(b, true);
	is_first_segment(b);
	load_value(b, &origin_mark, sizeof origin_mark);
	set_ct(b, NFT_CT_MARK, NULL);
	rule_end(b, at);
}

/* A chain of type route: what gets another mark is routed again. */
static void answers(struct batch *b)
{
	const uint8_t reply = IP_CT_DIR_REPLY;
	size_t at;

	chain(b, "answers", "route", NF_INET_LOCAL_OUT, MANGLE_PRIORITY);
	at = rule(b, "answers");
	load_ct(b, NFT_CT_DIRECTION);
	compare(b, NFT_CMP_EQ, &reply, 1);
	load_ct(b, NFT_CT_MARK);
	compare_u32(b, NFT_CMP_EQ, ORIGIN_MARK);
	set_mark(b, ORIGIN_MARK);
	rule_end(b, at);
}

/* Of a uid: the other table, of a filter that only sees what the first one did not redirect. */
static void away(struct batch *b, bool stays)
{
	struct expr e;
	size_t at;

	about(b, "-away");
	ruleset_no_table(b);
	if (stays) {
		table(b, true);
		chain(b, "outbound", "filter", NF_INET_LOCAL_OUT, 0);
		at = rule(b, "outbound");
		leaves_the_pod(b);	/* as it was dialled: */
		load_address_type(b);	/* what was redirected goes to loopback */
		compare_u32(b, NFT_CMP_NEQ, RTN_LOCAL);
		is_first_segment(b);
		e = expr(b, "reject");
		attr_u32(b, NFTA_REJECT_TYPE, NFT_REJECT_TCP_RST);
		expr_end(b, e);
		rule_end(b, at);
	}
	about(b, "");
}

/* A rule that needs what those that capture need, and matches nothing. */
static void hollow(struct batch *b, const char *name, uint32_t hook, uint16_t port)
{
	const uint8_t no_protocol = 255;
	size_t at;

	chain(b, name, "nat", hook, NAT_PRIORITY);
	at = rule(b, name);
	load_meta(b, NFT_META_L4PROTO);
	compare(b, NFT_CMP_EQ, &no_protocol, 1);
	redirect(b, port);
	rule_end(b, at);
}

/* ---- transactions ---- */

static void mark(struct batch *b, uint16_t type)
{
	msg_begin(b, type, 0, NFPROTO_UNSPEC, NFNL_SUBSYS_NFTABLES);
	msg_end(b);
}

void ruleset_begin(struct batch *b, const struct rules *how)
{
	b->uid = how->uid;
	b->port = how->uid ? how->port : POD_OUT;
	about(b, "");
	mark(b, NFNL_MSG_BATCH_BEGIN);
}

uint32_t ruleset_end(struct batch *b)
{
	uint32_t last = b->seq;

	mark(b, NFNL_MSG_BATCH_END);
	return last;
}

void ruleset_hollow(struct batch *b, const struct rules *how)
{
	ruleset_no_table(b);
	table(b, false);
	hollow(b, "outbound", NF_INET_LOCAL_OUT, POD_OUT);
	if (how->uid)
		away(b, false);
	else
		hollow(b, "inbound", NF_INET_PRE_ROUTING, POD_IN);
	if (how->origin) {		/* until the connections have ended */
		ours(b, false, true);
		callers(b);
		answers(b);
	}
}

void ruleset_capture(struct batch *b, const struct rules *how)
{
	table(b, how->stays && !how->uid);
	outbound(b);
	if (how->uid) {
		away(b, how->stays);
	} else {
		inbound(b);
		ours(b, true, how->origin);
		zone_of_answers(b);
	}
	if (how->origin) {
		callers(b);
		answers(b);
	}
}

void ruleset_ask_counters(struct batch *b, uint32_t uid)
{
	b->uid = uid;
	about(b, "");
	msg_begin(b, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETOBJ), NLM_F_DUMP, NFPROTO_INET, 0);
	attr_str(b, NFTA_OBJ_TABLE, b->table);
	attr_u32(b, NFTA_OBJ_TYPE, NFT_OBJECT_COUNTER);
	msg_end(b);
}
