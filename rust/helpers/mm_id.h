/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _AFUTEX_MM_ID_H
#define _AFUTEX_MM_ID_H

#include <linux/mm_types.h>

/*
 * A number that no other mm has or will have; 0 if there is none. Where the
 * architecture does not count its mms it is the address, which is taken again
 * by others unless the mm is held.
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

#endif /* _AFUTEX_MM_ID_H */
