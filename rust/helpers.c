// SPDX-License-Identifier: GPL-2.0

#include <linux/cpumask.h>
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/mm.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/sched/task_stack.h>
#include <linux/sched/user.h>
#include <linux/signal.h>
#include <linux/spinlock.h>
#include <linux/time_namespace.h>
#include <linux/uaccess.h>
#include <linux/uio.h>
#include <linux/wait.h>

#include <asm/futex.h>

#include "helpers.h"

/* What access_ok() compares with; on some machines only known when they run. */
unsigned long afutex_user_end __ro_after_init;

void afutex_find_user_end(void)
{
	afutex_user_end = TASK_SIZE_MAX;
}

/*
 * Copies nr words, eight at a time and then what is left of eight. MOVE(n) copies
 * the nth from here.
 */
#define move_words(MOVE, to, from, nr) do {				\
	for (; (nr) >= 8; (nr) -= 8, (to) += 8, (from) += 8) {		\
		MOVE(0); MOVE(1); MOVE(2); MOVE(3);			\
		MOVE(4); MOVE(5); MOVE(6); MOVE(7);			\
	}								\
	if ((nr) & 4) {							\
		MOVE(0); MOVE(1); MOVE(2); MOVE(3);			\
		(to) += 4;						\
		(from) += 4;						\
	}								\
	if ((nr) & 2) {							\
		MOVE(0); MOVE(1);					\
		(to) += 2;						\
		(from) += 2;						\
	}								\
	if ((nr) & 1)							\
		MOVE(0);						\
} while (0)

int afutex_get_words(u64 *to, unsigned long addr, unsigned int nr)
{
	const u64 __user *src = (u64 __user *)addr;

	scoped_user_read_access_size(src, nr * sizeof(*src), fault) {
		const u64 __user *from = src;

#define get(n) unsafe_get_user(to[n], &from[n], fault)
		move_words(get, to, from, nr);
#undef get
	}
	return 0;
fault:
	return -EFAULT;
}

int afutex_put_words(unsigned long addr, const u64 *from, unsigned int nr)
{
	u64 __user *dst = (u64 __user *)addr;

	scoped_user_write_access_size(dst, nr * sizeof(*dst), fault) {
		u64 __user *to = dst;

#define put(n) unsafe_put_user(from[n], &to[n], fault)
		move_words(put, to, from, nr);
#undef put
	}
	return 0;
fault:
	return -EFAULT;
}

int afutex_put_word(unsigned long addr, u64 val)
{
	u64 __user *to = (u64 __user *)addr;

	scoped_user_write_access(to, fault)
		unsafe_put_user(val, to, fault);
	return 0;
fault:
	return -EFAULT;
}

/* Two words, without faults: -EFAULT if the memory is not there at this moment. */
int afutex_put_pair_nofault(unsigned long addr, u64 first, u64 second)
{
	u64 __user *to = (u64 __user *)addr;

	pagefault_disable();
	scoped_user_write_access_size(to, 2 * sizeof(*to), fault) {
		unsafe_put_user(first, &to[0], fault);
		unsafe_put_user(second, &to[1], fault);
	}
	pagefault_enable();
	return 0;
fault:
	pagefault_enable();
	return -EFAULT;
}

/* Without faults, and all of it or nothing. */
int afutex_copy_to_iter_nofault(const void *from, size_t len, struct iov_iter *iter)
{
	size_t copied;

	pagefault_disable();
	copied = copy_to_iter(from, len, iter);
	pagefault_enable();
	if (likely(copied == len))
		return 0;

	iov_iter_revert(iter, copied);
	return -EFAULT;
}

/* get_user() of a naturally aligned word is one load on every 64-bit architecture. */
#define read_sized(get, val, addr, size) ({				\
	int __ret;							\
	switch (size) {							\
	case 1: {							\
		u8 __v = 0;						\
		__ret = get(__v, (u8 __user *)(addr));			\
		*(val) = __v;						\
		break;							\
	}								\
	case 2: {							\
		u16 __v = 0;						\
		__ret = get(__v, (u16 __user *)(addr));			\
		*(val) = __v;						\
		break;							\
	}								\
	case 4: {							\
		u32 __v = 0;						\
		__ret = get(__v, (u32 __user *)(addr));			\
		*(val) = __v;						\
		break;							\
	}								\
	default:							\
		__ret = get(*(val), (u64 __user *)(addr));		\
	}								\
	__ret; })

int afutex_get_user(u64 *val, unsigned long addr, unsigned int size)
{
	return read_sized(get_user, val, addr, size);
}

int afutex_get_user_nofault(u64 *val, unsigned long addr, unsigned int size)
{
	int ret;

	pagefault_disable();
	ret = read_sized(__get_user, val, addr, size);
	pagefault_enable();

	return ret;
}

int afutex_atomic_op_nofault(int op, int oparg, int *old, unsigned long addr)
{
	int ret;

	pagefault_disable();
	ret = arch_futex_atomic_op_inuser(op, oparg, old, (u32 __user *)addr);
	pagefault_enable();

	return ret;
}

/*
 * Makes a word present and writable by a store that changes nothing: only a store
 * tells whether there can be one. Shadow stacks look writable, and stacks grow.
 */
int afutex_fault_in_writeable(unsigned long addr)
{
	u32 __user *word = (u32 __user *)addr;
	u32 val, old;

	if (get_user(val, word))
		return -EFAULT;

	return futex_atomic_cmpxchg_inatomic(&old, word, val, val);
}

void afutex_set_current_state(unsigned int state)
{
	set_current_state(state);
}

void afutex_set_running(void)
{
	__set_current_state(TASK_RUNNING);
}

bool afutex_fatal_signal_pending(void)
{
	return fatal_signal_pending(current);
}

void afutex_cond_resched(void)
{
	cond_resched();
}

/* Whether a signal is pending, and not blocked, that the current task has a handler for. */
bool afutex_handler_pending(void)
{
	struct sighand_struct *sighand = current->sighand;
	bool found = false;
	int sig;

	spin_lock_irq(&sighand->siglock);
	for (sig = 1; sig <= _NSIG && !found; sig++) {
		__sighandler_t handler = sighand->action[sig - 1].sa.sa_handler;

		found = handler != SIG_DFL && handler != SIG_IGN &&
			!sigismember(&current->blocked, sig) &&
			(sigismember(&current->pending.signal, sig) ||
			 sigismember(&current->signal->shared_pending.signal, sig));
	}
	spin_unlock_irq(&sighand->siglock);

	return found;
}

void afutex_get_user_regs(struct pt_regs *regs)
{
	*regs = *current_pt_regs();
}

bool afutex_user_regs_equal(const struct pt_regs *regs)
{
	return !memcmp(regs, current_pt_regs(), sizeof(*regs));
}

/*
 * A number that no other mm has or will have; 0 if there is none. Where the
 * architecture does not count its mms it is the address, which is taken again
 * by others unless somebody holds the mm.
 */
static __always_inline u64 mm_id(const struct mm_struct *mm)
{
	if (unlikely(!mm))
		return 0;
#ifdef CONFIG_X86
	return mm->context.ctx_id;
#else
	return (unsigned long)mm;
#endif
}

u64 afutex_mm_id(void)
{
	return mm_id(current->mm);
}

/* smp_mb(), and then the mm of the current task: a waker needs both, in one call. */
u64 afutex_mm_id_after_mb(void)
{
	/* Pairs with the full barrier of a waiter that counts itself; see rust/futex/wake.rs. */
	smp_mb();
	return mm_id(current->mm);
}

u64 afutex_timer_slack(void)
{
	return current->timer_slack_ns;
}

s64 afutex_monotonic_to_host(s64 time)
{
	return timens_ktime_to_host(CLOCK_MONOTONIC, time);
}

/* A second lock of a class, when there is an order among them. */
void afutex_spin_lock_nested(spinlock_t *lock)
{
	spin_lock_nested(lock, SINGLE_DEPTH_NESTING);
}

/* Pollers and owners of a file are told that it became readable. */
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

void afutex_put_page(struct page *page)
{
	put_page(page);
}

/* AFUTEX_PAGE_*: what kind of memory a page that somebody holds is. */
unsigned int afutex_page_backing(struct page *page)
{
	struct folio *folio = page_folio(page);

	if (folio_test_anon(folio))
		return AFUTEX_PAGE_ANON;
	return READ_ONCE(folio->mapping) ? AFUTEX_PAGE_FILE : AFUTEX_PAGE_DETACHED;
}

struct folio *afutex_page_folio(struct page *page)
{
	return page_folio(page);
}

bool afutex_mm_seq(struct mm_struct *mm, unsigned int *seq)
{
	return mmap_lock_speculate_try_begin(mm, seq);
}

bool afutex_mm_seq_changed(struct mm_struct *mm, unsigned int seq)
{
	return mmap_lock_speculate_retry(mm, seq);
}

unsigned long afutex_page_folio_pages(struct page *page)
{
	return folio_nr_pages(page_folio(page));
}

int afutex_page_refs(struct page *page)
{
	return folio_ref_count(page_folio(page));
}

struct user_struct *afutex_current_user(void)
{
	return current_user();
}

struct user_struct *afutex_get_current_user(void)
{
	return get_uid(current_user());
}

/* In bytes. */
unsigned long afutex_memlock_limit(void)
{
	return rlimit(RLIMIT_MEMLOCK);
}

/*
 * What fcntl(F_SETOWN, F_SETSIG, F_SETFL O_ASYNC) do together, for a file that
 * nobody else can reach yet. The fasync entry is the caller's.
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

unsigned int afutex_num_possible_cpus(void)
{
	return num_possible_cpus();
}

unsigned long afutex_memory_pages(void)
{
	return totalram_pages();
}

bool afutex_kiocb_nowait(struct kiocb *kiocb)
{
	return (kiocb->ki_flags & IOCB_NOWAIT) || (kiocb->ki_filp->f_flags & O_NONBLOCK);
}

bool afutex_valid_signal(unsigned long sig)
{
	return valid_signal(sig);
}

/* Whether the kernel mounts for itself, and not for a user. */
bool afutex_fs_context_is_internal(struct fs_context *fc)
{
	return fc->sb_flags & SB_KERNMOUNT;
}
