/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Words to the service manager (sd_notify(3)), over the datagram socket named by NOTIFY_SOCKET.
 * Without that variable nothing happens: nothing needs systemd. */
#ifndef NODEPROXY_NOTIFY_H
#define NODEPROXY_NOTIFY_H

#include "nodeproxy/lib/base/must.h"

/* "READY=1\nSTATUS=...": best effort, never blocks. */
void notify(const char *fmt, ...) printf_like(1, 2);
/* WATCHDOG_USEC in ms, for the children of the process WATCHDOG_PID; 0: nobody watches. */
int64_t notify_watchdog_ms(void);

#endif
