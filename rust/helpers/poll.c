// SPDX-License-Identifier: GPL-2.0

#include <linux/fs.h>
#include <linux/poll.h>
#include <linux/wait.h>

#include "helpers.h"

/* Notifies pollers and owners of a file that became readable. */
void afutex_wake_listeners(struct wait_queue_head *head, struct fasync_struct **fasync)
{
	__wake_up(head, TASK_NORMAL, 1, poll_to_key(EPOLLIN | EPOLLRDNORM));
	if (READ_ONCE(*fasync))
		kill_fasync(fasync, SIGIO, POLL_IN);
}

/* The barrier in wq_has_sleeper() pairs with that in poll_wait() and with prepare_to_wait(). */
void afutex_wake_readers(struct wait_queue_head *head, struct fasync_struct **fasync)
{
	if (wq_has_sleeper(head) || READ_ONCE(*fasync))
		afutex_wake_listeners(head, fasync);
}
