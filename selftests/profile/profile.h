/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Marks around what scripts/profile is to count: instructions that do nothing, which
 * no compiler emits, and which plugin.c knows.
 */
#ifndef PROFILE_H
#define PROFILE_H

/* nopl 0x4e4f5250(%rax) and nopl 0x464f5250(%rax) */
#define PROFILE_MARK_ON		0x0f, 0x1f, 0x80, 0x50, 0x52, 0x4f, 0x4e
#define PROFILE_MARK_OFF	0x0f, 0x1f, 0x80, 0x50, 0x52, 0x4f, 0x46

#define PROFILE_ON()	asm volatile("nopl 0x4e4f5250(%%rax)" ::: "memory")
#define PROFILE_OFF()	asm volatile("nopl 0x464f5250(%%rax)" ::: "memory")

#endif /* PROFILE_H */
