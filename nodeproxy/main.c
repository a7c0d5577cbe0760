/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* main() of nodeproxy: the options, and then the keeper.  A master is the same program under another
 * name: argv is MASTER_ARGV0, the settings' file, the program's path.  That line must stay as it is:
 * it is how the keeper of an older build starts us.  So is the forker of a master: argv is FORKER_ARGV0. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nodeproxy/forker.h"
#include "nodeproxy/keeper.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/panic.h"
#include "nodeproxy/lib/role/enter.h"
#include "nodeproxy/master.h"

#ifdef NP_SANITIZED
/* A leak check at exit needs ptrace, which the filter answers with death. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return 1;
}
#endif

/* Where an upgrade looks for the next program: the name we were started by, because a link in it may
 * lead elsewhere by then; where that is not us (found through PATH), the file itself. */
static void own_path(const char *argv0, char *ret, size_t n)
{
	char cwd[PATH_MAX] = "";
	struct stat named, real;
	ssize_t len;

	if (strchr(argv0, '/') && stat(argv0, &named) == 0 && stat("/proc/self/exe", &real) == 0 &&
	    named.st_dev == real.st_dev && named.st_ino == real.st_ino &&
	    (argv0[0] == '/' || getcwd(cwd, sizeof cwd)) &&
	    snprintf(ret, n, "%s%s%s", cwd, cwd[0] ? "/" : "", argv0) < (int)n)
		return;
	len = readlink("/proc/self/exe", ret, n - 1);
	ret[max_of(len, (ssize_t)0)] = 0;
}

static int usage(FILE *f, int code)
{
	fprintf(f, "usage: nodeproxy [-c FILE] [-t] [-V]\n"
		   "  -c FILE  bootstrap file (default: /etc/nodeproxy/nodeproxy.yaml)\n"
		   "  -t       check the file and exit\n"
		   "  -V       print the version and exit\n");
	return code;
}

int main(int argc, char **argv)
{
	const char *file = "/etc/nodeproxy/nodeproxy.yaml", *step = "";
	static char path[PATH_MAX];
	struct keeper_args args;
	bool test = false;
	int o, r;

	if (argc > 1 && strcmp(argv[0], MASTER_ARGV0) == 0)
		return master_main(argv[1], argc > 2 ? argv[2] : "");
	if (strcmp(argv[0], FORKER_ARGV0) == 0)
		return forker_main();
	while ((o = getopt(argc, argv, "c:tVh")) != -1) {
		switch (o) {
		case 'c':
			file = optarg;
			break;
		case 't':
			test = true;
			break;
		case 'V':
			printf("nodeproxy %s\n", PACKAGE_VERSION);
			return 0;
		case 'h':
			return usage(stdout, 0);
		default:
			return usage(stderr, 2);
		}
	}
	if (optind != argc)
		return usage(stderr, 2);
	if (test)
		return master_test(file);
	if (geteuid() != 0) {
		fprintf(stderr, "nodeproxy: must be started by root; it drops it everywhere but in "
				"keeper and master\n");
		return 1;
	}
	for (o = open("/dev/null", O_RDWR | O_CLOEXEC); o >= 0 && o <= 2; o = dup(o))
		fcntl(o, F_SETFD, 0);	/* 0, 1 and 2 are never anything else */
	close(o);
	log_init("keeper", NULL);
	log_open();
	panic_init(NULL, "keeper");
	o = open("/proc/self/exe", O_PATH | O_CLOEXEC);
	args.exe = o < 0 ? -1 : fcntl(o, F_DUPFD_CLOEXEC, 10);	/* out of the channel's way */
	if (o >= 0)
		close(o);
	if (args.exe < 0) {
		fprintf(stderr, "nodeproxy: /proc/self/exe: %s (is /proc mounted?)\n", strerror(errno));
		return 1;
	}
	r = role_enter(ROLE_KEEPER, 0, 0, &step);
	if (r < 0) {
		fprintf(stderr, "nodeproxy: cannot become the keeper: %s: %s\n", step, strerror(-r));
		return 1;
	}
	own_path(argv[0], path, sizeof path);
	args.file = file;
	args.path = path;
	return keeper_run(&args);
}
