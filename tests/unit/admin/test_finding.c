/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Findings about the host: each appears for the fact that is its reason, and only then.  Those that need
 * processes are in tests/proc/check_test.py. */
#include "admin/finding.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/test.h"

static struct facts good(void)
{
	return (struct facts){
		.at_unix_ms = 1, .kernel = "6.1.0", .pidfd = 1, .memfd_seals = 1, .seccomp = 1,
		.close_range = 1, .reuseport = 1, .landlock = 2, .somaxconn = 4096, .tcp_tw_reuse = 2,
		.tcp_syncookies = 1, .port_low = 32768, .port_high = 60999, .file_max = 1000000,
		.files_used = 1000, .nr_open = 1048576, .cgroup = 2, .clock = CLOCK_SYNCED,
		.nofile = 1048576, .nofile_hard = 1048576, .watchdog = 1, .programs_differ = 0,
		.cpus_away = 0, .lent = 0, .admin_away = 0, .state_bytes = 100ll << 30,
		.state_free_bytes = 50ll << 30, .state_free_inodes = 1000,
	};
}

struct run {
	const struct facts *facts;
	int64_t conns;
};

static void run(struct findings *f, void *arg)
{
	const struct run *r = arg;

	check_host(f, r->facts, r->conns);
}

/* The names of what is found, with blanks around each. */
static const char *names(const struct facts *facts, int64_t conns)
{
	static char out[2048];
	struct text t = text_of(1 << 16);
	struct run r = { facts, conns };
	json_t *o, *v;
	size_t i;

	js_open(&t, NULL, '{');
	findings_all(&t, run, &r);
	js_close(&t, '}');
	o = json_loadb(t.p, t.n, 0, NULL);
	ck_assert_ptr_nonnull(o);
	snprintf(out, sizeof out, " ");
	json_array_foreach(json_object_get(o, "findings"), i, v) {
		ck_assert_uint_gt(strlen(json_string_value(json_object_get(v, "what"))), 10);
		ck_assert_uint_gt(strlen(json_string_value(json_object_get(v, "do"))), 10);
		snprintf(out + strlen(out), sizeof out - strlen(out), "%s ",
			 json_string_value(json_object_get(v, "check")));
	}
	json_decref(o);
	text_fini(&t);
	return out;
}

START_TEST(a_good_host_has_no_findings)
{
	struct facts f = good();

	ck_assert_str_eq(names(&f, 65536), " ");
	memset(&f, 0, sizeof f);
	ck_assert_str_eq(names(&f, 65536), " ");	/* nobody has looked yet */
}
END_TEST

START_TEST(each_fact_gives_its_finding_and_no_other)
{
#define ROW(name, field, v)                                                                        \
	{                                                                                          \
		struct facts f = good();                                                           \
                                                                                                   \
		f.field = v;                                                                       \
		ck_assert_str_eq(names(&f, 65536), " " #name " ");                                 \
	}
	ROW(pidfd, pidfd, 0)
	ROW(memfd, memfd_seals, 0)
	ROW(seccomp, seccomp, 0)
	ROW(close_range, close_range, 0)
	ROW(reuseport, reuseport, 0)
	ROW(landlock, landlock, 0)
	ROW(somaxconn, somaxconn, 128)
	ROW(tw_reuse, tcp_tw_reuse, 0)
	ROW(syncookies, tcp_syncookies, 0)
	ROW(ports, port_high, 33000)
	ROW(ports, port_high, 1)
	ROW(files_host, files_used, 900000)
	ROW(nr_open, nr_open, 4096)
	ROW(clock, clock, CLOCK_UNSYNCED)
	ROW(fds_settings, nofile_hard, 100000)
	ROW(watchdog, watchdog, 0)
	ROW(programs_differ, programs_differ, 1)
	ROW(cpus_away, cpus_away, 2)
	ROW(lent, lent, 1)
	ROW(admin_away, admin_away, 1)
	ROW(state_full, state_free_bytes, 1 << 20)
	ROW(state_full, state_free_inodes, 0)
	ROW(capabilities, caps_missing, 1ull << CAP_SETUID)
#undef ROW
}
END_TEST

START_TEST(few_descriptors_are_two_findings_and_unknown_facts_none)
{
	struct facts f = good();

	f.nofile_hard = 4096;
	ck_assert_str_eq(names(&f, 65536), " fds_limit fds_settings ");
	ck_assert_str_eq(names(&f, 0), " fds_limit ");
	f = good();
	f.somaxconn = f.tcp_tw_reuse = f.tcp_syncookies = f.port_low = f.port_high = -1;
	f.file_max = f.files_used = f.nr_open = f.nofile = f.nofile_hard = -1;
	f.watchdog = f.programs_differ = f.cpus_away = f.lent = f.admin_away = -1;
	f.state_bytes = f.state_free_bytes = f.state_free_inodes = -1;
	f.clock = CLOCK_UNKNOWN;
	ck_assert_str_eq(names(&f, 65536), " ");
}
END_TEST

START_TEST(this_host_can_be_looked_at)
{
	char text[256];
	struct facts f;

	facts_gather(&f);
	ck_assert_uint_gt(f.at_unix_ms, 0);
	ck_assert_uint_gt(strlen(f.kernel), 0);
	ck_assert_int_eq(f.pidfd, 1);		/* the tests need them */
	ck_assert_int_eq(f.memfd_seals, 1);
	ck_assert_int_eq(f.reuseport, 1);
	ck_assert_int_gt(f.nofile, 0);
	ck_assert_int_eq(f.lent, -1);
	facts_caps_text(1ull << CAP_SETUID | 1ull << CAP_KILL, text, sizeof text);
	ck_assert_str_eq(text, "CAP_KILL, CAP_SETUID");
	facts_caps_text(~0ull, text, 10);	/* cut, not over the end */
	ck_assert_uint_lt(strlen(text), 10);
}
END_TEST

UNIT_TESTS("finding", a_good_host_has_no_findings, each_fact_gives_its_finding_and_no_other,
	   few_descriptors_are_two_findings_and_unknown_facts_none, this_host_can_be_looked_at)
