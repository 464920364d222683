// SPDX-License-Identifier: GPL-2.0

//! Rings of nodes, each of an identity, and each node in memory of its owner's.
//!
//! A [`Rings`] lives under a lock. What it holds are items, each in a [`Node`]: on the stack of a
//! task that sleeps, or inside an object that is counted. Items of one identity form a ring, first
//! come first; to find a ring costs the number of rings, never that of items.
//!
//! [`kernel::list`] has one list under one lock, of objects that it owns. Here an item is found by
//! its identity, moves from lock to lock with its node in place, and can be looked for without a
//! lock.
//!
//! # Layout
//!
//! ```text
//!   Rings.first --> [a] <-----> [c] <-----> [d]        heads: the first of each ring
//!                   | ^         | ^         | ^
//!                   v |         +-+         v |        ring: circular
//!                   [b]                     [e]
//! ```

use super::read_once::read_once;
use core::cell::UnsafeCell;
use core::marker::PhantomPinned;
use core::mem::MaybeUninit;
use core::ptr;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Acquire,
    Atomic,
    Release, //
};

/// What is held in [`Rings`].
pub(crate) trait Item {
    /// What tells one ring from another.
    type Id: PartialEq;

    /// The ring that the item belongs on. May change in [`Rings::transfer`] only.
    fn id(&self) -> &Self::Id;
}

/// The neighbours of a node.
struct Links<T> {
    prev: *const Node<T>,
    next: *const Node<T>,
}

impl<T> Links<T> {
    const fn none() -> UnsafeCell<Self> {
        UnsafeCell::new(Self {
            prev: ptr::null(),
            next: ptr::null(),
        })
    }
}

/// The place for an item.
///
/// An item is *queued* in a [`Rings`], or *parked* with some other data that a lock protects, or
/// there is none. Whoever holds the lock proves it with a mutable reference to what it protects.
///
/// # Invariants
///
/// `home` is one of
///
/// - 0: `item` is not initialised, and the links mean nothing;
/// - the address of a pinned [`Rings`], on one of whose rings the node is: `item` is initialised,
///   and who borrows that `Rings` mutably, and nobody else, may access item and links;
/// - one more than the address of an object: `item` is initialised, and who borrows that object
///   mutably, and nobody else, may access it. Two live objects that are mutably borrowed, and are
///   not zero-sized, have two addresses.
///
/// Whoever changes `home` from 0 has the node to itself until the change is complete.
#[pin_data(PinnedDrop)]
pub(crate) struct Node<T> {
    home: Atomic<usize>,
    /// On the ring. Circular.
    ring: UnsafeCell<Links<T>>,
    /// Among the heads, for the first of a ring. Others have themselves as `next`.
    heads: UnsafeCell<Links<T>>,
    item: UnsafeCell<MaybeUninit<T>>,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: Only items are ever accessed through a node, each by one thread at a time.
unsafe impl<T: Send> Send for Node<T> {}
// SAFETY: By the type invariants nobody has access to an item but through a mutable reference that
// there is only one of.
unsafe impl<T: Send> Sync for Node<T> {}

/// The mark of a parked item in `home`: addresses are even.
const PARKED: usize = 1;

/// What `home` is for an item that is parked with `with`.
fn parked_at<H>(with: &Pin<&mut H>) -> usize {
    const { assert!(size_of::<H>() > 0 && align_of::<H>() > 1) };
    ptr::from_ref(&**with).addr() | PARKED
}

impl<T> Node<T> {
    /// Creates an initialiser for a node without an item.
    ///
    /// There is no other way to a node, so every node is pinned.
    #[inline]
    pub(crate) fn new() -> impl PinInit<Self> {
        // INVARIANT: `home` is 0.
        pin_init!(Self {
            home: Atomic::new(0),
            ring: Links::none(),
            heads: Links::none(),
            item: UnsafeCell::new(MaybeUninit::uninit()),
            _pin: PhantomPinned,
        })
    }

    /// Whether the item is queued at this moment, as may be asked without a lock.
    ///
    /// `false` means that all is visible that was done before the item was taken away.
    pub(crate) fn is_queued(&self) -> bool {
        self.rings_addr().is_some()
    }

    /// The address of the [`Rings`] that the item was queued in at this moment.
    pub(crate) fn rings_addr(&self) -> Option<usize> {
        match self.home.load(Acquire) {
            0 => None,
            home if home & PARKED != 0 => None,
            home => Some(home),
        }
    }

    /// Parks `item` with `with`; gives it back if the node has one.
    pub(crate) fn park<H>(&self, with: Pin<&mut H>, item: T) -> Result<(), T> {
        if self.home.cmpxchg(0, parked_at(&with), Acquire).is_err() {
            return Err(item);
        }
        // SAFETY: `home` was 0, and we borrow what it is now.
        // INVARIANT: `item` is initialised.
        unsafe { (*self.item.get()).write(item) };
        Ok(())
    }

    /// The item, if it is parked with `with`.
    pub(crate) fn parked<'a, H>(&'a self, with: Pin<&'a mut H>) -> Option<&'a T> {
        if read_once(&self.home) != parked_at(&with) {
            return None;
        }
        // SAFETY: By the type invariants it is initialised, and ours as long as `with` is borrowed.
        Some(unsafe { (*self.item.get()).assume_init_ref() })
    }

    /// Takes the item, if it is parked with `with`.
    #[inline]
    pub(crate) fn unpark<H>(&self, with: Pin<&mut H>) -> Option<T> {
        if read_once(&self.home) != parked_at(&with) {
            return None;
        }
        // SAFETY: By the type invariants it is initialised and ours.
        let item = unsafe { (*self.item.get()).assume_init_read() };
        // INVARIANT: It was moved out.
        self.home.store(0, Release);
        Some(item)
    }
}

#[pinned_drop]
impl<T> PinnedDrop for Node<T> {
    /// An owner takes the item away before the node goes: else rings would lead into freed memory.
    fn drop(self: Pin<&mut Self>) {
        assert!(self.home.load(Acquire) == 0);
    }
}

/// Rings of items.
///
/// # Invariants
///
/// - `first` is null or the head of a ring, and the `heads` of each head lead to the next and the
///   previous one, or are null.
/// - All nodes on the rings are pinned and have this as their home, so they stay valid.
/// - All items on a ring have one identity, and two rings have two.
#[pin_data(PinnedDrop)]
pub(crate) struct Rings<T> {
    first: *const Node<T>,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: `Rings` hold items, and nodes that may be used from any thread.
unsafe impl<T: Send> Send for Rings<T> {}

#[pinned_drop]
impl<T> PinnedDrop for Rings<T> {
    fn drop(self: Pin<&mut Self>) {
        assert!(self.first.is_null());
    }
}

impl<T> Rings<T> {
    /// Creates an initialiser for no rings.
    pub(crate) fn new() -> impl PinInit<Self> {
        // INVARIANT: There is no head.
        pin_init!(Self {
            first: ptr::null(),
            _pin: PhantomPinned,
        })
    }

    /// The address that [`Node::rings_addr`] tells of what is queued here.
    fn addr(&self) -> usize {
        ptr::from_ref(self).addr()
    }

    /// Where the first head is noted. Rings are never moved through it.
    fn first(self: Pin<&mut Self>) -> &mut *const Node<T> {
        self.project().first
    }

    /// Puts a head before all others.
    ///
    /// # Safety
    ///
    /// `node` must be the only one of its ring, which is not among the rings yet, and be valid.
    unsafe fn add_head(mut self: Pin<&mut Self>, node: *const Node<T>) {
        let next = self.first;

        // SAFETY: `node` is valid by the safety requirements, `next` by the type invariants.
        unsafe {
            *(*node).heads.get() = Links {
                prev: ptr::null(),
                next,
            };
            if !next.is_null() {
                (*(*next).heads.get()).prev = node;
            }
        }
        *self.as_mut().first() = node;
    }

    /// Replaces a head by `new`, which may be null: then the ring goes.
    ///
    /// # Safety
    ///
    /// `old` must be a head, and `new` be null or another node of its ring.
    unsafe fn replace_head(mut self: Pin<&mut Self>, old: *const Node<T>, new: *const Node<T>) {
        // SAFETY: `old` and `new` are valid by the safety requirements, their neighbours by the
        // type invariants.
        unsafe {
            let heads = (*old).heads.get();
            let Links { prev, next } = heads.read();
            (*heads).next = old;

            let (to_next, to_prev) = if new.is_null() {
                (next, prev)
            } else {
                *(*new).heads.get() = Links { prev, next };
                (new, new)
            };
            if prev.is_null() {
                *self.as_mut().first() = to_next;
            } else {
                (*(*prev).heads.get()).next = to_next;
            }
            if !next.is_null() {
                (*(*next).heads.get()).prev = to_prev;
            }
        }
    }

    /// Takes `node` off its ring. Its home is still this.
    ///
    /// # Safety
    ///
    /// `node` must be on a ring of this.
    unsafe fn unlink(self: Pin<&mut Self>, node: *const Node<T>) {
        // SAFETY: The node and its neighbours are valid by the type invariants. If it is a head,
        // the next of its ring, if there is one, follows it as such.
        unsafe {
            let Links { prev, next } = (*node).ring.get().read();
            let is_head = (*(*node).heads.get()).next != node;

            if next == node {
                self.replace_head(node, ptr::null());
                return;
            }
            (*(*prev).ring.get()).next = next;
            (*(*next).ring.get()).prev = prev;
            if is_head {
                self.replace_head(node, next);
            }
        }
    }

    /// Puts `node` last on the ring of `head`, or, if that is null, on a ring of its own.
    ///
    /// # Safety
    ///
    /// `node` must be pinned, have this as its home, and be on no ring. `head` must be null, if no
    /// ring has the identity of its item, or the head of the one that has.
    unsafe fn append(self: Pin<&mut Self>, head: *const Node<T>, node: *const Node<T>) {
        // SAFETY: Both are valid by the safety requirements.
        // INVARIANT: The node is on the ring of its identity.
        unsafe {
            if head.is_null() {
                *(*node).ring.get() = Links {
                    prev: node,
                    next: node,
                };
                self.add_head(node);
                return;
            }
            Self::join(head, node, node);
        }
    }

    /// Puts the nodes from `first` to `last`, which follow one another, last on the ring of `head`.
    ///
    /// # Safety
    ///
    /// All must be valid, and those from `first` to `last` on no other ring.
    unsafe fn join(head: *const Node<T>, first: *const Node<T>, last: *const Node<T>) {
        // SAFETY: By the safety requirements.
        unsafe {
            let prev = (*(*head).ring.get()).prev;

            (*(*first).ring.get()).prev = prev;
            (*(*last).ring.get()).next = head;
            // It is no head, or none any more.
            (*(*first).heads.get()).next = first;
            (*(*prev).ring.get()).next = first;
            (*(*head).ring.get()).prev = last;
        }
    }

    /// Takes `node` off its ring and its item out of it.
    ///
    /// # Safety
    ///
    /// `node` must be on a ring of this. It may be gone when this returns.
    unsafe fn take(self: Pin<&mut Self>, node: *const Node<T>) -> T {
        // SAFETY: By the safety requirements it is here, so the item is initialised and ours.
        unsafe {
            self.unlink(node);
            let item = (*(*node).item.get()).assume_init_read();
            // INVARIANT: It was moved out. From here on the owner may drop the node.
            (*node).home.store(0, Release);
            item
        }
    }

    /// Takes the item of `node`, if it is queued here.
    pub(crate) fn remove(self: Pin<&mut Self>, node: &Node<T>) -> Option<T> {
        if read_once(&node.home) != self.addr() {
            return None;
        }
        // SAFETY: By the type invariants it is on a ring of this.
        Some(unsafe { self.take(node) })
    }

    /// The number of rings, and of items on them.
    pub(crate) fn census(self: Pin<&mut Self>) -> (usize, usize) {
        let (mut rings, mut items) = (0, 0);
        let mut head = self.first;

        while !head.is_null() {
            rings += 1;
            let mut node = head;
            // SAFETY: All nodes on the rings are valid by the type invariants.
            unsafe {
                loop {
                    items += 1;
                    node = (*(*node).ring.get()).next;
                    if node == head {
                        break;
                    }
                }
                head = (*(*head).heads.get()).next;
            }
        }
        (rings, items)
    }
}

impl<T: Item> Rings<T> {
    /// The head of the ring of `id`, or null.
    #[inline]
    fn head_of(&self, id: &T::Id) -> *const Node<T> {
        let first = self.first;

        // SAFETY: Heads are valid, and hold items, by the type invariants.
        if first.is_null() || unsafe { (*(*first).item.get()).assume_init_ref() }.id() == id {
            return first;
        }
        // SAFETY: As above.
        unsafe { Self::head_behind(first, id) }
    }

    /// As `head_of`, among those behind `head`.
    ///
    /// # Safety
    ///
    /// `head` must be a head, and its rings borrowed.
    unsafe fn head_behind(mut head: *const Node<T>, id: &T::Id) -> *const Node<T> {
        loop {
            // SAFETY: By the safety requirements, and the type invariants, heads are valid and hold
            // items.
            unsafe {
                head = (*(*head).heads.get()).next;
                if head.is_null() || (*(*head).item.get()).assume_init_ref().id() == id {
                    return head;
                }
            }
        }
    }

    /// The first item of the ring of `id`, if there is one.
    pub(crate) fn find(self: Pin<&mut Self>, id: &T::Id) -> Option<Cursor<'_, T>> {
        let head = self.head_of(id);

        // INVARIANT: It is the head of one of the rings.
        (!head.is_null()).then_some(Cursor {
            rings: self,
            head,
            at: head,
        })
    }

    /// Queues `item` in `node`, behind all others of its identity; gives it back if the node has
    /// one.
    ///
    /// `adopt` sees the first of those others before, and may change all of the item but its
    /// identity.
    pub(crate) fn push(
        self: Pin<&mut Self>,
        node: &Node<T>,
        mut item: T,
        adopt: impl FnOnce(&T, &mut T),
    ) -> Result<(), T> {
        if node.home.cmpxchg(0, self.addr(), Acquire).is_err() {
            return Err(item);
        }
        let head = self.head_of(item.id());
        // SAFETY: `home` was 0, so the node is ours. It is pinned, as all are, and is dropped by
        // nobody before `home` is 0 again, as `drop` sees to.
        // INVARIANT: The item is initialised, and the node on a ring of its home.
        unsafe {
            if !head.is_null() {
                adopt((*(*head).item.get()).assume_init_ref(), &mut item);
            }
            (*node.item.get()).write(item);
            self.append(head, node);
        }
        Ok(())
    }

    /// Queues the item that is parked with `with` in `node`, behind all others of its identity, if
    /// that is `id`. Tells whether it did.
    ///
    /// `f` sees the first of those others, if there is one, and may change all of the item but its
    /// identity.
    pub(crate) fn push_parked<H>(
        self: Pin<&mut Self>,
        node: &Node<T>,
        with: Pin<&mut H>,
        id: &T::Id,
        f: impl FnOnce(Option<&T>, &mut T),
    ) -> bool {
        if read_once(&node.home) != parked_at(&with) {
            return false;
        }
        // SAFETY: By the type invariants the item is initialised and ours, and the node is on no
        // ring. It is pinned, and is dropped by nobody before `home` is 0, as `drop` sees to.
        // INVARIANT: The node is on a ring of its new home.
        unsafe {
            let item = (*node.item.get()).assume_init_mut();
            if item.id() != id {
                return false;
            }
            let head = self.head_of(id);
            f(
                head.as_ref()
                    .map(|head| (*head.item.get()).assume_init_ref()),
                item,
            );
            node.home.store(self.addr(), Release);
            self.append(head, node);
        }
        true
    }

    /// Goes through the ring of `id`, first to last, and does with each item as `f` says.
    ///
    /// Items that move go, in order, to the end of the ring of the identity that `f` gives them,
    /// one for all: in `other`, or in this if that is `None`.
    pub(crate) fn transfer(
        mut self: Pin<&mut Self>,
        mut other: Option<Pin<&mut Self>>,
        id: &T::Id,
        mut f: impl FnMut(&mut T) -> Transfer,
    ) {
        let mut at = self.head_of(id);
        if at.is_null() {
            return;
        }
        let home = match &other {
            Some(other) => other.addr(),
            None => self.addr(),
        };
        // The head of a ring of those that move, which is of neither `Rings` yet.
        let mut moved: *const Node<T> = ptr::null();

        // SAFETY: All nodes on the rings are valid, and their items initialised, by the type
        // invariants, and both `Rings` are borrowed mutably. A node that was unlinked is on the
        // ring of `moved` and nowhere else until that is joined to what it goes to.
        // INVARIANT: At no time `home` is 0. When this returns, each node is on a ring of its home.
        unsafe {
            let last = (*(*at).ring.get()).prev;
            loop {
                let next = (*(*at).ring.get()).next;
                match f((*(*at).item.get()).assume_init_mut()) {
                    Transfer::Stop => break,
                    Transfer::Stay => (),
                    Transfer::Move => {
                        self.as_mut().unlink(at);
                        (*at).home.store(home, Release);
                        if moved.is_null() {
                            *(*at).ring.get() = Links { prev: at, next: at };
                            moved = at;
                        } else {
                            Self::join(moved, at, at);
                        }
                    }
                }
                if at == last {
                    break;
                }
                at = next;
            }

            if !moved.is_null() {
                let target = match &mut other {
                    Some(other) => other.as_mut(),
                    None => self.as_mut(),
                };
                let head = target.head_of((*(*moved).item.get()).assume_init_ref().id());
                if head.is_null() {
                    target.add_head(moved);
                } else {
                    Self::join(head, moved, (*(*moved).ring.get()).prev);
                }
            }
        }
    }
}

/// What [`Rings::transfer`] is to do with an item.
pub(crate) enum Transfer {
    /// It goes to the other ring.
    Move,
    /// It stays where it is.
    Stay,
    /// It stays, and so do those behind it.
    Stop,
}

/// A position on a ring.
///
/// # Invariants
///
/// `head` is the head of a ring of `rings`, and `at` is on that ring.
pub(crate) struct Cursor<'a, T> {
    rings: Pin<&'a mut Rings<T>>,
    head: *const Node<T>,
    at: *const Node<T>,
}

impl<'a, T> Cursor<'a, T> {
    /// The item.
    pub(crate) fn item(&self) -> &T {
        // SAFETY: By the type invariants, and since `rings` is borrowed for as long.
        unsafe { (*(*self.at).item.get()).assume_init_ref() }
    }

    /// Whether there is no other on the ring.
    #[inline]
    pub(crate) fn is_alone(&self) -> bool {
        // SAFETY: `at` is valid by the type invariants.
        unsafe { (*(*self.at).ring.get()).next == self.at }
    }

    /// Goes on to the next on the ring, unless this was the last.
    pub(crate) fn next(self) -> Option<Self> {
        // SAFETY: `at` is valid by the type invariants.
        let next = unsafe { (*(*self.at).ring.get()).next };

        // INVARIANT: `next` is on the same ring.
        (next != self.head).then_some(Self { at: next, ..self })
    }

    /// Has `f` take the node off its ring, and goes on to who was next, unless this was the last.
    ///
    /// # Safety
    ///
    /// `f` must do that, and nothing else to the rings.
    unsafe fn leave<R>(
        mut self,
        f: impl FnOnce(Pin<&mut Rings<T>>, *const Node<T>) -> R,
    ) -> (R, Option<Self>) {
        let at = self.at;
        // SAFETY: `at` is valid by the type invariants.
        let next = unsafe { (*(*at).ring.get()).next };
        let is_last = next == self.head;
        let ret = f(self.rings.as_mut(), at);

        // INVARIANT: `next` was on the same ring, and is its head if `at` was.
        let left = (!is_last).then_some(Self {
            head: if at == self.head { next } else { self.head },
            at: next,
            ..self
        });
        (ret, left)
    }

    /// Gives away the item, and goes on.
    pub(crate) fn remove(self) -> (T, Option<Self>) {
        // SAFETY: By the type invariants the node is on a ring of `rings`, and `take` takes it off.
        unsafe { self.leave(|rings, at| rings.take(at)) }
    }

    /// Parks the item with `with`, and goes on.
    pub(crate) fn park<H>(self, with: Pin<&mut H>) -> Option<Self> {
        let home = parked_at(&with);

        // SAFETY: By the type invariants the node is on a ring of `rings`.
        let ((), next) = unsafe {
            self.leave(|rings, at| {
                rings.unlink(at);
                // INVARIANT: The node is on no ring, and the item is initialised. Who borrows
                // `with` next is ordered after us by its lock.
                (*at).home.store(home, Release);
            })
        };
        next
    }

    /// Sends the item to the end of its ring, and goes on to who was next.
    ///
    /// `f` may change all of the item but its identity.
    #[inline(always)]
    pub(crate) fn rotate(mut self, f: impl FnOnce(&mut T)) -> Option<Self> {
        let (at, old) = (self.at, self.head);

        // SAFETY: All nodes of the ring are valid by the type invariants, and `rings` is borrowed
        // mutably. The new head is another node of the ring of the old one.
        unsafe {
            f((*(*at).item.get()).assume_init_mut());

            let next = (*(*at).ring.get()).next;
            if next == old {
                // It is the last, perhaps the only one.
                return None;
            }
            if at == old {
                // On a circle, the last is who comes before the first.
                self.rings.as_mut().replace_head(at, next);
                self.head = next;
            } else {
                self.rings.as_mut().unlink(at);
                self.rings.as_mut().append(old, at);
            }
            self.at = next;
        }
        Some(self)
    }
}

#[kunit_tests(afutex_rings)]
mod tests {
    use super::*;
    use kernel::new_spinlock;
    use kernel::sync::SpinLock;

    #[derive(Debug, PartialEq)]
    struct Number {
        ring: u32,
        number: u32,
    }

    impl Item for Number {
        type Id = u32;

        fn id(&self) -> &u32 {
            &self.ring
        }
    }

    type Locked = Pin<KBox<SpinLock<Rings<Number>>>>;

    fn rings() -> Result<Locked> {
        KBox::pin_init(new_spinlock!(Rings::new(), "afutex_test"), GFP_KERNEL)
    }

    /// Others, whose lock may be taken with the lock of those held.
    fn others() -> Result<Locked> {
        KBox::pin_init(new_spinlock!(Rings::new(), "afutex_test_other"), GFP_KERNEL)
    }

    fn nodes<const N: usize>() -> Result<[Pin<KBox<Node<Number>>>; N]> {
        let mut all = [const { None }; N];

        for slot in all.iter_mut() {
            *slot = Some(KBox::pin_init(Node::new(), GFP_KERNEL)?);
        }
        Ok(all.map(|slot| slot.unwrap()))
    }

    fn push(rings: &Locked, node: &Pin<KBox<Node<Number>>>, ring: u32, number: u32) {
        let item = Number { ring, number };

        assert!(rings
            .lock()
            .as_mut()
            .push(node, item, |first, item| assert_eq!(first.ring, item.ring))
            .is_ok());
    }

    /// The numbers on a ring, as decimal digits, first to last.
    fn digits(rings: &Locked, ring: u32) -> u32 {
        let mut guard = rings.lock();
        let mut at = guard.as_mut().find(&ring);
        let mut digits = 0;

        while let Some(cursor) = at {
            digits = digits * 10 + cursor.item().number;
            at = cursor.next();
        }
        digits
    }

    #[test]
    fn first_come_first() -> Result {
        let rings = rings()?;
        let nodes = nodes::<6>()?;

        for (n, node) in nodes.iter().enumerate() {
            push(&rings, node, n as u32 % 2, n as u32 + 1);
        }
        assert_eq!(digits(&rings, 0), 135);
        assert_eq!(digits(&rings, 1), 246);
        assert_eq!(digits(&rings, 2), 0);
        assert_eq!(rings.lock().as_mut().census(), (2, 6));
        // The first, the last, the one between.
        for (n, left) in [(0, 35), (4, 3), (2, 0)] {
            assert!(rings.lock().as_mut().remove(&nodes[n]).is_some());
            assert!(rings.lock().as_mut().remove(&nodes[n]).is_none());
            assert!(!nodes[n].is_queued());
            assert_eq!(digits(&rings, 0), left);
        }
        assert_eq!(rings.lock().as_mut().census(), (1, 3));
        for n in [3, 1, 5] {
            assert!(rings.lock().as_mut().remove(&nodes[n]).is_some());
        }
        assert_eq!(rings.lock().as_mut().census(), (0, 0));
        Ok(())
    }

    #[test]
    fn a_node_has_one_item() -> Result {
        let (rings, other) = (rings()?, others()?);
        let nodes = nodes::<1>()?;
        let item = || Number { ring: 9, number: 9 };

        push(&rings, &nodes[0], 1, 1);
        assert!(other
            .lock()
            .as_mut()
            .push(&nodes[0], item(), |_, _| ())
            .is_err());
        assert!(other.lock().as_mut().remove(&nodes[0]).is_none());
        let mut with = 0u32;
        assert!(nodes[0].park(Pin::new(&mut with), item()).is_err());
        assert!(nodes[0].unpark(Pin::new(&mut with)).is_none());
        assert!(rings.lock().as_mut().remove(&nodes[0]).is_some());
        assert!(nodes[0].park(Pin::new(&mut with), item()).is_ok());
        assert!(!nodes[0].is_queued());
        assert!(rings
            .lock()
            .as_mut()
            .push(&nodes[0], item(), |_, _| ())
            .is_err());
        assert_eq!(nodes[0].unpark(Pin::new(&mut 0u32)), None);
        assert_eq!(nodes[0].unpark(Pin::new(&mut with)), Some(item()));
        Ok(())
    }

    /// Each way to go on, from each place.
    #[test]
    fn cursors_go_on_to_who_was_next() -> Result {
        for at in 0..3usize {
            for how in 0..3 {
                let rings = rings()?;
                let nodes = nodes::<4>()?;
                let mut with = 0u32;

                push(&rings, &nodes[3], 8, 8);
                for n in 0..3 {
                    push(&rings, &nodes[n], 0, n as u32 + 1);
                }

                let mut guard = rings.lock();
                let mut cursor = guard.as_mut().find(&0).ok_or(EINVAL)?;
                for _ in 0..at {
                    cursor = cursor.next().ok_or(EINVAL)?;
                }
                let next = match how {
                    0 => cursor.remove().1,
                    1 => cursor.park(Pin::new(&mut with)),
                    _ => cursor.rotate(|_| ()),
                };
                let number = next.map_or(0, |cursor| cursor.item().number);
                drop(guard);

                assert_eq!(number, [2, 3, 0][at]);
                let left = [[23, 13, 12], [23, 13, 12], [231, 132, 123]][how][at];
                assert_eq!(digits(&rings, 0), left);
                assert_eq!(nodes[at].unpark(Pin::new(&mut with)).is_some(), how == 1);
                for node in &nodes {
                    rings.lock().as_mut().remove(node);
                }
            }
        }
        Ok(())
    }

    #[test]
    fn rotating_goes_round() -> Result {
        let rings = rings()?;
        let nodes = nodes::<3>()?;

        for (n, node) in nodes.iter().enumerate() {
            push(&rings, node, 0, n as u32 + 1);
        }
        for expected in [231, 312, 123] {
            let mut guard = rings.lock();
            let first = guard.as_mut().find(&0).ok_or(EINVAL)?;
            first.rotate(|item| assert!(item.number != 0));
            drop(guard);
            assert_eq!(digits(&rings, 0), expected);
        }
        for node in &nodes {
            rings.lock().as_mut().remove(node);
        }
        Ok(())
    }

    /// Odd ones go; to a ring that is there or not, of the same or of other `Rings`.
    #[test]
    fn transfer() -> Result {
        for there in [false, true] {
            for across in [false, true] {
                let (rings, other) = (rings()?, others()?);
                let nodes = nodes::<6>()?;
                let to = if across { &other } else { &rings };

                if there {
                    push(to, &nodes[5], 1, 9);
                }
                for n in 0..5 {
                    push(&rings, &nodes[n], 0, n as u32 + 1);
                }
                let mut guard = rings.lock();
                let mut guard2 = across.then(|| other.lock());
                let other_rings = guard2.as_mut().map(|guard| guard.as_mut());
                guard
                    .as_mut()
                    .transfer(other_rings, &0, |item| match item.number {
                        4 => Transfer::Stop,
                        2 => Transfer::Stay,
                        _ => {
                            item.ring = 1;
                            Transfer::Move
                        }
                    });
                drop((guard2, guard));

                assert_eq!(digits(&rings, 0), 245);
                assert_eq!(digits(to, 1), if there { 913 } else { 13 });
                assert!(nodes.iter().take(5).all(|node| node.is_queued()));
                for node in &nodes {
                    rings.lock().as_mut().remove(node);
                    other.lock().as_mut().remove(node);
                }
            }
        }
        Ok(())
    }
}
