/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See etcd_here.h. */
#include "tests/lib/etcd_here.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nodeproxy/lib/base/must.h"

#define ETCD "/usr/bin/etcd"

/* A port that is free now; who takes it before etcd does makes the test fail, and is not seen. */
static struct addr free_addr(void)
{
	struct sockaddr_storage ss;
	struct addr a;
	socklen_t n;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must(fd >= 0 && addr_parse(SLICE("127.0.0.1:0"), &a) == 0);
	n = addr_to_sockaddr(&a, &ss);
	must(bind(fd, (struct sockaddr *)&ss, n) == 0);
	n = sizeof ss;
	must(getsockname(fd, (struct sockaddr *)&ss, &n) == 0);
	addr_from_sockaddr(&ss, &a);
	close(fd);
	return a;
}

static void run(struct etcd_here *e)
{
	pid_t parent = getpid();
	char cluster[128];

	snprintf(cluster, sizeof cluster, "one=%s", e->peer);
	e->pid = fork();
	must(e->pid >= 0);
	if (e->pid)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), 1);
	dup2(1, 2);
	execl(ETCD, "etcd", "--name", "one", "--data-dir", e->dir, "--listen-client-urls", e->client,
	      "--advertise-client-urls", e->client, "--listen-peer-urls", e->peer,
	      "--initial-advertise-peer-urls", e->peer, "--initial-cluster", cluster,
	      "--heartbeat-interval", "20", "--election-timeout", "200", "--bcrypt-cost", "4",
	      "--unsafe-no-fsync", (char *)NULL);
	_exit(127);
}

bool etcd_here_start(struct etcd_here *e)
{
	struct addr peer = free_addr();
	char text[ADDR_TEXT];

	if (access(ETCD, X_OK) != 0 || access(ETCD "ctl", X_OK) != 0)
		return false;
	e->addr = free_addr();
	snprintf(e->client, sizeof e->client, "http://%s", addr_text(&e->addr, true, text));
	snprintf(e->peer, sizeof e->peer, "http://%s", addr_text(&peer, true, text));
	snprintf(e->dir, sizeof e->dir, "/tmp/etcd-here.XXXXXX");
	must(mkdtemp(e->dir) != NULL);
	run(e);
	return true;
}

void etcd_here_kill(struct etcd_here *e)
{
	if (e->pid > 0) {
		kill(e->pid, SIGKILL);
		waitpid(e->pid, NULL, 0);
	}
	e->pid = 0;
}

void etcd_here_again(struct etcd_here *e)
{
	run(e);
}

int etcd_here_ctl(const struct etcd_here *e, const char *words)
{
	char line[600];

	snprintf(line, sizeof line, "ETCDCTL_API=3 " ETCD "ctl --endpoints=%s --dial-timeout=5s %s >/dev/null 2>&1",
		 e->client, words);
	return system(line);
}

void etcd_here_stop(struct etcd_here *e)
{
	char line[128];

	if (e->dir[0] == 0)
		return;
	etcd_here_kill(e);
	snprintf(line, sizeof line, "rm -rf -- '%s'", e->dir);
	must(system(line) == 0);
	e->dir[0] = 0;
}
