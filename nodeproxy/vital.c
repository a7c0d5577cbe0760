/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See vital.h. */
#include "nodeproxy/vital.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

void vital_begin(struct vital *v, struct mono now)
{
	*v = (struct vital){ .born = now, .looked = now, .read = now };
}

const char *vital_look(struct vital *v, int channel, struct mono now)
{
	int64_t away = mono_diff_ms(now, v->looked);
	int unread = 0;

	if (away < VITAL_LOOK_MS)
		return NULL;
	v->looked = now;
	if (away > 2 * VITAL_LOOK_MS) {
		/* We were stopped, or the whole machine was: what was not done meanwhile proves nothing. */
		v->born.ns += (away - VITAL_LOOK_MS) * NS_PER_MS;
		v->read = now;
	}
	if (ioctl(channel, SIOCOUTQ, &unread) < 0 || unread == 0)
		v->read = now;
	v->due = unread == 0;
	if (!v->ready)
		return mono_diff_ms(now, v->born) > VITAL_READY_MS ? "did not become ready" : NULL;
	return mono_diff_ms(now, v->read) > VITAL_HANG_MS ? "reads nothing" : NULL;
}
