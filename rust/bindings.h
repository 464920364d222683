/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What bindgen turns into rust/bindings_generated.rs: the UAPI, the helpers,
 * and the few kernel types that the kernel crate's own bindings leave out.
 */
#ifndef _AFUTEX_BINDINGS_H
#define _AFUTEX_BINDINGS_H

#include <linux/fs_context.h>
#include <linux/futex.h>
#include <linux/mm.h>
#include <linux/pseudo_fs.h>
#include <linux/types.h>

#include <linux/afutex.h>

#include "futex_hook.h"
#include "helpers/helpers.h"

/* bindgen does not evaluate macros that call macros. */
const u32 AFUTEX_CONST_AFUTEX_IOC_CALL = AFUTEX_IOC_CALL;
const u32 AFUTEX_CONST_AFUTEX_IOC_INFO = AFUTEX_IOC_INFO;
const u32 AFUTEX_CONST_AFUTEX_IOC_OPEN = AFUTEX_IOC_OPEN;
const u32 AFUTEX_CONST_AFUTEX_IOC_REARM = AFUTEX_IOC_REARM;
const u32 AFUTEX_CONST_AFUTEX_IOC_WAIT = AFUTEX_IOC_WAIT;
const u32 AFUTEX_CONST_AFUTEX_IOC_WAKE = AFUTEX_IOC_WAKE;
const u32 AFUTEX_CONST_AFUTEX_IOC_REQUEUE = AFUTEX_IOC_REQUEUE;
const u32 AFUTEX_CONST_AFUTEX_IOC_WAITV = AFUTEX_IOC_WAITV;
const u32 AFUTEX_CONST_AFUTEX_IOC_WAKEV = AFUTEX_IOC_WAKEV;
const u32 AFUTEX_CONST_AFUTEX_IOC_SET = AFUTEX_IOC_SET;
const u32 AFUTEX_CONST_AFUTEX_IOC_CTL = AFUTEX_IOC_CTL;
const u32 AFUTEX_CONST_AFUTEX_IOC_SET_WAIT = AFUTEX_IOC_SET_WAIT;
const u32 AFUTEX_CONST_AFUTEX_IOC_DOMAIN = AFUTEX_IOC_DOMAIN;
const u32 AFUTEX_CONST_AFUTEX_IOC_WAKE_ONE = AFUTEX_IOC_WAKE_ONE;
const u32 AFUTEX_CONST_AFUTEX_IOC_WAKE_ALL = AFUTEX_IOC_WAKE_ALL;
const u32 AFUTEX_CONST_AFUTEX_IOC_WAKE_ONE_PRIVATE = AFUTEX_IOC_WAKE_ONE_PRIVATE;
const u32 AFUTEX_CONST_AFUTEX_IOC_WAKE_ALL_PRIVATE = AFUTEX_IOC_WAKE_ALL_PRIVATE;
const u32 AFUTEX_CONST_AFUTEX_IOC_NEXT = AFUTEX_IOC_NEXT;
const u32 AFUTEX_CONST_AFUTEX_CMD_MASK = FUTEX_CMD_MASK;

#endif /* _AFUTEX_BINDINGS_H */
