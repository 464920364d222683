// SPDX-License-Identifier: GPL-2.0

#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/sched/signal.h>

#include "helpers.h"

/*
 * What fcntl(F_SETOWN, F_SETSIG, F_SETFL O_ASYNC) do together, for a file that
 * is not installed yet. The fasync entry is the caller's.
 */
int afutex_file_async_on(struct file *file, int signum)
{
	int ret;

	ret = file_f_owner_allocate(file);
	if (ret)
		return ret;

	__f_setown(file, task_tgid(current), PIDTYPE_TGID, 1);
	file_f_owner(file)->signum = signum;

	return 0;
}

/* Reads have no position, and can be done without blocking. */
void afutex_file_set_stream(struct file *file)
{
	stream_open(file_inode(file), file);
	file->f_mode |= FMODE_NOWAIT;
}

bool afutex_kiocb_nowait(struct kiocb *kiocb)
{
	return (kiocb->ki_flags & IOCB_NOWAIT) || (kiocb->ki_filp->f_flags & O_NONBLOCK);
}

/* Whether the kernel mounts for itself, and not for a user. */
bool afutex_fs_context_is_internal(struct fs_context *fc)
{
	return fc->sb_flags & SB_KERNMOUNT;
}
