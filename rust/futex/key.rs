// SPDX-License-Identifier: GPL-2.0

//! The identity of a futex word, and what holds it.
//!
//! | word                                     | identified by              | held                |
//! |------------------------------------------|----------------------------|---------------------|
//! | any, with `FUTEX_PRIVATE_FLAG`           | mm, address                |                     |
//! | in a private mapping, without            | mm, address                |                     |
//! | in a shared mapping, without             | page, offset in the page   | a pin on the page   |
//!
//! A private and a shared operation on one word never meet. The size of a word is not part of its
//! key. An mm is known by a number that is not used again (see [`MmId`]); and what a [`KeyRef`]
//! holds keeps the address of a page in its [`Key`] from being used again. So a key never matches
//! another object.
//!
//! A waiter pins, so that the word cannot move from its page for as long as it waits. A waker only
//! looks at which page is mapped now, and holds it until the matching is done: if there is a waiter
//! on the word, that page is the pinned one.
//!
//! # Private or shared
//!
//! How a word is mapped decides, not what is there. A private mapping of a file has the file's page
//! until it is written, and again after `MADV_DONTNEED`; where nothing was written, anonymous
//! memory has a zero page; and a driver may map pages that look like either. A waiter asks for the
//! mapping. A waker asks only where the page does not show it: one that is anonymous is in a
//! private mapping. One of a file is in a shared mapping, unless there is a waiter in a private
//! mapping of a file somewhere ([`PRIVATE_FILES`]).

use super::count::PRIVATE_FILES;
use super::pins::{
    PinRef,
    Pins, //
};
use super::word::Scope;
use crate::sys::fence::Fenced;
use crate::sys::futex_hook::SeenWake;
use crate::sys::mm::{
    MmHold,
    MmId,
    MmSeq, //
};
use crate::sys::page::{
    Backing,
    Mapping,
    PageRef, //
};
use crate::sys::task;
use crate::sys::user_word::UserWord;
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::sync::Arc;

/// What kind of object a [`Key`] is relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Kind {
    /// An mm, of a private word.
    Private,
    /// An mm, of a shared word in a private mapping: `FUT_OFF_MMSHARED` of futex(2).
    Mm,
    /// A page, where futex(2) has an inode: `FUT_OFF_INODE`.
    Page,
}

impl Kind {
    /// The name shown in fdinfo.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Private => "private",
            Kind::Mm => "mm",
            Kind::Page => "page",
        }
    }
}

/// The identity of a futex word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// The number of the mm or the address of the `struct page`.
    object: usize,
    /// The address of the word in the mm, or its offset in the page; in its highest bits, which are
    /// 0 in an address of user space, the [`Kind`].
    offset: usize,
}

impl Key {
    const KIND_SHIFT: u32 = usize::BITS - 2;

    #[inline]
    pub(crate) fn new(kind: Kind, object: usize, offset: usize) -> Self {
        Self {
            object,
            offset: offset | (kind as usize) << Self::KIND_SHIFT,
        }
    }

    /// The key of a private `word` in the memory of `mm`.
    #[inline]
    pub(crate) fn private(mm: MmId, word: UserWord) -> Self {
        Self::new(Kind::Private, mm.as_usize(), word.addr())
    }

    /// The key of a shared `word` in a private mapping of `mm`.
    #[inline]
    fn in_mm(mm: MmId, word: UserWord) -> Self {
        Self::new(Kind::Mm, mm.as_usize(), word.addr())
    }

    /// The key of a shared `word` in that page of a shared mapping.
    #[inline]
    fn in_page(page: &PageRef, word: UserWord) -> Self {
        Self::new(Kind::Page, page.id(), word.addr() % PAGE_SIZE)
    }

    /// Calls `f` with each key that the word of a wake of futex(2) may have.
    ///
    /// How the word is mapped cannot be looked up where the wake is seen: while its page is that of
    /// a file, the mapping may be a private one all the same. Only one of the keys has waiters.
    #[inline]
    pub(crate) fn of_wake(wake: &SeenWake<'_>, mut f: impl FnMut(&Self)) {
        let Ok(word) = UserWord::new(wake.addr as u64) else {
            return;
        };
        let Some(page) = wake.page else {
            return f(&Self::private(wake.mm, word));
        };

        f(&Self::in_mm(wake.mm, word));
        if page.backing() != Backing::Anonymous {
            f(&Self::in_page(page, word));
        }
    }

    /// What the hooks of futex(2) count a waiter by: an mm, for a private word, and an address.
    pub(crate) fn hook_count(&self) -> (Option<usize>, usize) {
        match self.kind() {
            Kind::Private => (Some(self.object), self.offset),
            Kind::Mm | Kind::Page => (None, self.page_offset()),
        }
    }

    /// Calls `f` with the key of `word` in the memory of the current task.
    ///
    /// `f` runs while the page, if there is one, is held: it cannot become another word's.
    ///
    /// # Errors
    ///
    /// `EFAULT` if a shared word is not mapped readable. A private one is not looked at.
    #[inline]
    pub(crate) fn with<R>(word: UserWord, scope: Scope, f: impl FnOnce(&Self) -> R) -> Result<R> {
        let mm = MmId::current()?;

        match scope {
            Scope::Private => Ok(f(&Self::private(mm, word))),
            Scope::Shared => {
                let page = PageRef::lookup(word.addr())?;
                let key = if is_private(&page, word) {
                    Self::in_mm(mm, word)
                } else {
                    Self::in_page(&page, word)
                };

                Ok(f(&key))
            }
        }
    }

    /// The key of a shared `word` in the memory of `mm`, that of the current task, which has `page`
    /// there; `None` if the page does not show it, and [`Self::by_mapping`] does.
    #[inline(always)]
    pub(crate) fn by_page(
        mm: MmId,
        word: UserWord,
        page: &PageRef,
        fenced: Fenced,
    ) -> Option<Self> {
        match page.backing() {
            Backing::Anonymous => Some(Self::in_mm(mm, word)),
            Backing::File if PRIVATE_FILES.none(fenced) => Some(Self::in_page(page, word)),
            _ => None,
        }
    }

    /// The keys of the waiters that a wake of a shared `word` reaches, one after the other.
    ///
    /// While a private mapping still has the file's page, these are those at the address, and then
    /// those on the file.
    #[cold]
    pub(crate) fn by_mapping(mm: MmId, word: UserWord, page: &PageRef) -> (Self, Option<Self>) {
        if !is_private(page, word) {
            return (Self::in_page(page, word), None);
        }
        let file = page.backing() == Backing::File;

        (
            Self::in_mm(mm, word),
            file.then(|| Self::in_page(page, word)),
        )
    }

    /// What kind of object the word is known by.
    #[inline]
    pub(crate) fn kind(&self) -> Kind {
        match self.offset >> Self::KIND_SHIFT {
            0 => Kind::Private,
            1 => Kind::Mm,
            _ => Kind::Page,
        }
    }

    /// Whether it is that of a private word.
    pub(crate) fn is_private(&self) -> bool {
        self.kind() == Kind::Private
    }

    /// The offset of the word in its page: the same in every mapping.
    pub(crate) fn page_offset(&self) -> usize {
        self.offset % PAGE_SIZE
    }

    /// Object and offset, for the hash.
    #[inline]
    pub(crate) fn parts(&self) -> (u64, u64) {
        (self.object as u64, self.offset as u64)
    }
}

/// Whether `word`, at which the current task has that page, is in a private mapping.
#[inline(never)]
fn is_private(page: &PageRef, word: UserWord) -> bool {
    page.backing() == Backing::Anonymous
        || matches!(
            Mapping::at(word.addr()),
            Some(Mapping::Anonymous | Mapping::Private)
        )
}

/// One more waiter on a word in a private mapping of a file.
struct PrivateFile;

impl PrivateFile {
    /// A full barrier, before the waiter compares the word.
    fn new() -> Self {
        PRIVATE_FILES.inc(1);
        Self
    }
}

impl Clone for PrivateFile {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl Drop for PrivateFile {
    fn drop(&mut self) {
        PRIVATE_FILES.dec(1);
    }
}

/// What keeps the object of a [`Key`] from becoming another one.
#[derive(Clone)]
enum Holder {
    Mm(MmHold),
    PrivateFile(MmHold, PrivateFile),
    Page(PinRef),
    /// KUnit's threads have no memory.
    #[cfg(CONFIG_KUNIT)]
    Nothing,
}

/// A key, with a reference to what it names.
///
/// Every waiter has one; those of one user on one folio share the pin.
///
/// # Invariants
///
/// `key` names the object that `holder` holds.
#[derive(Clone)]
pub(crate) struct KeyRef {
    key: Key,
    holder: Holder,
}

/// How often a shared word is looked for before it counts as not there. Others may unmap the page,
/// or give it back, each time that it was found.
const LOOKS: u32 = 16;

impl KeyRef {
    /// Creates one for a waiter on `word` in the current task. May sleep, and fault.
    ///
    /// # Errors
    ///
    /// `EFAULT` if a shared word is not mapped readable, `ENOMEM` if there is no memory or the page
    /// would exceed `RLIMIT_MEMLOCK`, `EOPNOTSUPP` for a shared word in fsdax memory, `EINTR` if
    /// the task is killed.
    pub(crate) fn get(pins: &Arc<Pins>, word: UserWord, scope: Scope) -> Result<Self> {
        match scope {
            Scope::Private => {
                let (mm, hold) = MmHold::current()?;

                // INVARIANT: The mm is held.
                Ok(Self {
                    key: Key::private(mm, word),
                    holder: Holder::Mm(hold),
                })
            }
            Scope::Shared => Self::get_shared(pins, word),
        }
    }

    fn get_shared(pins: &Arc<Pins>, word: UserWord) -> Result<Self> {
        let (mm, hold) = MmHold::current()?;
        let mut pinned = None;
        let mut failed = None;

        for _ in 0..LOOKS {
            match Mapping::at(word.addr()) {
                // Whether there is a word that can be read does not show in the mapping.
                Some(Mapping::Anonymous) => {
                    word.read()?;
                    // INVARIANT: The mm is held.
                    return Ok(Self {
                        key: Key::in_mm(mm, word),
                        holder: Holder::Mm(hold),
                    });
                }
                Some(Mapping::Private) => {
                    word.read()?;
                    // INVARIANT: The mm is held.
                    return Ok(Self {
                        key: Key::in_mm(mm, word),
                        holder: Holder::PrivateFile(hold, PrivateFile::new()),
                    });
                }
                Some(Mapping::Pageless) => return Err(EFAULT),
                Some(Mapping::Shared(Some(page))) => {
                    if let Some(pin) = pins.get(page.folio()) {
                        // INVARIANT: The page is pinned.
                        return Ok(Self {
                            key: Key::in_page(&page, word),
                            holder: Holder::Page(pin),
                        });
                    }
                    // Another thread may have pinned it while this one failed to.
                    if let Some(err) = failed {
                        return Err(err);
                    }
                    // A page that is held cannot be moved.
                    drop(page);
                    match pins.pin(word.addr()) {
                        Ok(pin) => pinned = Some(pin),
                        Err(err) => failed = Some(err),
                    }
                }
                Some(Mapping::Shared(None)) => {
                    word.read()?;
                    PageRef::lookup(word.addr())?;
                }
                // A stack grows when it is touched.
                None => word.read().map(drop)?,
            }
            if task::fatal_signal_pending() {
                return Err(EINTR);
            }
        }
        drop(pinned);
        Err(EFAULT)
    }

    /// Whether this is also the key of `word` for a waiter in the current task. May sleep, and
    /// fault.
    pub(crate) fn is_of(&self, word: UserWord, scope: Scope) -> bool {
        Key::with(word, scope, |key| *key == self.key).unwrap_or(false)
    }

    /// Whether the address at which this was found to be the key, after `seen_at`, still leads to
    /// it. Does not look at the page: `false` may be wrong.
    pub(crate) fn is_unmoved(&self, seen_at: &MmSeq) -> bool {
        match &self.holder {
            Holder::Page(pin) => seen_at.unchanged() && pin.is_attached(),
            _ => false,
        }
    }

    /// The identity of the word.
    #[inline]
    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// Whether a page is pinned for it.
    #[inline]
    pub(crate) fn pins(&self) -> bool {
        self.key.kind() == Kind::Page
    }
}

/// For tests: the word at `offset` of an object that does not exist.
#[cfg(CONFIG_KUNIT)]
impl KeyRef {
    pub(crate) fn of_nothing(offset: usize) -> Self {
        Self {
            key: Key::of_nothing(offset),
            holder: Holder::Nothing,
        }
    }
}

#[cfg(CONFIG_KUNIT)]
impl Key {
    pub(crate) fn of_nothing(offset: usize) -> Self {
        Self::new(Kind::Private, 0x1000, offset)
    }
}

#[kunit_tests(afutex_key)]
mod tests {
    use super::*;

    fn key(kind: Kind, object: usize, offset: usize) -> Key {
        Key::new(kind, object, offset)
    }

    #[test]
    fn identity_is_kind_object_and_offset() {
        let this = key(Kind::Page, 64, 8);

        assert!(this == key(Kind::Page, 64, 8));
        assert!(this != key(Kind::Mm, 64, 8));
        assert!(this != key(Kind::Page, 128, 8));
        assert!(this != key(Kind::Page, 64, 9));
    }
}
