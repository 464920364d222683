// SPDX-License-Identifier: GPL-2.0

//! The page that a user address maps: looked at for a moment, or pinned for long.
//!
//! C header: [`include/linux/mm.h`](srctree/include/linux/mm.h).
//!
//! Reference: <https://www.kernel.org/doc/html/latest/core-api/pin_user_pages.html>

use super::bindings;
use super::locked_vm::LockedPages;
use core::ptr::{
    self,
    NonNull, //
};
use kernel::current;
use kernel::mm::Mm;
use kernel::page::PAGE_MASK;
use kernel::prelude::*;
use kernel::sync::aref::ARef;

/// What kind of memory a page holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backing {
    /// Anonymous memory, or the zero page that stands for anonymous memory never written.
    Anonymous,
    /// A page of a file, tmpfs, memfd, hugetlbfs or a driver.
    File,
}

/// A user page that stays allocated, though not necessarily mapped, while this exists.
///
/// # Invariants
///
/// `page` is a page to which this owns a reference.
pub(crate) struct PageRef {
    page: NonNull<kernel::bindings::page>,
    backing: Backing,
}

impl PageRef {
    /// Looks up the page that `addr` maps in the current task's memory.
    ///
    /// Read access suffices. May sleep, and fault.
    ///
    /// # Errors
    ///
    /// `EFAULT` if nothing readable is mapped, `ENOMEM`, `EINTR` when killed meanwhile.
    pub(crate) fn lookup(addr: usize) -> Result<Self> {
        let mut page = ptr::null_mut();

        // SAFETY: There is room for the one page that is asked for.
        let backing = match unsafe { bindings::afutex_get_page(addr, &mut page) } {
            0 => Backing::File,
            1 => Backing::Anonymous,
            err => return Err(Error::from_errno(err)),
        };
        // INVARIANT: The reference is ours.
        Ok(Self {
            page: NonNull::new(page).ok_or(EFAULT)?,
            backing,
        })
    }

    /// What kind of memory this is.
    pub(crate) fn backing(&self) -> Backing {
        self.backing
    }

    /// The identity of the page: differs from that of every other page that is allocated.
    pub(crate) fn id(&self) -> usize {
        self.page.as_ptr().addr()
    }
}

impl Drop for PageRef {
    fn drop(&mut self) {
        // SAFETY: By the type invariants we own a reference.
        unsafe { bindings::afutex_put_page(self.page.as_ptr()) };
    }
}

/// A user page pinned for long: it stays where it is in its mapping.
///
/// Under one mapping, reclaim, migration, swap-out, fork and stores leave the page in place.
/// `MADV_DONTNEED` on anonymous memory, truncation, hole punching and O_DIRECT invalidation
/// replace it.
///
/// # Invariants
///
/// `page` is a page on which this owns one pin.
pub(crate) struct PinnedPage {
    page: NonNull<kernel::bindings::page>,
    _charge: Option<LockedPages>,
}

// SAFETY: A pin may be dropped from any task.
unsafe impl Send for PinnedPage {}
// SAFETY: The `&self` methods only read what does not change while the page is pinned.
unsafe impl Sync for PinnedPage {}

impl PinnedPage {
    /// Pins the page that `addr` maps in the current task's memory, for reading.
    ///
    /// Gives memory that was never written a page of its own first, so that a later store does not
    /// move the word. The pin is not charged yet. May sleep, and fault.
    ///
    /// # Errors
    ///
    /// `EFAULT` if nothing is mapped, `ENOMEM` if there is no memory or the page carries absurdly
    /// many references, `EOPNOTSUPP` for fsdax, `EINTR` when killed meanwhile.
    pub(crate) fn pin(addr: usize) -> Result<Self> {
        let this = Self::pin_flags(addr, 0).or_else(|err| {
            // A mapping with PROT_WRITE alone has no read permission of its own, though the
            // hardware lets it be read.
            if err == EFAULT {
                Self::pin_flags(addr, kernel::bindings::FOLL_WRITE)
            } else {
                Err(err)
            }
        })?;

        // SAFETY: By the type invariants the page is pinned.
        if unsafe { bindings::afutex_page_crowded(this.page.as_ptr()) } {
            return Err(ENOMEM);
        }
        Ok(this)
    }

    fn pin_flags(addr: usize, flags: u32) -> Result<Self> {
        let mut page = ptr::null_mut();

        // SAFETY: There is room for the one page that is asked for.
        let got = unsafe {
            kernel::bindings::pin_user_pages_fast(
                addr & PAGE_MASK,
                1,
                flags | kernel::bindings::FOLL_LONGTERM,
                &mut page,
            )
        };
        // INVARIANT: On success, the pin is ours.
        Ok(Self {
            page: one_page(got, page)?,
            _charge: None,
        })
    }

    /// Charges the whole folio to the current user's `RLIMIT_MEMLOCK`, for as long as it is pinned.
    ///
    /// The pin is given up on error, which is `ENOMEM`.
    pub(crate) fn charge(self) -> Result<Self> {
        // SAFETY: By the type invariants the page is pinned.
        let pages = unsafe { bindings::afutex_page_folio_pages(self.page.as_ptr()) };
        let mut this = self;
        this._charge = Some(LockedPages::charge(pages)?);
        Ok(this)
    }

    /// What kind of memory this is.
    pub(crate) fn backing(&self) -> Backing {
        // SAFETY: By the type invariants the page is pinned.
        unsafe { backing(self.page) }
    }

    /// Whether the page of an object still is where its file has it. If not, it was truncated away,
    /// or invalidated, and whoever maps the file sees another page.
    pub(crate) fn is_attached(&self) -> bool {
        // SAFETY: By the type invariants the page is pinned.
        unsafe { bindings::afutex_page_is_attached(self.page.as_ptr()) }
    }

    /// The identity of the page: equal to [`PageRef::id`] of the same page.
    pub(crate) fn id(&self) -> usize {
        self.page.as_ptr().addr()
    }
}

impl Drop for PinnedPage {
    fn drop(&mut self) {
        // SAFETY: By the type invariants we own the pin.
        unsafe { kernel::bindings::unpin_user_page(self.page.as_ptr()) };
    }
}

/// Turns the result of a request for one page into that page or an error.
fn one_page(
    got: i32,
    page: *mut kernel::bindings::page,
) -> Result<NonNull<kernel::bindings::page>> {
    kernel::error::to_result(got)?;
    // Nothing got and no error happens for an address that wraps around.
    if got != 1 {
        return Err(EFAULT);
    }
    NonNull::new(page).ok_or(EFAULT)
}

/// What kind of memory `page` holds.
///
/// # Safety
///
/// The caller must hold a reference to `page`.
unsafe fn backing(page: NonNull<kernel::bindings::page>) -> Backing {
    // SAFETY: The page is valid by the safety requirements, so its folio is too.
    if unsafe { bindings::afutex_page_is_anon(page.as_ptr()) } {
        Backing::Anonymous
    } else {
        Backing::File
    }
}

/// A moment in the life of the current task's address space.
///
/// As long as nothing is mapped or unmapped in it, and a page of an object that is pinned stays
/// [attached](PinnedPage::is_attached), what mapped that page at that moment still does: reclaim and
/// migration leave pinned pages in place, and what removes pages from a file detaches them.
///
/// The moments of an address space are numbered with 32 bits, by `mm_lock_seq`.
pub(crate) struct MmSeq {
    mm: ARef<Mm>,
    seq: u32,
}

impl MmSeq {
    /// This moment; `None` if the address space is being changed, or has no numbers.
    pub(crate) fn now() -> Option<Self> {
        let current = current!();
        let mm: &Mm = current.mm()?;
        let mut seq = 0;

        // SAFETY: The mm is valid.
        unsafe { bindings::afutex_mm_moment(mm.as_raw(), &mut seq) }
            .then(|| Self { mm: mm.into(), seq })
    }

    /// Whether nothing was mapped or unmapped since, in what is the current task's address space.
    pub(crate) fn unchanged(&self) -> bool {
        let current = current!();
        let mm = self.mm.as_raw();
        let is_current = current.mm().is_some_and(|now| ptr::eq(now.as_raw(), mm));

        // SAFETY: The mm is valid: we hold a reference.
        is_current && !unsafe { bindings::afutex_mm_changed(mm, self.seq) }
    }
}
