// SPDX-License-Identifier: GPL-2.0

//! The kinds of wakees, and how each is woken: the one list, and the one place that matches it.

use super::bucket::{
    is_late,
    rotate,
    Counted,
    Guard,
    Mark,
    Notify,
    Ticket,
    Waiter,
    Wake,
    Wanted,
    STEP, //
};
use super::fd::FutexFd;
use super::key::Key;
use super::set::{
    Member,
    Ready,
    Set, //
};
use super::sleeper::Sleeper;
use super::watch::Watch;
use crate::sys::pseudo_file::Pollable;
use crate::sys::queues::Cursor;
use core::pin::Pin;
use core::ptr;
use kernel::sync::aref::ARef;
use kernel::sync::Arc;
use kernel::task::Task;

/// What is woken.
pub(crate) enum Wakee {
    /// A task that sleeps on one word.
    Task(ARef<Task>),
    /// A descriptor from `FUTEX_FD`.
    Fd(Arc<Pollable<FutexFd<Self>>>),
    /// A descriptor from `AFUTEX_IOC_OPEN`.
    Watch(Arc<Pollable<Watch<Self>>>),
    /// A member of a set.
    Member(Arc<Member<Self>>),
    /// A task that sleeps on many words.
    Sleeper(Arc<Sleeper>),
    /// Not a wakee, but what stands in a queue.
    Mark(Mark),
}

/// What is to be notified of a wake.
pub(crate) enum Notice {
    /// A waiter that was dequeued.
    Waiter(Waiter<Wakee>),
    /// A watch, which keeps its waiter.
    Watch(Arc<Pollable<Watch<Wakee>>>),
    /// A set, whose members keep theirs.
    Set(Arc<Pollable<Set<Wakee>>>),
}

/// A wakee that stays queued, and has listeners.
pub(crate) enum Listener {
    /// A watch.
    Watch(Arc<Pollable<Watch<Wakee>>>),
    /// The set of a member.
    Set(Arc<Pollable<Set<Wakee>>>),
}

impl Notify for Notice {
    fn notify(&self) {
        match self {
            Notice::Waiter(waiter) => waiter.wakee.notify(),
            Notice::Watch(watch) => watch.notify_readable(),
            Notice::Set(set) => set.notify_readable(),
        }
    }
}

impl Notify for Wakee {
    fn notify(&self) {
        match self {
            Wakee::Task(task) => task.wake_up(),
            Wakee::Fd(fd) => fd.notify_readable(),
            Wakee::Watch(watch) => watch.notify_readable(),
            Wakee::Member(member) => member.set.notify_readable(),
            Wakee::Sleeper(sleeper) => sleeper.notify(),
            Wakee::Mark(_) => (),
        }
    }
}

impl Wake for Wakee {
    type Notice = Notice;
    type Listener = Listener;

    #[inline(always)]
    fn count(&self, bitset: u32) -> Counted {
        match self {
            Wakee::Watch(watch) if watch.is_persistent() => {
                if Watch::add_wake(watch, bitset) {
                    Counted::Listened
                } else {
                    Counted::Quietly
                }
            }
            Wakee::Member(member) if member.set.is_mapped() => count_mapped(member, bitset),
            _ => Counted::No,
        }
    }

    #[inline]
    fn listener(&self) -> Option<Listener> {
        match self {
            Wakee::Watch(watch) => Some(Listener::Watch(watch.clone())),
            Wakee::Member(member) => Some(Listener::Set(member.set.clone())),
            _ => None,
        }
    }

    #[inline]
    fn notify_listener(listener: Option<Listener>) {
        match listener {
            Some(Listener::Watch(watch)) => watch.notify_listeners(),
            Some(Listener::Set(set)) => set.notify_listeners(),
            None => (),
        }
    }

    #[inline(never)]
    fn wake_first(
        mut guard: Guard<'_, Self>,
        key: &Key,
        bitset: u32,
        unqueued: impl FnOnce(i32),
    ) -> Option<u32> {
        let mut steps = STEP;
        let inner = guard.as_mut().project();
        let mut at = inner.queues.find(key);

        while let Some(cursor) = at {
            if !cursor.item().matches(bitset) {
                steps = steps.checked_sub(1)?;
                at = cursor.next();
                continue;
            }
            match &cursor.item().wakee {
                Wakee::Mark(Mark::Barrier) => return None,
                Wakee::Mark(Mark::Place) => {
                    steps = steps.checked_sub(1)?;
                    at = cursor.next();
                    continue;
                }
                Wakee::Watch(watch) if watch.is_persistent() => {
                    let listener = Watch::add_wake(watch, bitset).then(|| watch.clone());
                    rotate(cursor, inner.ticket);
                    drop(guard);
                    if let Some(watch) = listener {
                        watch.notify_listeners();
                    }
                }
                Wakee::Watch(watch) => {
                    let watch = watch.clone();
                    watch.disarm(cursor, bitset);
                    drop(guard);
                    unqueued(1);
                    watch.notify_readable();
                }
                Wakee::Member(member) => {
                    let set = member.set.clone();
                    let woken = wake_members(&set, cursor, 1, 0, bitset, inner.ticket);
                    let left = woken.unqueued;
                    drop(guard);
                    unqueued(left);
                    set.notify_readable();
                }
                Wakee::Task(_) | Wakee::Fd(_) | Wakee::Sleeper(_) => {
                    let (waiter, _) = cursor.remove();
                    drop(guard);
                    unqueued(1);
                    waiter.wakee.notify();
                }
            }
            return Some(1);
        }
        Some(0)
    }

    #[inline]
    fn wake_at<'a>(
        at: Cursor<'a, Waiter<Self>>,
        wanted: &mut Wanted<'_, '_, Self>,
    ) -> Option<Cursor<'a, Waiter<Self>>> {
        match &at.item().wakee {
            Wakee::Member(member) => {
                let queue = &mut *wanted.wake_q;
                // One notice for all members of a set that are woken one after the other.
                let is_noted = |last: &Notice| match last {
                    Notice::Set(set) => Arc::ptr_eq(set, &member.set),
                    _ => false,
                };

                if !queue.last().is_some_and(is_noted) {
                    queue.push(Notice::Set(member.set.clone()));
                }
                let most = wanted.remaining.min(queue.room());
                // There was room, so it is there.
                let Some(Notice::Set(set)) = queue.last() else {
                    return None;
                };
                let run = wake_run(set, at, most, wanted.cutoff, wanted.bitset, wanted.ticket);

                wanted.count(run.woken, run.unqueued);
                run.next
            }
            Wakee::Watch(watch) if watch.is_persistent() => {
                if Watch::add_wake(watch, wanted.bitset) {
                    wanted.wake_q.push(Notice::Watch(watch.clone()));
                }
                wanted.count(1, 0);
                rotate(at, wanted.ticket)
            }
            Wakee::Watch(watch) => {
                let watch = watch.clone();
                let next = watch.disarm(at, wanted.bitset);

                wanted.wake_q.push(Notice::Watch(watch));
                wanted.count(1, 1);
                next
            }
            Wakee::Task(_) | Wakee::Fd(_) | Wakee::Sleeper(_) => {
                // An owner that sees that the waiter is gone may use the entry again, or end it.
                let (waiter, next) = at.remove();

                wanted.wake_q.push(Notice::Waiter(waiter));
                wanted.count(1, 1);
                next
            }
            Wakee::Mark(_) => at.next(),
        }
    }

    #[inline(always)]
    fn stays(&self) -> bool {
        match self {
            Wakee::Mark(_) => true,
            Wakee::Task(_) | Wakee::Fd(_) | Wakee::Sleeper(_) => false,
            Wakee::Watch(watch) => watch.has_unread(),
            Wakee::Member(member) => member.has_unread(),
        }
    }

    fn from_mark(mark: Mark) -> Self {
        Wakee::Mark(mark)
    }

    #[inline]
    fn as_mark(&self) -> Option<Mark> {
        match self {
            Wakee::Mark(mark) => Some(*mark),
            _ => None,
        }
    }
}

/// [`Wake::count`] of a member of a mapped set.
#[inline(never)]
fn count_mapped(member: &Member<Wakee>, bitset: u32) -> Counted {
    match member.add_wake_alone(bitset) {
        Some(true) => Counted::Listened,
        Some(false) => Counted::Quietly,
        None => Counted::No,
    }
}

/// What came of [`wake_members`].
struct Run<'a> {
    /// The next in the queue, unless the last was the last.
    next: Option<Cursor<'a, Waiter<Wakee>>>,
    /// How many were woken.
    woken: u32,
    /// How many of them left the table.
    unqueued: i32,
}

/// [`wake_members`] as a function of its own: its loop needs the registers.
#[inline(never)]
fn wake_run<'a>(
    set: &Pollable<Set<Wakee>>,
    at: Cursor<'a, Waiter<Wakee>>,
    most: u32,
    cutoff: u64,
    bitset: u32,
    ticket: &mut Ticket,
) -> Run<'a> {
    wake_members(set, at, most, cutoff, bitset, ticket)
}

/// Wakes the member of `set` at the cursor and those behind it, as long as they are members of the
/// set, match, and came before `cutoff`; `most` at most, but at least one. Under the bucket's lock.
#[inline(always)]
fn wake_members<'a>(
    set: &Pollable<Set<Wakee>>,
    at: Cursor<'a, Waiter<Wakee>>,
    most: u32,
    cutoff: u64,
    bitset: u32,
    ticket: &mut Ticket,
) -> Run<'a> {
    let mut ready = set.ready.lock();
    let run = wake_locked(set, ready.as_mut(), at, most, cutoff, bitset, ticket);

    ready.as_mut().publish();
    run
}

/// [`wake_members`], under the set's lock.
#[inline(always)]
fn wake_locked<'a>(
    set: &Pollable<Set<Wakee>>,
    mut ready: Pin<&mut Ready<Wakee>>,
    mut at: Cursor<'a, Waiter<Wakee>>,
    most: u32,
    cutoff: u64,
    bitset: u32,
    ticket: &mut Ticket,
) -> Run<'a> {
    let mut woken = 0u32;
    let mut unqueued = 0i32;

    loop {
        let waiter = at.item();
        let next = match &waiter.wakee {
            Wakee::Member(member)
                if !Member::add_wake(member, ready.as_mut(), &waiter.key, bitset) =>
            {
                unqueued = unqueued.wrapping_add(1);
                at.disarm(ready.as_mut())
            }
            Wakee::Member(_) => rotate(at, ticket),
            _ => at.next(),
        };
        woken = woken.wrapping_add(1);

        let Some(cursor) = next else {
            return Run {
                next,
                woken,
                unqueued,
            };
        };
        let waiter = cursor.item();
        let goes_on = woken < most
            && !is_late(waiter.ticket, cutoff)
            && waiter.matches(bitset)
            && matches!(&waiter.wakee, Wakee::Member(member) if ptr::eq(&*member.set, set));
        if !goes_on {
            return Run {
                next: Some(cursor),
                woken,
                unqueued,
            };
        }
        at = cursor;
    }
}
