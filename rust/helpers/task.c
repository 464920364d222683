// SPDX-License-Identifier: GPL-2.0

#include <linux/cpumask.h>
#include <linux/mm.h>
#include <linux/ptrace.h>
#include <linux/sched/signal.h>
#include <linux/sched/task_stack.h>
#include <linux/signal.h>
#include <linux/time_namespace.h>

#include "helpers.h"

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

u64 afutex_timer_slack(void)
{
	return current->timer_slack_ns;
}

s64 afutex_monotonic_to_host(s64 time)
{
	return timens_ktime_to_host(CLOCK_MONOTONIC, time);
}

unsigned int afutex_num_possible_cpus(void)
{
	return num_possible_cpus();
}

unsigned long afutex_memory_pages(void)
{
	return totalram_pages();
}

bool afutex_valid_signal(unsigned long sig)
{
	return valid_signal(sig);
}
