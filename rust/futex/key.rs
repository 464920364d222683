// SPDX-License-Identifier: GPL-2.0

//! What a futex word is known by.
//!
//! | word                                    | identified by              | the key holds       |
//! |-----------------------------------------|----------------------------|---------------------|
//! | any, with `FUTEX_PRIVATE_FLAG`          | mm, address                | the `mm_struct`     |
//! | anonymous memory, without               | mm, address                | the `mm_struct`     |
//! | file, tmpfs, memfd or hugetlb, without  | page, offset in the page   | a pin on the page   |
//!
//! A private and a shared operation on one word never meet. The size of a word is no part of its
//! key. Whatever the key holds keeps its address from being used again, so that a key never matches
//! a stranger.
//!
//! Who waits pins, so that the word cannot move from its page for as long as it waits. Who wakes
//! only looks at which page is mapped now, and holds it until the matching is done: if somebody
//! waits on the word, that page is the pinned one.

use super::stats;
use super::table::Table;
use crate::sys::page::{
    Backing,
    MmSeq,
    PageRef,
    PinnedPage, //
};
use crate::sys::task;
use crate::sys::user_word::UserWord;
use kernel::current;
use kernel::mm::Mm;
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::Arc;

/// Whether a word may be shared with other processes: `FUTEX_PRIVATE_FLAG` says it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Identified by mm and address, whatever is mapped there.
    Private,
    /// Identified by what is mapped there.
    Shared,
}

/// What kind of object a [`Key`] is relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Kind {
    /// An `mm_struct`, of a private word.
    Private,
    /// An `mm_struct`, of a shared word in anonymous memory.
    Mm,
    /// A page.
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

/// The identity of the memory of the current task.
#[derive(Clone, Copy)]
pub(crate) struct CurrentMm(usize);

impl CurrentMm {
    /// That of the current task.
    ///
    /// # Errors
    ///
    /// `EFAULT` if it has none.
    #[inline]
    pub(crate) fn get() -> Result<Self> {
        let current = current!();
        let mm: &Mm = current.mm().ok_or(EFAULT)?;

        Ok(Self(mm.as_raw().addr()))
    }

    /// As `get`, after a full barrier. Of a task that has none, it is that of no other task.
    #[inline]
    pub(crate) fn get_after_fence() -> Self {
        Self(task::mm_after_fence())
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
    fn new(kind: Kind, object: usize, offset: usize) -> Self {
        Self {
            object: object | kind as usize,
            offset,
        }
    }

    /// Whom a private `word` belongs to in the memory of `mm`.
    #[inline]
    pub(crate) fn private(mm: CurrentMm, word: UserWord) -> Self {
        Self::new(Kind::Private, mm.0, word.addr())
    }

    /// Whom `word` belongs to for a waker in the current task.
    ///
    /// `f` runs while the page, if there is one, is held: it cannot become another word's.
    ///
    /// # Errors
    ///
    /// `EFAULT` if a shared word is not mapped readable. A private one is not looked at.
    #[inline]
    pub(crate) fn with<R>(word: UserWord, scope: Scope, f: impl FnOnce(&Self) -> R) -> Result<R> {
        let mm = CurrentMm::get()?;

        match scope {
            Scope::Private => Ok(f(&Self::private(mm, word))),
            Scope::Shared => Self::with_shared(mm, word, f),
        }
    }

    /// As `with`, of a shared word, where the memory of the current task is known.
    #[inline]
    pub(crate) fn with_shared<R>(
        mm: CurrentMm,
        word: UserWord,
        f: impl FnOnce(&Self) -> R,
    ) -> Result<R> {
        let page = PageRef::lookup(word.addr())?;

        Ok(f(&Self::shared(mm, page.backing(), page.id(), word)))
    }

    /// Whom a shared `word` belongs to, in that page of the memory of `mm`.
    #[inline]
    fn shared(mm: CurrentMm, backing: Backing, page: usize, word: UserWord) -> Self {
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

    /// Where in its page the word is, as all who share it see it.
    pub(crate) fn page_offset(&self) -> usize {
        self.offset % PAGE_SIZE
    }

    /// The bucket number of the word, of as many bits as `shift` leaves of 63.
    ///
    /// A multiplication of 64 by 64 bits with both halves folded: the mixing step of wyhash
    /// (<https://github.com/wangyi-fudan/wyhash>). The seed is secret, so that nobody can choose
    /// words that share a bucket. By itself the product of numbers of regular distance is too
    /// regular: a second multiplication, by the golden ratio, of which the highest bits are taken,
    /// is that of `hash_64` in `include/linux/hash.h`.
    #[inline]
    pub(crate) fn bucket(&self, seed: &[u64; 2], shift: u32) -> usize {
        const GOLDEN_RATIO: u64 = 0x61c8_8646_80b5_83eb;

        let a = self.object as u64 ^ seed[0];
        let b = self.offset as u64 ^ seed[1];
        let product = u128::from(a) * u128::from(b);
        let folded = (product >> 64) as u64 ^ product as u64;

        (folded.wrapping_mul(GOLDEN_RATIO) >> 1 >> (shift & 63)) as usize
    }
}

/// A page that is waited on, charged to who pinned it, for all the entries on one word.
pub(crate) struct WordPin {
    page: PinnedPage,
    _count: stats::Counted,
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

/// A futex word that is waited on.
///
/// Every entry has its own; those of one word share the pin.
///
/// # Invariants
///
/// `id` names the object that `holder` holds.
#[derive(Clone)]
pub(crate) struct KeyRef {
    id: Key,
    holder: Holder,
}

impl KeyRef {
    /// Makes a key for a waiter on `word` in the current task. May sleep, and fault.
    ///
    /// # Errors
    ///
    /// `EFAULT` if a shared word is not mapped readable, `ENOMEM` if there is no memory or the page
    /// would exceed `RLIMIT_MEMLOCK`, `EOPNOTSUPP` for a shared word in fsdax memory, `EINTR` when
    /// killed meanwhile.
    pub(crate) fn for_waiter(table: &Table, word: UserWord, scope: Scope) -> Result<Self> {
        let kind = match scope {
            Scope::Private => Kind::Private,
            Scope::Shared => {
                let page = PinnedPage::pin(word.addr())?;
                let id = Key::shared(CurrentMm::get()?, page.backing(), page.id(), word);

                if id.kind() == Kind::Page {
                    // The page is charged once, to who waited first.
                    if let Some(key) = table.key_of(&id) {
                        return Ok(key);
                    }
                    let pin = WordPin {
                        page: page.charge()?,
                        _count: stats::Counted::new(&stats::PINNED),
                    };
                    // INVARIANT: The page is pinned.
                    return Ok(Self {
                        id,
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
            id: Key::new(kind, mm.as_raw().addr(), word.addr()),
            holder: Holder::Mm(mm.into()),
        })
    }

    /// Whether the key is that of `word` for a waiter in the current task too. May sleep, and fault.
    pub(crate) fn is_of(&self, word: UserWord, scope: Scope) -> bool {
        Key::with(word, scope, |id| *id == self.id).unwrap_or(false)
    }

    /// As `is_of`, for the same address as at that moment, without a look: `false` may be wrong.
    pub(crate) fn is_unmoved(&self, since: &MmSeq) -> bool {
        match &self.holder {
            Holder::Page(pin) => since.unchanged() && pin.page.is_attached(),
            _ => false,
        }
    }

    /// Uses the pin of `other`, a key of the same word. Returns the one that is not needed, to be
    /// dropped after the lock.
    pub(crate) fn share(&mut self, other: &Self) -> Option<Arc<WordPin>> {
        match (&mut self.holder, &other.holder) {
            (Holder::Page(ours), Holder::Page(theirs)) if self.id == other.id => {
                Some(core::mem::replace(ours, theirs.clone()))
            }
            _ => None,
        }
    }

    /// The identity of the word.
    #[inline]
    pub(crate) fn id(&self) -> &Key {
        &self.id
    }
}

/// For tests: the word at `offset` of an object that there is not.
#[cfg(CONFIG_KUNIT)]
impl KeyRef {
    pub(super) fn of_nothing(offset: usize) -> Self {
        Self {
            id: Key::of_nothing(offset),
            holder: Holder::Nothing,
        }
    }
}

#[cfg(CONFIG_KUNIT)]
impl Key {
    pub(super) fn of_nothing(offset: usize) -> Self {
        Self::new(Kind::Private, 0x1000, offset)
    }
}

#[kunit_tests(afutex_key)]
mod tests {
    use super::*;

    const SEED: [u64; 2] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344];

    fn id(kind: Kind, object: usize, offset: usize) -> Key {
        Key::new(kind, object, offset)
    }

    #[test]
    fn identity_is_kind_object_and_offset() {
        let this = id(Kind::Page, 64, 8);

        assert!(this == id(Kind::Page, 64, 8));
        assert!(this != id(Kind::Mm, 64, 8));
        assert!(this != id(Kind::Page, 128, 8));
        assert!(this != id(Kind::Page, 64, 9));
    }

    #[test]
    fn bucket_depends_on_the_seed() {
        let same = (0..1024usize)
            .map(|n| id(Kind::Private, 0x1000, n * 4))
            .filter(|id| id.bucket(&SEED, 53) == id.bucket(&[1, 2], 53))
            .count();

        assert!(same < 32);
    }

    const BUCKETS: usize = 256;
    const SHIFT: u32 = 63 - BUCKETS.trailing_zeros();

    /// Whether 16 for each bucket do not crowd: by chance no bucket has three times as many, and
    /// hardly any has none.
    fn spread(ids: impl Iterator<Item = Key>) -> bool {
        let mut load = [0u8; BUCKETS];

        for id in ids.take(BUCKETS * 16) {
            let bucket = &mut load[id.bucket(&SEED, SHIFT)];
            *bucket = bucket.saturating_add(1);
        }
        load.iter().all(|&n| n < 48) && load.iter().filter(|&&n| n == 0).count() < 4
    }

    /// Words at regular distances: packed, in cache lines of their own, one a page.
    #[test]
    fn strides_spread_over_the_buckets() {
        for kind in [Kind::Private, Kind::Mm] {
            for step in [1, 4, 64, 4096] {
                let ids =
                    (0..).map(|n| id(kind, 0xffff_8880_1234_5000, 0x7f12_3456_0000 + n * step));
                assert!(spread(ids));
            }
        }
    }

    /// The first word of each page of a queue, by `struct page` and offset; all words of few pages.
    #[test]
    fn pages_spread_over_the_buckets() {
        assert!(spread((0..).map(|n| id(
            Kind::Page,
            0xffff_ea00_0400_0000 + n * 64,
            0
        ))));
        assert!(spread((0..).map(|n| {
            id(
                Kind::Page,
                0xffff_ea00_0400_0000 + n / 1024 * 64,
                n % 1024 * 4,
            )
        })));
    }

    /// Many processes with a word at one address.
    #[test]
    fn processes_spread_over_the_buckets() {
        assert!(spread((0..).map(|n| {
            id(
                Kind::Private,
                0xffff_8881_0000_0000 + n * 1536,
                0x7ffe_0000_1000,
            )
        })));
    }
}
