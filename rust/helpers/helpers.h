/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Inlines and macros of the kernel that Rust cannot call, one short function
 * each, in a file for each subsystem. The callers, all in rust/sys/, say what they rely on.
 */
#ifndef _AFUTEX_HELPERS_H
#define _AFUTEX_HELPERS_H

#include <linux/spinlock_types.h>
#include <linux/types.h>

struct fasync_struct;
struct file;
struct folio;
struct fs_context;
struct iov_iter;
struct kiocb;
struct mm_struct;
struct page;
struct pt_regs;
struct user_struct;
struct vm_area_struct;
struct wait_queue_head;

/* The module's parameters, in params.c. */
extern unsigned long afutex_buckets;
extern unsigned long afutex_max_user_watches;
extern bool afutex_native;
/* What a watch is reckoned at in limits, in bytes: about what it takes. */
#define AFUTEX_WATCH_BYTES	224
void afutex_params_init(void);

/* User memory. */
extern unsigned long afutex_user_end;
void afutex_find_user_end(void);
int afutex_get_words(u64 *to, unsigned long addr, unsigned int nr);
int afutex_put_word(unsigned long addr, u64 val);
int afutex_put_words(unsigned long addr, const u64 *from, unsigned int nr);
int afutex_put_pair_nofault(unsigned long addr, u64 first, u64 second);
int afutex_copy_to_iter_nofault(const void *from, size_t len, struct iov_iter *iter);
int afutex_get_user(u64 *val, unsigned long addr, unsigned int size);
int afutex_get_user_nofault(u64 *val, unsigned long addr, unsigned int size);
int afutex_atomic_op_nofault(int op, int oparg, int *old, unsigned long addr);
int afutex_fault_in_writeable(unsigned long addr);

/* The current task. */
void afutex_set_current_state(unsigned int state);
void afutex_set_running(void);
bool afutex_fatal_signal_pending(void);
void afutex_cond_resched(void);
bool afutex_handler_pending(void);
void afutex_get_user_regs(struct pt_regs *regs);
bool afutex_user_regs_equal(const struct pt_regs *regs);
u64 afutex_mm_id(void);
u64 afutex_mm_id_after_mb(void);
u64 afutex_timer_slack(void);
s64 afutex_monotonic_to_host(s64 time);

/* Pages. A page of a driver, and one that left its file, is in no file. */
#define AFUTEX_PAGE_FILE	0
#define AFUTEX_PAGE_ANON	1
#define AFUTEX_PAGE_DETACHED	2
void afutex_put_page(struct page *page);
unsigned int afutex_page_backing(struct page *page);
struct folio *afutex_page_folio(struct page *page);
bool afutex_mm_seq(struct mm_struct *mm, unsigned int *seq);
bool afutex_mm_seq_changed(struct mm_struct *mm, unsigned int seq);
unsigned long afutex_page_folio_pages(struct page *page);
int afutex_page_refs(struct page *page);
void *afutex_pages_map(struct page **pages, unsigned long nr);
void afutex_pages_unmap(void *addr);
unsigned long afutex_vma_pgoff(const struct vm_area_struct *vma);

/* Memory locked by a user. */
struct user_struct *afutex_get_current_user(void);
struct user_struct *afutex_current_user(void);
unsigned long afutex_memlock_limit(void);

/* Locks. */
void afutex_spin_lock_nested(spinlock_t *lock);

/* Wait queues. */
void afutex_wake_listeners(struct wait_queue_head *head, struct fasync_struct **fasync);
void afutex_wake_readers(struct wait_queue_head *head, struct fasync_struct **fasync);

/* Files and machines. */
bool afutex_kiocb_nowait(struct kiocb *kiocb);
int afutex_file_async_on(struct file *file, int signum);
void afutex_file_set_stream(struct file *file);
unsigned int afutex_num_possible_cpus(void);
unsigned long afutex_memory_pages(void);
bool afutex_valid_signal(unsigned long sig);
bool afutex_fs_context_is_internal(struct fs_context *fc);

#endif /* _AFUTEX_HELPERS_H */
