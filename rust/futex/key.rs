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

use super::entry::Entry;
use super::stats;
use super::table::{
    Chain,
    Table, //
};
use crate::sys::page::{
    Backing,
    PageRef,
    PinnedPage, //
};
use crate::sys::user_word::UserWord;
use kernel::current;
use kernel::list::{
    impl_list_arc_safe,
    impl_list_item,
    List,
    ListArc,
    ListLinks, //
};
use kernel::mm::Mm;
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::LockedBy;

/// Whether a word may be shared with other processes: `FUTEX_PRIVATE_FLAG` says it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Identified by mm and address, whatever is mapped there.
    Private,
    /// Identified by what is mapped there.
    Shared,
}

/// What kind of object a [`KeyId`] is relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// The identity of a futex word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyId {
    kind: Kind,
    /// The address of the `mm_struct` or of the `struct page`.
    object: usize,
    /// The address of the word in the mm, or its offset in the page.
    offset: usize,
}

impl KeyId {
    /// Whom `word` belongs to for a waker in the current task.
    ///
    /// `f` runs while the page, if there is one, is held: it cannot become another word's.
    ///
    /// # Errors
    ///
    /// `EFAULT` if a shared word is not mapped readable. A private one is not looked at.
    pub(crate) fn with<R>(word: UserWord, scope: Scope, f: impl FnOnce(&Self) -> R) -> Result<R> {
        match scope {
            Scope::Private => Ok(f(&Self::in_current_mm(Kind::Private, word)?)),
            Scope::Shared => {
                let page = PageRef::lookup(word.addr())?;
                Ok(match page.backing() {
                    Backing::Anonymous => f(&Self::in_current_mm(Kind::Mm, word)?),
                    Backing::Object => f(&Self::in_page(page.id(), word)),
                })
            }
        }
    }

    fn in_current_mm(kind: Kind, word: UserWord) -> Result<Self> {
        Ok(Self::in_mm(kind, current!().mm().ok_or(EFAULT)?, word))
    }

    fn in_mm(kind: Kind, mm: &Mm, word: UserWord) -> Self {
        Self {
            kind,
            object: mm.as_raw().addr(),
            offset: word.addr(),
        }
    }

    fn in_page(page: usize, word: UserWord) -> Self {
        Self {
            kind: Kind::Page,
            object: page,
            offset: word.addr() % PAGE_SIZE,
        }
    }

    /// What kind of object the word is known by.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The bucket number of the word in a table of a power of two of buckets.
    ///
    /// A multiplication of 64 by 64 bits with both halves folded: the mixing step of wyhash
    /// (<https://github.com/wangyi-fudan/wyhash>). The seed is secret, so that nobody can choose
    /// words that share a bucket.
    pub(crate) fn bucket(&self, seed: &[u64; 2], mask: usize) -> usize {
        let a = self.object as u64 ^ seed[0];
        let b = self.offset as u64 ^ seed[1] ^ ((self.kind as u64) << 62);
        let product = u128::from(a) * u128::from(b);

        ((product >> 64) as u64 ^ product as u64) as usize & mask
    }
}

/// What keeps the object of a [`KeyId`] from becoming another one.
enum Holder {
    Mm(#[expect(dead_code)] ARef<Mm>),
    /// Apart, so that the others, of which there may be very many, are small.
    Page(#[expect(dead_code)] KBox<(PinnedPage, stats::Counted)>),
    /// KUnit's threads have no memory.
    #[cfg(CONFIG_KUNIT)]
    Nothing,
}

/// A futex word that is waited on.
///
/// # Invariants
///
/// - `id` names the object that `holder` holds.
/// - While its `entries` are not empty, and only then, the key is on the list of the bucket that
///   `id` hashes to.
#[pin_data]
pub(crate) struct Key {
    #[pin]
    links: ListLinks,
    id: KeyId,
    /// Those who wait, first come first. Protected by the bucket's lock.
    pub(super) entries: LockedBy<List<Entry>, Chain>,
    _holder: Holder,
}

impl_list_arc_safe! {
    impl ListArcSafe<0> for Key { untracked; }
}
impl_list_item! {
    impl ListItem<0> for Key { using ListLinks { self.links }; }
}

impl Key {
    /// Makes a key for a waiter on `word` in the current task. May sleep, and fault.
    ///
    /// # Errors
    ///
    /// `EFAULT` if a shared word is not mapped readable, `ENOMEM` if there is no memory or the page
    /// would exceed `RLIMIT_MEMLOCK`, `EOPNOTSUPP` for a shared word in fsdax memory, `EINTR` when
    /// killed meanwhile.
    pub(crate) fn for_waiter(table: &Table, word: UserWord, scope: Scope) -> Result<ListArc<Self>> {
        let (id, holder) = match scope {
            Scope::Private => Self::hold_mm(Kind::Private, word)?,
            Scope::Shared => {
                let pin = PinnedPage::pin(word.addr())?;
                match pin.backing() {
                    Backing::Anonymous => Self::hold_mm(Kind::Mm, word)?,
                    Backing::Object => (
                        KeyId::in_page(pin.id(), word),
                        Holder::Page(KBox::new(
                            (pin.charge()?, stats::Counted::new(&stats::PINNED)),
                            GFP_KERNEL_ACCOUNT,
                        )?),
                    ),
                }
            }
        };

        Self::new(table, id, holder)
    }

    fn new(table: &Table, id: KeyId, holder: Holder) -> Result<ListArc<Self>> {
        let lock = table.lock_of(&id);

        ListArc::pin_init(
            try_pin_init!(Self {
                links <- ListLinks::new(),
                id,
                entries: LockedBy::new(lock, List::new()),
                // INVARIANT: `holder` holds what `id` names; there are no entries, and the key is
                // on no list.
                _holder: holder,
            }? Error),
            GFP_KERNEL_ACCOUNT,
        )
    }

    fn hold_mm(kind: Kind, word: UserWord) -> Result<(KeyId, Holder)> {
        let current = current!();
        let mm: &Mm = current.mm().ok_or(EFAULT)?;
        Ok((KeyId::in_mm(kind, mm, word), Holder::Mm(mm.into())))
    }

    /// The identity of the word.
    pub(crate) fn id(&self) -> &KeyId {
        &self.id
    }
}

/// For tests: the word at `offset` of an object that there is not.
#[cfg(CONFIG_KUNIT)]
impl Key {
    pub(super) fn of_nothing(table: &Table, offset: usize) -> Result<ListArc<Self>> {
        Self::new(table, KeyId::of_nothing(offset), Holder::Nothing)
    }
}

#[cfg(CONFIG_KUNIT)]
impl KeyId {
    pub(super) fn of_nothing(offset: usize) -> Self {
        Self {
            kind: Kind::Private,
            object: 0x1000,
            offset,
        }
    }
}

#[kunit_tests(afutex_key)]
mod tests {
    use super::*;

    const SEED: [u64; 2] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344];

    fn id(kind: Kind, object: usize, offset: usize) -> KeyId {
        KeyId {
            kind,
            object,
            offset,
        }
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
            .filter(|id| id.bucket(&SEED, 1023) == id.bucket(&[1, 2], 1023))
            .count();

        assert!(same < 32);
    }

    /// Neighbouring words, as in an array of locks, do not crowd.
    #[test]
    fn words_spread_over_the_buckets() -> Result {
        const BUCKETS: usize = 256;

        for kind in [Kind::Private, Kind::Mm, Kind::Page] {
            for step in [1, 4, 64, 4096] {
                let mut load = KVec::from_elem(0u32, BUCKETS, GFP_KERNEL)?;

                for n in 0..BUCKETS * 16 {
                    let bucket =
                        id(kind, 0xffff_8880_1234_5000, n * step).bucket(&SEED, BUCKETS - 1);
                    load[bucket] += 1;
                }
                // 16 on average; by chance none has three times as many.
                assert!(load.iter().all(|&n| n < 48));
                assert!(load.iter().filter(|&&n| n == 0).count() < 8);
            }
        }
        Ok(())
    }
}
