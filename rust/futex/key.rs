// SPDX-License-Identifier: GPL-2.0

//! The identity of a futex word, and what holds it.
//!
//! | word                                    | identified by              | held                |
//! |-----------------------------------------|----------------------------|---------------------|
//! | any, with `FUTEX_PRIVATE_FLAG`          | mm, address                | the `mm_struct`     |
//! | anonymous memory, without               | mm, address                | the `mm_struct`     |
//! | file, tmpfs, memfd or hugetlb, without  | page, offset in the page   | a pin on the page   |
//!
//! A private and a shared operation on one word never meet. The size of a word is not part of its
//! key. What a [`KeyRef`] holds keeps the address in its [`Key`] from being used again, so that a
//! key never matches another object.
//!
//! A waiter pins, so that the word cannot move from its page for as long as it waits. A waker only
//! looks at which page is mapped now, and holds it until the matching is done: if there is a waiter
//! on the word, that page is the pinned one.

use super::count::{
    Counted,
    PINNED, //
};
use super::word::Scope;
use crate::sys::fence::Fenced;
use crate::sys::page::{
    Backing,
    MmSeq,
    PageRef,
    PinnedPage, //
};
use crate::sys::user_word::UserWord;
use kernel::current;
use kernel::mm::Mm;
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::Arc;

/// What kind of object a [`Key`] is relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Kind {
    /// An `mm_struct`, of a private word.
    Private,
    /// An `mm_struct`, of a shared word in anonymous memory: `FUT_OFF_MMSHARED` of futex(2).
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

/// The identity of an mm.
#[derive(Clone, Copy)]
pub(crate) struct MmId(usize);

impl MmId {
    /// That of the current task.
    ///
    /// # Errors
    ///
    /// `EFAULT` if it has none.
    #[inline]
    pub(crate) fn current() -> Result<Self> {
        let current = current!();
        let mm: &Mm = current.mm().ok_or(EFAULT)?;

        Ok(Self(mm.as_raw().addr()))
    }

    /// Passes a full barrier, and gets that of the current task; for a task without an mm, an
    /// identity that matches no mm.
    #[inline]
    pub(crate) fn current_fenced() -> (Fenced, Self) {
        let (fenced, mm) = Fenced::now_and_mm();

        (fenced, Self(mm))
    }
}

/// The identity of a futex word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// The address of the `mm_struct` or of the `struct page`; in its lowest bits, which are 0 in
    /// an address, the [`Kind`].
    object: usize,
    /// The address of the word in the mm, or its offset in the page.
    offset: usize,
}

impl Key {
    pub(crate) fn new(kind: Kind, object: usize, offset: usize) -> Self {
        Self {
            object: object | kind as usize,
            offset,
        }
    }

    /// The key of a private `word` in the memory of `mm`.
    #[inline]
    pub(crate) fn private(mm: MmId, word: UserWord) -> Self {
        Self::new(Kind::Private, mm.0, word.addr())
    }

    /// Calls `f` with the key of `word` for a waker in the current task.
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
            Scope::Shared => Self::with_shared(mm, word, f),
        }
    }

    /// Like [`Self::with`], of a shared word, for a caller that knows the mm of the current task.
    #[inline]
    pub(crate) fn with_shared<R>(
        mm: MmId,
        word: UserWord,
        f: impl FnOnce(&Self) -> R,
    ) -> Result<R> {
        let page = PageRef::lookup(word.addr())?;

        Ok(f(&Self::shared(mm, page.backing(), page.id(), word)))
    }

    /// The key of a shared `word`, in that page of the memory of `mm`.
    #[inline]
    fn shared(mm: MmId, backing: Backing, page: usize, word: UserWord) -> Self {
        match backing {
            Backing::Anonymous => Self::new(Kind::Mm, mm.0, word.addr()),
            Backing::File => Self::new(Kind::Page, page, word.addr() % PAGE_SIZE),
        }
    }

    /// What kind of object the word is known by.
    pub(crate) fn kind(&self) -> Kind {
        match self.object & 3 {
            0 => Kind::Private,
            1 => Kind::Mm,
            _ => Kind::Page,
        }
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

/// A pinned page, charged to the user that pinned it, for all the waiters on one word.
pub(crate) struct WordPin {
    page: PinnedPage,
    _count: Counted,
}

/// What keeps the object of a [`Key`] from becoming another one.
#[derive(Clone)]
enum Holder {
    Mm(#[expect(dead_code)] ARef<Mm>),
    Page(Arc<WordPin>),
    /// KUnit's threads have no memory.
    #[cfg(CONFIG_KUNIT)]
    Nothing,
}

/// A key, with a reference to what it names.
///
/// Every waiter has one; those of one word share the pin.
///
/// # Invariants
///
/// `key` names the object that `holder` holds.
#[derive(Clone)]
pub(crate) struct KeyRef {
    key: Key,
    holder: Holder,
}

impl KeyRef {
    /// Creates one for a waiter on `word` in the current task. May sleep, and fault.
    ///
    /// `find` returns that of another waiter on the word, if there is one, to share its pin.
    ///
    /// # Errors
    ///
    /// `EFAULT` if a shared word is not mapped readable, `ENOMEM` if there is no memory or the page
    /// would exceed `RLIMIT_MEMLOCK`, `EOPNOTSUPP` for a shared word in fsdax memory, `EINTR` if the
    /// task is killed.
    pub(crate) fn get(
        word: UserWord,
        scope: Scope,
        find: impl FnOnce(&Key) -> Option<Self>,
    ) -> Result<Self> {
        let kind = match scope {
            Scope::Private => Kind::Private,
            Scope::Shared => {
                let page = PinnedPage::pin(word.addr())?;
                let key = Key::shared(MmId::current()?, page.backing(), page.id(), word);

                if key.kind() == Kind::Page {
                    // The page is charged once, to the first waiter.
                    if let Some(found) = find(&key) {
                        return Ok(found);
                    }
                    let pin = WordPin {
                        page: page.charge()?,
                        _count: Counted::new(&PINNED),
                    };
                    // INVARIANT: The page is pinned.
                    return Ok(Self {
                        key,
                        holder: Holder::Page(Arc::new(pin, GFP_KERNEL_ACCOUNT)?),
                    });
                }
                Kind::Mm
            }
        };
        let current = current!();
        let mm: &Mm = current.mm().ok_or(EFAULT)?;

        // INVARIANT: The mm is held.
        Ok(Self {
            key: Key::new(kind, mm.as_raw().addr(), word.addr()),
            holder: Holder::Mm(mm.into()),
        })
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
            Holder::Page(pin) => seen_at.unchanged() && pin.page.is_attached(),
            _ => false,
        }
    }

    /// Uses the pin of `other`, if it is of the same word. Returns the one that is not needed, to
    /// be dropped after the lock.
    pub(crate) fn share(&mut self, other: &Self) -> Option<Arc<WordPin>> {
        match (&mut self.holder, &other.holder) {
            (Holder::Page(ours), Holder::Page(theirs)) if self.key == other.key => {
                Some(core::mem::replace(ours, theirs.clone()))
            }
            _ => None,
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
