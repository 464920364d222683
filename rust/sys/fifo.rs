// SPDX-License-Identifier: GPL-2.0

//! A first-in, first-out list of links that their owners keep.
//!
//! A [`Fifo`] lives under a lock. Each [`Link`] is part of its owner's memory, belongs to one list,
//! and has a state that the list's lock protects, whether the link is on the list or not.
//!
//! [`kernel::list`] holds a reference to each item, and hands it out when the item is removed. Here
//! an owner removes its link before it is freed, and whoever goes through the list sees states
//! only: there are no references to count, and none to drop under a lock.

use super::read_once::{
    read_once,
    write_once, //
};
use core::cell::UnsafeCell;
use core::marker::{
    PhantomData,
    PhantomPinned, //
};
use core::ptr::{
    self,
    NonNull, //
};
use kernel::container_of;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Acquire,
    Atomic,
    Release, //
};

/// The neighbours of a link, or the ends of a queue. Circular.
struct Ends {
    prev: *const UnsafeCell<Ends>,
    next: *const UnsafeCell<Ends>,
}

/// The mark of a link that is on its queue: addresses are even.
const ON_LIST: usize = 1;

/// A state that a queue's lock protects, and a place for it on that queue.
///
/// # Invariants
///
/// - `queue` is the address of a pinned [`Fifo`], which may be gone, or one more. The holder of a
///   mutable reference to that `Fifo`, and nothing else, may change it and access the other fields.
/// - It is one more exactly if the link is on that queue.
#[pin_data(PinnedDrop)]
pub(crate) struct Link<S> {
    queue: Atomic<usize>,
    ends: UnsafeCell<Ends>,
    state: UnsafeCell<S>,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: Only states are ever accessed through a link, each by one thread at a time.
unsafe impl<S: Send> Send for Link<S> {}
// SAFETY: By the type invariants a state is only accessed through a mutable reference, of which
// there is only one.
unsafe impl<S: Send> Sync for Link<S> {}

impl<S> Link<S> {
    /// Creates an initialiser for a link that belongs to `queue`, and is not on it.
    pub(crate) fn new(queue: Pin<&Fifo<S>>, state: S) -> impl PinInit<Self> + use<S> {
        let queue = ptr::from_ref(queue.get_ref()).addr();

        // INVARIANT: It is even, as addresses are, and the queue is pinned.
        pin_init!(Self {
            queue: Atomic::new(queue),
            ends: UnsafeCell::new(Ends {
                prev: ptr::null(),
                next: ptr::null(),
            }),
            state: UnsafeCell::new(state),
            _pin: PhantomPinned,
        })
    }
}

#[pinned_drop]
impl<S> PinnedDrop for Link<S> {
    /// An owner takes the link off before it goes: else the queue would lead into freed memory.
    fn drop(self: Pin<&mut Self>) {
        // Pairs with the release in `unlink`: the remover is done with it.
        assert!(self.queue.load(Acquire) & ON_LIST == 0);
    }
}

/// Links, first come first.
///
/// # Invariants
///
/// `ends`, and the `ends` of all links on the queue, form a circle. All of these links belong to
/// this queue and are pinned, so they stay valid.
#[pin_data(PinnedDrop)]
pub(crate) struct Fifo<S> {
    ends: UnsafeCell<Ends>,
    #[pin]
    _pin: PhantomPinned,
    _links: PhantomData<*const Link<S>>,
}

// SAFETY: A queue leads to states, and to links that may be used from any thread.
unsafe impl<S: Send> Send for Fifo<S> {}

#[pinned_drop]
impl<S> PinnedDrop for Fifo<S> {
    fn drop(self: Pin<&mut Self>) {
        assert!(self.is_empty());
    }
}

impl<S> Fifo<S> {
    /// Creates an initialiser for an empty list.
    pub(crate) fn new() -> impl PinInit<Self> {
        // INVARIANT: `ends` is a circle of one.
        pin_init!(&this in Self {
            ends: UnsafeCell::new(Ends {
                prev: Self::ends_of(this),
                next: Self::ends_of(this),
            }),
            _pin: PhantomPinned,
            _links: PhantomData,
        })
    }

    fn ends_of(this: NonNull<Self>) -> *const UnsafeCell<Ends> {
        // SAFETY: No more than the address of a field is taken.
        unsafe { &raw const (*this.as_ptr()).ends }
    }

    fn head(&self) -> *const UnsafeCell<Ends> {
        &raw const self.ends
    }

    fn addr(&self) -> usize {
        ptr::from_ref(self).addr()
    }

    /// Whether it is empty.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        // SAFETY: The ends of a queue change only while it is borrowed mutably.
        ptr::eq(unsafe { (*self.ends.get()).next }, self.head())
    }

    /// A link that belongs to this; panics, if it is another queue's.
    #[inline]
    pub(crate) fn at<'a>(self: Pin<&'a mut Self>, link: &'a Link<S>) -> Linked<'a, S> {
        assert!(read_once(&link.queue) & !ON_LIST == self.addr());
        // INVARIANT: Just asserted.
        Linked { link, queue: self }
    }

    /// # Safety
    ///
    /// `link` must be on this queue. It may be gone when this returns.
    #[inline]
    unsafe fn unlink(&self, link: *const Link<S>) {
        // SAFETY: By the safety requirements, and the type invariants of the queue.
        // INVARIANT: Its neighbours close the circle, and then it is marked as taken off.
        unsafe {
            let Ends { prev, next } = (*link).ends.get().read();
            (*(*prev).get()).next = next;
            (*(*next).get()).prev = prev;
            // From here on the owner may drop it.
            (*link).queue.store(self.addr(), Release);
        }
    }

    /// The first on the queue, if there is one.
    #[inline]
    pub(crate) fn first(self: Pin<&mut Self>) -> Option<First<'_, S>> {
        // SAFETY: The ends are ours as long as `self` is borrowed.
        let ends = unsafe { (*self.ends.get()).next };

        if ptr::eq(ends, self.head()) {
            return None;
        }
        // SAFETY: What is on the circle, and not the queue's own, is part of a link.
        let link = unsafe { container_of!(ends, Link<S>, ends) };
        // INVARIANT: It is on the queue.
        Some(First { link, queue: self })
    }
}

/// A link that belongs to a queue.
///
/// # Invariants
///
/// `link` belongs to `queue`.
pub(crate) struct Linked<'a, S> {
    link: &'a Link<S>,
    queue: Pin<&'a mut Fifo<S>>,
}

impl<'a, S> Linked<'a, S> {
    /// Its state.
    #[inline]
    pub(crate) fn state(&mut self) -> &mut S {
        // SAFETY: By the type invariants of both, it is ours as long as the queue is borrowed.
        unsafe { &mut *self.link.state.get() }
    }

    /// Its state, for as long as the queue was borrowed for.
    #[inline]
    pub(crate) fn into_state(self) -> &'a mut S {
        // SAFETY: By the type invariants of both, it is ours as long as the queue is borrowed.
        unsafe { &mut *self.link.state.get() }
    }

    #[inline]
    fn is_on_list(&self) -> bool {
        read_once(&self.link.queue) & ON_LIST != 0
    }

    /// Puts it last, unless it is on the queue already.
    #[inline]
    pub(crate) fn push(self) {
        if self.is_on_list() {
            return;
        }
        // SAFETY: By the type invariants the link is ours, and the circle valid. A link is created
        // pinned, and on its drop it is seen to that it was taken off.
        // INVARIANT: It goes between the last and the end.
        unsafe {
            let last = (*self.queue.ends.get()).prev;

            *self.link.ends.get() = Ends {
                prev: last,
                next: self.queue.head(),
            };
            (*(*last).get()).next = &raw const self.link.ends;
            (*self.queue.ends.get()).prev = &raw const self.link.ends;
        }
        write_once(&self.link.queue, self.queue.addr() | ON_LIST);
    }

    /// Takes it off the queue, if it is on it.
    #[inline]
    pub(crate) fn remove(self) {
        if self.is_on_list() {
            // SAFETY: It is on this queue.
            unsafe { self.queue.unlink(self.link) };
        }
    }
}

/// The first on a queue.
///
/// # Invariants
///
/// `link` is valid, and on the queue.
pub(crate) struct First<'a, S> {
    link: *const Link<S>,
    queue: Pin<&'a mut Fifo<S>>,
}

impl<S> First<'_, S> {
    /// Its state.
    #[inline]
    pub(crate) fn state(&mut self) -> &mut S {
        // SAFETY: By the type invariants it is valid, and ours as long as the queue is borrowed.
        unsafe { &mut *(*self.link).state.get() }
    }

    /// Takes it off.
    #[inline]
    pub(crate) fn remove(self) {
        // SAFETY: By the type invariants.
        unsafe { self.queue.unlink(self.link) };
    }
}

#[kunit_tests(afutex_fifo)]
mod tests {
    use super::*;
    use kernel::new_spinlock;
    use kernel::sync::SpinLock;

    type Locked = Pin<KBox<SpinLock<Fifo<u32>>>>;

    fn queue() -> Result<Locked> {
        KBox::pin_init(new_spinlock!(Fifo::new(), "afutex_test_queue"), GFP_KERNEL)
    }

    fn link(queue: &Locked, number: u32) -> Result<Pin<KBox<Link<u32>>>> {
        let link = Link::new(queue.lock().as_mut().as_ref(), number);

        KBox::pin_init(link, GFP_KERNEL)
    }

    /// Takes the first off.
    fn pop(queue: &Locked) -> Option<u32> {
        let mut guard = queue.lock();
        let mut first = guard.as_mut().first()?;
        let number = *first.state();

        first.remove();
        Some(number)
    }

    #[test]
    fn first_come_first_served() -> Result {
        let queue = queue()?;
        let links = [link(&queue, 1)?, link(&queue, 2)?, link(&queue, 3)?];

        assert!(queue.lock().is_empty());
        assert_eq!(pop(&queue), None);
        for link in &links {
            queue.lock().as_mut().at(link).push();
        }
        // Nobody is on it twice.
        queue.lock().as_mut().at(&links[0]).push();
        assert_eq!(pop(&queue), Some(1));
        queue.lock().as_mut().at(&links[0]).push();
        assert_eq!(pop(&queue), Some(2));
        assert_eq!(pop(&queue), Some(3));
        assert_eq!(pop(&queue), Some(1));
        assert!(queue.lock().is_empty());
        Ok(())
    }

    #[test]
    fn anyone_may_be_taken_off() -> Result {
        let queue = queue()?;
        let links = [link(&queue, 1)?, link(&queue, 2)?, link(&queue, 3)?];

        for gone in 0..3 {
            for link in &links {
                queue.lock().as_mut().at(link).push();
            }
            queue.lock().as_mut().at(&links[gone]).remove();
            queue.lock().as_mut().at(&links[gone]).remove();
            for n in (0..3).filter(|&n| n != gone) {
                assert_eq!(pop(&queue), Some(n as u32 + 1));
            }
            assert!(queue.lock().is_empty());
        }
        Ok(())
    }

    /// The state is the lock's, on the queue or not.
    #[test]
    fn states_can_be_changed() -> Result {
        let queue = queue()?;
        let link = link(&queue, 1)?;

        *queue.lock().as_mut().at(&link).state() = 2;
        queue.lock().as_mut().at(&link).push();
        *queue.lock().as_mut().at(&link).state() += 1;
        assert_eq!(pop(&queue), Some(3));
        assert_eq!(*queue.lock().as_mut().at(&link).state(), 3);
        Ok(())
    }
}
