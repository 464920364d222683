// SPDX-License-Identifier: GPL-2.0

//! The page that a user address maps: looked at for a moment, or pinned for long.
//!
//! C header: [`include/linux/mm.h`](srctree/include/linux/mm.h).
//!
//! Reference: <https://www.kernel.org/doc/html/latest/core-api/pin_user_pages.html>

use super::bindings;
use super::locked_vm::{
    LockedPages,
    UserId, //
};
use super::task;
use core::mem::ManuallyDrop;
use core::ptr::{
    self,
    NonNull, //
};
use kernel::current;
use kernel::mm::virt::{
    flags,
    VmaRef, //
};
use kernel::page::PAGE_MASK;
use kernel::prelude::*;

/// How the current task maps an address.
pub(crate) enum Mapping {
    /// `MAP_PRIVATE` of nothing: what is there is anonymous, or the zero page.
    Anonymous,
    /// `MAP_PRIVATE` of a file or a driver: a page of its own once it is written, and the file's
    /// before, and again after `MADV_DONTNEED`.
    Private,
    /// `MAP_SHARED`, of a file or a driver, and the page, if it is present.
    Shared(Option<PageRef>),
    /// Of a device, whose memory has no pages that can be held.
    Pageless,
}

impl Mapping {
    /// Looks up how `addr` is mapped; `None` if it is not.
    ///
    /// The page of a shared mapping was there while the mapping was: nothing can change in between.
    /// Faults nothing in. May sleep.
    pub(crate) fn at(addr: usize) -> Option<Self> {
        with_vma(addr, |vma| {
            if vma.flags() & (flags::IO | flags::PFNMAP) != 0 {
                return Self::Pageless;
            }
            if vma.flags() & flags::MAYSHARE != 0 {
                return Self::Shared(PageRef::present(addr));
            }
            // SAFETY: The VMA is valid, and its lock keeps both from being changed.
            let (ops, file) = unsafe { ((*vma.as_ptr()).vm_ops, (*vma.as_ptr()).vm_file) };
            if ops.is_null() && file.is_null() {
                Self::Anonymous
            } else {
                Self::Private
            }
        })
    }
}

/// Runs `f`, which must not fault, with the VMA of `addr` in the current task's memory locked.
fn with_vma<R>(addr: usize, f: impl FnOnce(&VmaRef) -> R) -> Option<R> {
    let current = current!();
    let mm = current.mm()?;

    // Fails if the address space is being changed.
    if let Some(vma) = mm.lock_vma_under_rcu(addr) {
        return Some(f(&vma));
    }
    let locked = mm.mmap_read_lock();

    locked.vma_lookup(addr).map(f)
}

/// `FOLL_FORCE`, if it is needed to read what `addr` maps.
///
/// A mapping with `PROT_WRITE` alone has no read permission of its own, though the hardware lets it
/// be read.
fn force(addr: usize) -> Option<u32> {
    const ACCESS: kernel::mm::virt::vm_flags_t = flags::READ | flags::WRITE;

    with_vma(addr, |vma| vma.flags() & ACCESS == flags::WRITE)?
        .then_some(kernel::bindings::FOLL_FORCE)
}

/// What kind of memory a page holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backing {
    /// Anonymous memory that was written.
    Anonymous,
    /// A page of a file, tmpfs, memfd or hugetlbfs.
    File,
    /// A page of a driver, one that left its file, or a zero page.
    Detached,
}

/// A user page that stays allocated, though not necessarily mapped, while this exists.
///
/// # Invariants
///
/// `page` is a page to which this owns a reference.
pub(crate) struct PageRef {
    page: NonNull<kernel::bindings::page>,
}

impl PageRef {
    /// Looks up the page that `addr` maps in the current task's memory.
    ///
    /// Read access suffices. May sleep, and fault.
    ///
    /// # Errors
    ///
    /// `EFAULT` if nothing readable is mapped, `ENOMEM`, `EINTR` when killed.
    #[inline(always)]
    pub(crate) fn lookup(addr: usize) -> Result<Self> {
        match Self::lookup_flags(addr, 0) {
            Ok(page) => Ok(page),
            Err(err) => Self::lookup_forced(addr, err),
        }
    }

    /// Like `lookup`, where read access fails with `err`.
    #[cold]
    #[inline(never)]
    fn lookup_forced(addr: usize, err: Error) -> Result<Self> {
        match force(addr) {
            Some(force) if err == EFAULT => Self::lookup_flags(addr, force),
            _ => Err(err),
        }
    }

    #[inline(always)]
    fn lookup_flags(addr: usize, flags: u32) -> Result<Self> {
        let mut page = ptr::null_mut();

        // SAFETY: There is room for the one page that is asked for, and the current task has
        // memory.
        let got =
            unsafe { kernel::bindings::get_user_pages_fast(addr & PAGE_MASK, 1, flags, &mut page) };
        // INVARIANT: On success, the reference is ours.
        Ok(Self {
            page: one_page(got, page)?,
        })
    }

    /// Like `lookup`, of a page that is present, without faulting.
    fn present(addr: usize) -> Option<Self> {
        let mut page = ptr::null_mut();

        // SAFETY: There is room for the one page that is asked for.
        let got = unsafe {
            kernel::bindings::get_user_pages_fast_only(addr & PAGE_MASK, 1, 0, &mut page)
        };
        // INVARIANT: On success, the reference is ours.
        Some(Self {
            page: one_page(got, page).ok()?,
        })
    }

    /// What kind of memory this is.
    #[inline]
    pub(crate) fn backing(&self) -> Backing {
        // SAFETY: By the type invariants the page is valid.
        unsafe { backing(self.page) }
    }

    /// The identity of the page: differs from that of every other page that is allocated.
    pub(crate) fn id(&self) -> usize {
        self.page.as_ptr().addr()
    }

    /// The folio that the page belongs to.
    pub(crate) fn folio(&self) -> FolioId {
        // SAFETY: By the type invariants the page is valid.
        unsafe { FolioId::of(self.page) }
    }
}

impl PageRef {
    /// One that is not dropped, of a page that the caller holds.
    ///
    /// # Safety
    ///
    /// There must be a reference to `page` for as long as this is used.
    pub(super) unsafe fn borrowed(page: NonNull<kernel::bindings::page>) -> ManuallyDrop<Self> {
        // INVARIANT: The reference is as good as ours, by the safety requirements.
        ManuallyDrop::new(Self { page })
    }
}

impl Drop for PageRef {
    fn drop(&mut self) {
        // SAFETY: By the type invariants we own a reference.
        unsafe { bindings::afutex_put_page(self.page.as_ptr()) };
    }
}

/// The identity of a folio: differs from that of every other one that is allocated.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FolioId(usize);

impl FolioId {
    /// # Safety
    ///
    /// The caller must hold a reference to `page`, which keeps its folio from being split.
    unsafe fn of(page: NonNull<kernel::bindings::page>) -> Self {
        // SAFETY: The page is valid by the safety requirements.
        Self(unsafe { bindings::afutex_page_folio(page.as_ptr()) }.addr())
    }

    /// The address.
    pub(crate) fn addr(self) -> usize {
        self.0
    }
}

/// A pin on a page: it and the folio that it belongs to stay where they are in their mappings.
///
/// # Invariants
///
/// This owns one pin on the page.
struct Pin(NonNull<kernel::bindings::page>);

impl Pin {
    /// Pins the page that `addr` maps in the current task's memory. May sleep, and fault.
    fn new(addr: usize, flags: u32) -> Result<Self> {
        let mut page = ptr::null_mut();

        // SAFETY: There is room for the one page that is asked for.
        let got =
            unsafe { kernel::bindings::pin_user_pages_fast(addr & PAGE_MASK, 1, flags, &mut page) };
        // INVARIANT: On success, the pin is ours.
        Ok(Self(one_page(got, page)?))
    }

    /// Like `new`, of a page that is to stay for long: one that has to stay movable is moved away
    /// first, or, if that fails, pinned all the same.
    fn longterm(addr: usize, flags: u32) -> Result<Self> {
        for _ in 0..LONGTERM_TRIES {
            match Self::new(addr, flags | kernel::bindings::FOLL_LONGTERM) {
                // It could not be moved: `migrate_longterm_unpinnable_folios`.
                Err(err) if err == ENOMEM || err == EBUSY => (),
                done => return done,
            }
            if task::fatal_signal_pending() {
                return Err(EINTR);
            }
        }
        Self::new(addr, flags)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        // SAFETY: By the type invariants we own the pin.
        unsafe { kernel::bindings::unpin_user_page(self.0.as_ptr()) };
    }
}

/// How often a page that cannot be moved is tried again. Each time, the kernel tries ten times.
const LONGTERM_TRIES: u32 = 2;

/// More references to a folio than any honest use makes. A pin of a small page counts as 1024 of
/// them, and nothing in the kernel stops the count before it overflows: this is a quarter of the
/// way.
const MAX_REFS: i32 = 1 << 29;

/// A folio of user pages that is pinned for long, and charged to the user that pinned it.
///
/// Under one mapping, reclaim, migration, swap-out, fork and stores leave the pages in place.
/// `MADV_DONTNEED` on anonymous memory, truncation, hole punching and O_DIRECT invalidation
/// replace them.
pub(crate) struct PinnedFolio {
    pin: Pin,
    charge: LockedPages,
}

// SAFETY: A pin may be dropped from any task.
unsafe impl Send for PinnedFolio {}
// SAFETY: The `&self` methods only read what does not change while the page is pinned, or do so
// atomically.
unsafe impl Sync for PinnedFolio {}

impl PinnedFolio {
    /// Pins the folio of the page that `addr` maps in the current task's memory, for reading, and
    /// charges all of it to the current user's `RLIMIT_MEMLOCK`.
    ///
    /// A page in memory that has to stay movable (`ZONE_MOVABLE`, CMA) is moved out of it. If it
    /// cannot be moved, since it has other holders, it is pinned where it is.
    ///
    /// May sleep, and fault.
    ///
    /// # Errors
    ///
    /// `EFAULT` if nothing is mapped, `ENOMEM` if there is no memory, the folio is over the limit
    /// or carries absurdly many references, `EOPNOTSUPP` for fsdax, `EINTR` when killed.
    pub(crate) fn pin(addr: usize) -> Result<Self> {
        let pin = Pin::longterm(addr, 0).or_else(|err| match force(addr) {
            Some(force) if err == EFAULT => Pin::longterm(addr, force),
            _ => Err(err),
        })?;

        // SAFETY: The page is pinned.
        if unsafe { bindings::afutex_page_refs(pin.0.as_ptr()) } > MAX_REFS {
            return Err(ENOMEM);
        }
        // SAFETY: The page is pinned.
        let pages = unsafe { bindings::afutex_page_folio_pages(pin.0.as_ptr()) };
        Ok(Self {
            pin,
            charge: LockedPages::charge(pages)?,
        })
    }

    /// Who is charged.
    pub(crate) fn user(&self) -> UserId {
        self.charge.user()
    }

    /// The identity of the folio.
    pub(crate) fn id(&self) -> FolioId {
        // SAFETY: The page is pinned.
        unsafe { FolioId::of(self.pin.0) }
    }

    /// Whether the folio still is where its file has it. If not, it was truncated away, or
    /// invalidated, and whoever maps the file sees other pages.
    pub(crate) fn is_attached(&self) -> bool {
        // SAFETY: The page is pinned.
        unsafe { backing(self.pin.0) == Backing::File }
    }
}

/// Turns the result of a request for one page into that page or an error.
#[inline]
fn one_page(
    got: i32,
    page: *mut kernel::bindings::page,
) -> Result<NonNull<kernel::bindings::page>> {
    match NonNull::new(page) {
        Some(page) if got == 1 => Ok(page),
        // Nothing got and no error happens for an address that wraps around, and for a page that is
        // not present where nothing is faulted in.
        _ => Err(kernel::error::to_result(got).err().unwrap_or(EFAULT)),
    }
}

/// What kind of memory `page` holds.
///
/// # Safety
///
/// The caller must hold a reference to `page`.
#[inline]
unsafe fn backing(page: NonNull<kernel::bindings::page>) -> Backing {
    // SAFETY: The page is valid by the safety requirements, so its folio is too.
    match unsafe { bindings::afutex_page_backing(page.as_ptr()) } {
        bindings::AFUTEX_PAGE_FILE => Backing::File,
        bindings::AFUTEX_PAGE_ANON => Backing::Anonymous,
        _ => Backing::Detached,
    }
}
