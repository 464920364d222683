// SPDX-License-Identifier: GPL-2.0
/*
 * Sees the wakes of futex(2), which the kernel tells no module of, by function
 * hooks in its text.
 *
 * Where a wake is seen
 *
 *   function                          where   callers
 *   futex_wake                        entry   FUTEX_WAKE(_BITSET), futex_wake(2), io_uring, the
 *                                             end of a thread, the death of a robust lock's owner
 *   futex_requeue                     entry   FUTEX_(CMP_)REQUEUE, futex_requeue(2)
 *   futex_wake_op                     exit    FUTEX_WAKE_OP
 *                                     entry   the same, of a task whose exit is not seen
 *   futex_robust_list_clear_pending   entry   futex_wake, for FUTEX_ROBUST_UNLOCK
 *
 * A wake may be reported too often, and never too early: a watcher looks at the
 * word when it is notified. So the entry is right where the word was stored to
 * before the call. FUTEX_WAKE_OP stores inside, and only its exit is late
 * enough. FUTEX_ROBUST_UNLOCK stores inside of futex_wake(), whose exit would
 * cost all other wakes too much: the task notes the word at the entry, and
 * takes the note at the next thing that it calls after the store.
 *
 * Some ends of such calls are not seen. An exit needs room on the task's shadow
 * stack, which a task does not have for which none could be allocated, or that
 * deep tracing has used up: the entry looks. There is a fixed number of notes, and a
 * task that needs the place of another's takes it. Either leaves a search to the
 * worker: a task that is in such a call reports, when it returns to user space, that
 * any word may have been woken, and after the search the same is said of those that
 * were, and are no longer.
 *
 * Nobody misses a wake
 *
 *   watch                                 waker
 *
 *   afutex_hook_get()                     *word = new;        (or inside, see above)
 *     patch the text
 *     all CPUs: smp_mb()        (A)       futex_wake()
 *     look for suspects         (B)         the hook, if it is there
 *   counts[word] += 1;                        smp_mb();
 *   smp_mb();                                 if counts[word] == 0
 *   if *word != expected                          return;
 *       return EAGAIN;                        tell the watches
 *   ...
 *
 * Where the hook runs, it is the store buffer of table.rs. It does not run for
 * a call that began before the text was patched. Of such a call, the CPU passes
 * the place of the hook before its barrier of A, and with it what was stored
 * before the call: the watch sees it. Stores inside the call may come any time
 * later, though, if it is preempted or waits for a page: B is a search, as above, for
 * tasks that are in such a call.
 *
 * In which context watches are notified
 *
 * The functions are called by tasks, which hold no spinlock. A hook at an entry
 * runs with preemption and interrupts on and tells the watches at once, unless
 * another tracer is at the same function: all are called with preemption off
 * then. With preemption off, and at an exit, where it is off too, memory must
 * not be freed that vfree() frees; and with PREEMPT_RT, spinlocks sleep. So there
 * the wake is left to a worker, by a ring for each CPU. A ring that is full
 * makes it the wake of any word. Without CONFIG_PREEMPT_COUNT it is not known whether
 * preemption is off, and all wakes are left to the worker.
 *
 * With PREEMPT_RT all wakes are left to the worker: to wait for a spinlock is to
 * sleep there, and what removes a hook waits, by RCU tasks, until all tasks that
 * were in one have slept or left the kernel. For the same reason the hook never
 * sleeps elsewhere either. When unregister_ftrace_function() returns, no task is
 * in a hook at an entry; at an exit it is sched RCU, for which
 * unregister_fprobe() waits.
 *
 * The page of a shared word is looked for without a fault. If it is not found,
 * all words at that offset of a page count as woken.
 */

#include <linux/ftrace.h>
#include <linux/fprobe.h>
#include <linux/futex.h>

#include "futex_hook.h"
#include "helpers/mm_id.h"

#if defined(CONFIG_DYNAMIC_FTRACE_WITH_ARGS) && defined(CONFIG_FPROBE)

#include <linux/bitmap.h>
#include <linux/hash.h>
#include <linux/hashtable.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/sched/signal.h>
#include <linux/sched/task_stack.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/task_work.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

#include <asm/syscall.h>

/* Internal to the kernel: where its source is there, the constants below are checked by it. */
#ifdef AFUTEX_FUTEX_H
#include AFUTEX_FUTEX_H
#endif

/* How long the hooks stay when there is no more use for them. */
#define LINGER			(5 * HZ)

/* FLAGS_* of kernel/futex/futex.h. */
#define HOOK_SHARED		0x0010
#define HOOK_ROBUST_UNLOCK	0x0400
#ifdef AFUTEX_FUTEX_H
static_assert(HOOK_SHARED == FLAGS_SHARED);
#ifdef FUTEX_ROBUST_UNLOCK
static_assert(HOOK_ROBUST_UNLOCK == FLAGS_ROBUST_UNLOCK);
#endif
#endif

/* A wake that is left to the worker. */
struct left_wake {
	u64 mm;
	unsigned long addr;
	/* Of a shared word. A reference. */
	struct page *page;
};

/* Of what is in the number of an mm, what distinguishes it: counted, or an address. */
#ifdef CONFIG_X86
#define HOOK_MM_STEP	1
#else
#define HOOK_MM_STEP	SMP_CACHE_BYTES
#endif

#define RING_SIZE 64

/* The CPU writes at head, with preemption off; the worker reads at tail. */
struct ring {
	unsigned int head;
	unsigned int tail;
	struct left_wake wakes[RING_SIZE];
};

/* A word that a task is about to unlock. */
struct note {
	raw_spinlock_t lock;
	struct task_struct *task;
	unsigned long addr;
	unsigned int flags;
};

#define NOTE_BITS 8

/* A task in a call in which a word may be stored to, and whose end the hooks do not see. */
struct suspect {
	struct callback_head work;
	struct hlist_node node;
	struct task_struct *task;
};

#define SUSPECT_BITS 6

static struct {
	const struct afutex_hook_ops *ops;
	void *data;
	/* How many watch a word, or are about to, by count_of(). */
	atomic_t counts[AFUTEX_HOOK_COUNTS];

	/* What uses the hooks. */
	atomic_t users;
	/* Protects in_place, and how it is brought about. */
	struct mutex lock;
	bool in_place;
	struct delayed_work remove;

	struct workqueue_struct *workqueue;
	struct work_struct work;
	struct ring __percpu *rings;
	/* For the worker: any word was woken; one at an offset in its page. */
	bool any;
	DECLARE_BITMAP(offsets, AFUTEX_HOOK_COUNTS);
	/* For the worker, and for the next use if there is none: a search is to be made. */
	bool search;
	struct note *notes;

	/* Protects those below. */
	spinlock_t suspects_lock;
	/* By task: one has one at most. */
	DECLARE_HASHTABLE(suspects, SUSPECT_BITS);
	bool had_suspects;

	u64 hooked;
	atomic64_t handed_on;
	atomic64_t unknown;
} hook;

static __always_inline unsigned long offset_of(unsigned long addr)
{
	return addr / AFUTEX_HOOK_STEP % AFUTEX_HOOK_COUNTS;
}

static __always_inline atomic_t *count_of(u64 mm, unsigned long addr, bool shared)
{
	if (!shared)
		addr += mm / HOOK_MM_STEP * AFUTEX_HOOK_STEP;
	return &hook.counts[offset_of(addr)];
}

/* What was written for the worker before is seen by it. */
static notrace void call_worker(void)
{
	queue_work(hook.workqueue, &hook.work);
}

static notrace void leave_any(void)
{
	atomic64_inc(&hook.unknown);
	WRITE_ONCE(hook.any, true);
	call_worker();
}

/* The hooks do not see the end of a call that is under way. */
static notrace void leave_search(void)
{
	atomic64_inc(&hook.unknown);
	WRITE_ONCE(hook.search, true);
	call_worker();
}

static notrace void leave_offset(unsigned long addr)
{
	atomic64_inc(&hook.unknown);
	set_bit(offset_of(addr), hook.offsets);
	call_worker();
}

/* The page of a shared word, or NULL, without a fault. */
static __always_inline struct page *find_page(unsigned long addr)
{
	struct page *page;

	if (!current->mm || get_user_pages_fast_only(addr & PAGE_MASK, 1, 0, &page) != 1)
		return NULL;
	return page;
}

static notrace void leave_wake(unsigned long addr, unsigned int flags)
{
	struct page *page = NULL;
	struct left_wake *wake;
	struct ring *ring;
	unsigned int head;

	preempt_disable_notrace();
	ring = this_cpu_ptr(hook.rings);
	head = ring->head;
	/* Pairs with the release of the worker: the entry was read. */
	if (head - smp_load_acquire(&ring->tail) == RING_SIZE) {
		leave_any();
		goto out;
	}
	if (flags & HOOK_SHARED) {
		page = find_page(addr);
		if (!page) {
			leave_offset(addr);
			goto out;
		}
	}
	wake = &ring->wakes[head % RING_SIZE];
	wake->mm = mm_id(current->mm);
	wake->addr = addr;
	wake->page = page;
	/* Pairs with the acquire of the worker: the entry is written. */
	smp_store_release(&ring->head, head + 1);
	atomic64_inc(&hook.handed_on);
	call_worker();
out:
	preempt_enable_notrace();
}

/* Somebody may watch the word. */
static noinline notrace void see_wake(unsigned long addr, unsigned int flags)
{
	struct page *page;

	if (IS_ENABLED(CONFIG_PREEMPT_RT) || !preemptible()) {
		leave_wake(addr, flags);
		return;
	}
	if (!(flags & HOOK_SHARED)) {
		hook.ops->woken(hook.data, mm_id(current->mm), addr, NULL);
		return;
	}
	page = find_page(addr);
	if (!page) {
		leave_offset(addr);
		return;
	}
	hook.ops->woken(hook.data, mm_id(current->mm), addr, page);
	put_page(page);
}

/* The word was stored to, and is woken. */
static __always_inline void see(unsigned long addr, unsigned int flags)
{
	/* The watch counts itself before it looks at the word. */
	smp_mb();
	if (unlikely(atomic_read(count_of(mm_id(current->mm), addr, flags & HOOK_SHARED))))
		see_wake(addr, flags);
}

#ifdef FUTEX_ROBUST_UNLOCK
static __always_inline struct note *note_of(struct task_struct *task)
{
	return &hook.notes[hash_ptr(task, NOTE_BITS)];
}

/* The word will be stored to before clear_pending() is called. */
static noinline notrace void note_word(unsigned long addr, unsigned int flags)
{
	struct note *note = note_of(current);
	bool is_taken;

	raw_spin_lock(&note->lock);
	/* By one that is in its call, or whose call failed before it stored. */
	is_taken = note->task && note->task != current;
	note->task = current;
	note->addr = addr;
	note->flags = flags;
	raw_spin_unlock(&note->lock);

	if (is_taken)
		leave_search();
}

/* Most have nothing noted. */
static notrace void take_note(void)
{
	struct note *note = note_of(current);
	unsigned int flags = 0;
	unsigned long addr = 0;
	bool is_mine;

	raw_spin_lock(&note->lock);
	is_mine = note->task == current;
	if (is_mine) {
		addr = note->addr;
		flags = note->flags;
		note->task = NULL;
	}
	raw_spin_unlock(&note->lock);

	if (is_mine)
		see(addr, flags);
}
#endif

/* Of the shadow stack, in longs: what those below leave to those at an exit is enough. */
#define SHADOW_ENOUGH	256

/*
 * At futex_robust_list_clear_pending() and futex_wake_op(), for both: what is meant for
 * the other is rarely there, and at worst reports too much.
 */
static notrace void inner_entry(unsigned long ip, unsigned long parent_ip,
				struct ftrace_ops *ops, struct ftrace_regs *regs)
{
#ifdef FUTEX_ROBUST_UNLOCK
	take_note();
#endif
	if (unlikely(!current->ret_stack || current->curr_ret_stack > SHADOW_ENOUGH))
		leave_search();
}

static struct ftrace_ops inner_ops = {
	.func = inner_entry,
	.flags = FTRACE_OPS_FL_PERMANENT,
};

static notrace void wake_entry(unsigned long ip, unsigned long parent_ip,
			       struct ftrace_ops *ops, struct ftrace_regs *regs)
{
	unsigned long addr = ftrace_regs_get_argument(regs, 0);
	unsigned int flags = ftrace_regs_get_argument(regs, 1);

#ifdef FUTEX_ROBUST_UNLOCK
	if (unlikely(flags & HOOK_ROBUST_UNLOCK)) {
		note_word(addr, flags);
		return;
	}
#endif
	see(addr, flags);
}

static struct ftrace_ops wake_ops = {
	.func = wake_entry,
	.flags = FTRACE_OPS_FL_PERMANENT,
};

/* The arguments of futex_wake_op() are where they are since 2.6.14. */
struct wake_op {
	unsigned long addr;
	unsigned long addr2;
	unsigned int flags;
};

static notrace int wake_op_entry(struct fprobe *probe, unsigned long ip, unsigned long ret_ip,
				 struct ftrace_regs *regs, void *data)
{
	struct wake_op *op = data;

	op->addr = ftrace_regs_get_argument(regs, 0);
	op->flags = ftrace_regs_get_argument(regs, 1);
	op->addr2 = ftrace_regs_get_argument(regs, 2);
	return 0;
}

/* Whether the second word is woken depends on what it held: it may not have been. */
static notrace void wake_op_exit(struct fprobe *probe, unsigned long ip, unsigned long ret_ip,
				 struct ftrace_regs *regs, void *data)
{
	struct wake_op *op = data;

	see(op->addr, op->flags);
	see(op->addr2, op->flags);
}

static bool is_probed;
static struct fprobe wake_op_probe = {
	.entry_handler = wake_op_entry,
	.exit_handler = wake_op_exit,
	.entry_data_size = sizeof(struct wake_op),
};

static void suspect_returns(struct callback_head *work)
{
	struct suspect *suspect = container_of(work, struct suspect, work);

	spin_lock(&hook.suspects_lock);
	hash_del(&suspect->node);
	spin_unlock(&hook.suspects_lock);
	kfree(suspect);
	leave_any();
	module_put(THIS_MODULE);
}

/* futex and futex_time64 have these numbers for 32-bit programs of all machines that have them. */
#define NR_FUTEX_32		240
#define NR_FUTEX_TIME64_32	422
#define X32_BIT			0x40000000

/*
 * Whether the task is in a call that stores to a word inside. One that is has a
 * stack, and its registers at the call do not change. One that is not may look
 * like it, or lose its stack at this moment.
 */
static bool is_suspect(struct task_struct *task)
{
	struct pt_regs regs;
	unsigned long args[6];
	int nr;

	if (task->flags & (PF_KTHREAD | PF_USER_WORKER))
		return false;
	if (copy_from_kernel_nofault(&regs, task_pt_regs(task), sizeof(regs)))
		return false;
	nr = syscall_get_nr(task, &regs) & ~X32_BIT;
	if (nr != __NR_futex &&
	    (!IS_ENABLED(CONFIG_COMPAT) || (nr != NR_FUTEX_32 && nr != NR_FUTEX_TIME64_32)))
		return false;
	syscall_get_arguments(task, &regs, args);
#ifdef FUTEX_ROBUST_UNLOCK
	if (args[1] & FUTEX_ROBUST_UNLOCK)
		return true;
#endif
	return (args[1] & FUTEX_CMD_MASK) == FUTEX_WAKE_OP;
}

static int suspect(struct task_struct *task)
{
	struct suspect *suspect;

	guard(spinlock)(&hook.suspects_lock);
	hash_for_each_possible(hook.suspects, suspect, node, (unsigned long)task)
		if (suspect->task == task)
			return 0;
	suspect = kmalloc_obj(*suspect, GFP_NOWAIT);
	if (!suspect)
		return -ENOMEM;
	/* When the module is being removed, nobody watches. */
	if (!try_module_get(THIS_MODULE)) {
		kfree(suspect);
		return 0;
	}
	hook.had_suspects = true;
	suspect->task = task;
	init_task_work(&suspect->work, suspect_returns);
	if (task_work_add(task, &suspect->work, TWA_RESUME)) {
		/* It has left all calls. */
		kfree(suspect);
		module_put(THIS_MODULE);
		return 0;
	}
	hash_add(hook.suspects, &suspect->node, (unsigned long)task);
	return 0;
}

/* What tasks have stored that were in such a call before, and are no longer, is seen after it. */
static int find_suspects(void)
{
	struct task_struct *group, *task;
	int ret = 0;

	rcu_read_lock();
	for_each_process_thread(group, task) {
		if (is_suspect(task))
			ret = suspect(task);
		if (ret)
			goto out;
	}
out:
	rcu_read_unlock();
	/* Pairs with the barrier of the call's atomic operation on the word, before other calls. */
	smp_rmb();
	return ret;
}

/*
 * Makes the search that was left, if there is one. Others may watch already: those
 * that are no suspects any more are told of, too.
 */
static int search(void)
{
	int ret;

	if (!READ_ONCE(hook.search) || !xchg(&hook.search, false))
		return 0;
	ret = find_suspects();
	if (ret)
		WRITE_ONCE(hook.search, true);
	WRITE_ONCE(hook.any, true);
	call_worker();
	return ret;
}

/* Reports what was left to it. */
static void worker(struct work_struct *work)
{
	unsigned long offsets[BITS_TO_LONGS(AFUTEX_HOOK_COUNTS)];
	unsigned long found = 0;
	int cpu, i;

	/*
	 * Pairs with the barrier of afutex_hook_get(): there the search is seen, or
	 * its use here.
	 */
	smp_mb();
	if (atomic_read(&hook.users) && search())
		/* There will be memory for it. */
		schedule_timeout_uninterruptible(1);

	for_each_possible_cpu(cpu) {
		struct ring *ring = per_cpu_ptr(hook.rings, cpu);
		unsigned int tail = ring->tail;

		/* Pairs with the release of the waker: the entry is written. */
		while (tail != smp_load_acquire(&ring->head)) {
			struct left_wake wake = ring->wakes[tail % RING_SIZE];

			/* Pairs with the acquire of the waker: the entry was read. */
			smp_store_release(&ring->tail, ++tail);
			hook.ops->woken(hook.data, wake.mm, wake.addr, wake.page);
			if (wake.page)
				put_page(wake.page);
			cond_resched();
		}
	}

	for (i = 0; i < ARRAY_SIZE(offsets); i++) {
		offsets[i] = READ_ONCE(hook.offsets[i]) ? xchg(&hook.offsets[i], 0) : 0;
		found |= offsets[i];
	}
	if (xchg(&hook.any, false))
		hook.ops->any_woken(hook.data, NULL);
	else if (found)
		hook.ops->any_woken(hook.data, offsets);
}

static void fence(void *unused)
{
	/* A in the essay: orders the stores of wakers on this CPU before the watch's look. */
	smp_mb();
}

static int filter(struct ftrace_ops *ops, const char *function, bool reset)
{
	char name[KSYM_NAME_LEN];
	ssize_t len = strscpy(name, function);

	return ftrace_set_filter(ops, name, len, reset);
}

/*
 * Finds the functions. The kernel compares the names of all that it has, which can take
 * longer than all else about the hooks, so it is done once. With an empty filter all
 * functions would be hooked: one that is not there is an error.
 */
int afutex_hook_find(void)
{
	int ret;

	ret = filter(&wake_ops, "futex_wake", true);
	if (!ret)
		ret = filter(&wake_ops, "futex_requeue", false);
	if (!ret)
		ret = filter(&inner_ops, "futex_wake_op", true);
#ifdef FUTEX_ROBUST_UNLOCK
	if (!ret)
		ret = filter(&inner_ops, "futex_robust_list_clear_pending", false);
#endif
	if (ret)
		afutex_hook_forget();
	return ret == -ENOMEM ? ret : ret ? -EOPNOTSUPP : 0;
}

/* The hooks are not in place any more. */
void afutex_hook_forget(void)
{
	ftrace_free_filter(&inner_ops);
	ftrace_free_filter(&wake_ops);
}

static void take_away(struct ftrace_ops *ops)
{
	if (ops->flags & FTRACE_OPS_FL_ENABLED)
		WARN_ON(unregister_ftrace_function(ops));
}

static void hook_remove(void)
{
	if (is_probed)
		WARN_ON(unregister_fprobe(&wake_op_probe));
	is_probed = false;
	take_away(&inner_ops);
	take_away(&wake_ops);
	WRITE_ONCE(hook.in_place, false);
}

static int hook_place(void)
{
	static const char * const wake_op[] = { "futex_wake_op" };
	int ret;

	ret = register_ftrace_function(&wake_ops);
	if (!ret)
		ret = register_ftrace_function(&inner_ops);
	if (!ret)
		ret = register_fprobe_syms(&wake_op_probe, (const char **)wake_op, 1);
	is_probed = !ret;
	if (!ret) {
		hook.hooked++;
		on_each_cpu(fence, NULL, 1);
		ret = find_suspects();
	}
	if (ret)
		hook_remove();
	WRITE_ONCE(hook.in_place, !ret);
	return ret == -ENOMEM ? ret : ret ? -EOPNOTSUPP : 0;
}

/* What is allocated when the first watch comes, and kept. */
static int prepare(void)
{
	int i;

	if (!hook.notes) {
		hook.notes = kzalloc_objs(*hook.notes, 1 << NOTE_BITS);
		if (!hook.notes)
			return -ENOMEM;
		for (i = 0; i < 1 << NOTE_BITS; i++)
			raw_spin_lock_init(&hook.notes[i].lock);
	}
	if (!hook.rings)
		hook.rings = alloc_percpu(struct ring);
	if (!hook.workqueue)
		hook.workqueue = alloc_workqueue("afutex", WQ_UNBOUND | WQ_HIGHPRI, 0);
	return hook.rings && hook.workqueue ? 0 : -ENOMEM;
}

static void remove_unused(struct work_struct *work)
{
	guard(mutex)(&hook.lock);
	if (hook.in_place && !atomic_read(&hook.users))
		hook_remove();
}

/* The last use leaves the hooks for a while: to patch text is dear. */
void afutex_hook_put(void)
{
	if (atomic_dec_and_test(&hook.users))
		mod_delayed_work(system_dfl_wq, &hook.remove, LINGER);
}

/*
 * From when it returns until afutex_hook_put(), wakes are reported. -EINTR when
 * killed.
 */
int afutex_hook_get(void)
{
	int ret = 0;

	if (atomic_inc_not_zero(&hook.users))
		return 0;
	if (mutex_lock_killable(&hook.lock))
		return -EINTR;
	if (!hook.in_place)
		ret = prepare() ?: hook_place();
	if (!ret) {
		atomic_inc(&hook.users);
		/* Pairs with the barrier of the worker, which makes no search without a use. */
		smp_mb__after_atomic();
		ret = search();
		if (ret)
			afutex_hook_put();
	}
	mutex_unlock(&hook.lock);
	return ret;
}

/* A full barrier. */
void afutex_hook_count(u64 mm, unsigned long addr, bool shared, int count)
{
	atomic_add_return(count, count_of(mm, addr, shared));
}

void afutex_hook_init(const struct afutex_hook_ops *ops, void *data)
{
	hook.ops = ops;
	hook.data = data;
	mutex_init(&hook.lock);
	INIT_DELAYED_WORK(&hook.remove, remove_unused);
	INIT_WORK(&hook.work, worker);
	spin_lock_init(&hook.suspects_lock);
}

/* When it returns, nothing is reported, and nothing will be. */
void afutex_hook_exit(void)
{
	mutex_lock(&hook.lock);
	if (hook.in_place)
		hook_remove();
	mutex_unlock(&hook.lock);
	/* A suspect lets go of the module a few instructions before it has left it. */
	if (hook.had_suspects)
		synchronize_rcu_tasks();
	if (hook.workqueue)
		destroy_workqueue(hook.workqueue);
	/* A hook, or the worker, may have held the last watch. */
	cancel_delayed_work_sync(&hook.remove);
	free_percpu(hook.rings);
	kfree(hook.notes);
}

void afutex_hook_read_stats(struct afutex_hook_stats *stats)
{
	stats->hooked = READ_ONCE(hook.hooked);
	stats->handed_on = atomic64_read(&hook.handed_on);
	stats->unknown = atomic64_read(&hook.unknown);
	stats->in_place = READ_ONCE(hook.in_place);
}

#else

int afutex_hook_find(void)
{
	return -EOPNOTSUPP;
}

void afutex_hook_forget(void)
{
}

void afutex_hook_init(const struct afutex_hook_ops *ops, void *data)
{
}

void afutex_hook_count(u64 mm, unsigned long addr, bool shared, int count)
{
}

void afutex_hook_exit(void)
{
}

int afutex_hook_get(void)
{
	return -EOPNOTSUPP;
}

void afutex_hook_put(void)
{
}

void afutex_hook_read_stats(struct afutex_hook_stats *stats)
{
	memset(stats, 0, sizeof(*stats));
}

#endif
