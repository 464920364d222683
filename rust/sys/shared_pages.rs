// SPDX-License-Identifier: GPL-2.0

//! Pages of the kernel's that user space maps.
//!
//! C headers: [`include/linux/mm.h`](srctree/include/linux/mm.h),
//! [`include/linux/vmalloc.h`](srctree/include/linux/vmalloc.h).
//!
//! The crate has pages and mappings, [`Page`] and [`VmaNew`], but nothing to look at a page with
//! while user space has it. What is there may change at any time: it is given out as atomics only.

use super::bindings;
use core::ptr::NonNull;
use core::slice;
use kernel::alloc::flags::__GFP_ZERO;
use kernel::alloc::Flags;
use kernel::ffi::c_void;
use kernel::mm::virt::{
    flags,
    VmaNew, //
};
use kernel::page::{
    Page,
    PAGE_SIZE, //
};
use kernel::prelude::*;
use kernel::sync::atomic::Atomic;

/// How many words of 32 bits a page has.
pub(crate) const WORDS: usize = PAGE_SIZE / size_of::<Atomic<i32>>();

/// What user space may do with pages that it maps.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    ReadAndWrite,
}

/// Pages that may be mapped, zeroed when they are made.
///
/// Each mapping holds its pages, and the file that it is of.
///
/// # Invariants
///
/// There is a page. `base` is the address in the kernel, valid for reading and writing, of `pages`
/// one after the other, and is not accessed but by atomic operations.
pub(crate) struct SharedPages {
    pages: KVec<Page>,
    base: NonNull<c_void>,
    access: Access,
}

// SAFETY: Pages may be given up by any task.
unsafe impl Send for SharedPages {}
// SAFETY: They are only accessed by atomic operations.
unsafe impl Sync for SharedPages {}

impl SharedPages {
    /// Allocates `count` pages, as `gfp` says: with `GFP_KERNEL_ACCOUNT` they are charged to the
    /// memory cgroup of the current task.
    ///
    /// # Errors
    ///
    /// `EINVAL` for none, `ENOMEM`.
    pub(crate) fn new(count: usize, access: Access, gfp: Flags) -> Result<Self> {
        if count == 0 {
            return Err(EINVAL);
        }
        let mut pages = KVec::with_capacity(count, gfp)?;
        let mut raw = KVec::with_capacity(count, GFP_KERNEL)?;

        for _ in 0..count {
            let page = Page::alloc_page(gfp | __GFP_ZERO)?;

            raw.push(page.as_ptr(), GFP_KERNEL)?;
            pages.push(page, gfp)?;
        }
        // SAFETY: There are so many pages, which the new object keeps for as long as the address is
        // used.
        let base = unsafe { bindings::afutex_pages_map(raw.as_mut_ptr(), count) };

        // INVARIANT: There is one, they are nobody else's, and were mapped one after the other.
        Ok(Self {
            pages,
            base: NonNull::new(base).ok_or(ENOMEM)?,
            access,
        })
    }

    /// What is in the pages, as words of 32 bits.
    #[inline]
    pub(crate) fn words(&self) -> &[Atomic<i32>] {
        let len = self.pages.len().wrapping_mul(WORDS);

        // SAFETY: By the type invariants there are so many bytes, zeroed once, and accessed by
        // atomic operations alone; `Atomic` is a transparent wrapper. User space is not bound by
        // the memory model: for it, a store is one to a volatile.
        unsafe { slice::from_raw_parts(self.base.as_ptr().cast(), len) }
    }

    /// What is in the first page: its length is known when this is compiled.
    #[inline]
    pub(crate) fn first_words(&self) -> &[Atomic<i32>; WORDS] {
        // SAFETY: As for `words`; by the type invariants there is a page.
        unsafe { &*self.base.as_ptr().cast() }
    }

    /// All of it as words of 64 bits. A byte is accessed as a part of one size only.
    #[inline]
    pub(crate) fn longs(&self) -> &[Atomic<u64>] {
        const PER_PAGE: usize = PAGE_SIZE / size_of::<Atomic<u64>>();
        let len = self.pages.len().wrapping_mul(PER_PAGE);

        // SAFETY: As for `words`; pages are aligned to more than that.
        unsafe { slice::from_raw_parts(self.base.as_ptr().cast(), len) }
    }

    /// Maps all pages: a mapping has exactly their size, begins at offset 0, and is shared.
    ///
    /// It cannot grow. One of pages that may be read is not writable later either.
    ///
    /// # Errors
    ///
    /// `EINVAL` for another size or offset, and for `MAP_PRIVATE`; `EACCES` for `PROT_WRITE` where
    /// that is not allowed; `ENOMEM`.
    pub(crate) fn map(&self, vma: &VmaNew) -> Result {
        // SAFETY: The VMA is valid, and being set up by this task.
        let offset = unsafe { bindings::afutex_vma_pgoff(vma.as_ptr()) };
        let size = vma.end().wrapping_sub(vma.start());

        if offset != 0 || vma.flags() & flags::SHARED == 0 || size / PAGE_SIZE != self.pages.len() {
            return Err(EINVAL);
        }
        if self.access == Access::Read {
            vma.try_clear_maywrite().map_err(|_| EACCES)?;
        }
        vma.set_dontexpand();

        let vma = vma.set_mixedmap();
        // If one fails, the VMA goes, with those that were inserted.
        (vma.start()..vma.end())
            .step_by(PAGE_SIZE)
            .zip(&self.pages)
            .try_for_each(|(addr, page)| vma.vm_insert_page(addr, page))
    }
}

impl Drop for SharedPages {
    fn drop(&mut self) {
        // SAFETY: It comes from `afutex_pages_map`, and is not used any more.
        unsafe { bindings::afutex_pages_unmap(self.base.as_ptr()) };
    }
}

#[kunit_tests(afutex_shared_pages)]
mod tests {
    use super::*;
    use kernel::sync::atomic::Relaxed;

    #[test]
    fn pages_follow_one_another() -> Result {
        for count in [1, 3] {
            let pages = SharedPages::new(count, Access::Read, GFP_KERNEL)?;
            let words = pages.words();

            assert_eq!(words.len(), count * PAGE_SIZE / 4);
            for (n, word) in (0..).zip(words) {
                assert_eq!(word.load(Relaxed), 0);
                word.store(n, Relaxed);
            }
            assert!((0..).zip(words).all(|(n, word)| word.load(Relaxed) == n));
        }
        Ok(())
    }
}
