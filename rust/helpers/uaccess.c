// SPDX-License-Identifier: GPL-2.0

#include <linux/uaccess.h>
#include <linux/uio.h>

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
 * shows whether there can be one. Shadow stacks look writable, and stacks grow.
 */
int afutex_fault_in_writeable(unsigned long addr)
{
	u32 __user *word = (u32 __user *)addr;
	u32 val, old;

	if (get_user(val, word))
		return -EFAULT;

	return futex_atomic_cmpxchg_inatomic(&old, word, val, val);
}
