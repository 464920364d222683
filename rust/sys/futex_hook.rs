// SPDX-License-Identifier: GPL-2.0

//! Wakes of futex(2), seen by function hooks in the kernel: see `rust/futex_hook.c`.

use super::bindings;
use super::fence::Fenced;
use super::mm::MmId;
use super::page::PageRef;
use core::marker::PhantomData;
use core::ptr::NonNull;
use kernel::error::to_result;
use kernel::ffi::{
    c_ulong,
    c_void, //
};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::types::ForeignOwnable;

/// The size of the smallest word that has a count of its own.
const STEP: usize = bindings::AFUTEX_HOOK_STEP as usize;

/// Offsets in a page, in units of [`STEP`].
pub(crate) struct Offsets([c_ulong; COUNTS / c_ulong::BITS as usize]);

const COUNTS: usize = bindings::AFUTEX_HOOK_COUNTS as usize;

impl Offsets {
    /// Whether a word at the offset `at` of a page is meant.
    pub(crate) fn contain(&self, at: usize) -> bool {
        const BITS: usize = c_ulong::BITS as usize;
        let at = at / STEP % COUNTS;

        self.0[at / BITS] >> (at % BITS) & 1 != 0
    }
}

/// A wake of futex(2).
pub(crate) struct SeenWake<'a> {
    /// The waker's memory, which may be gone.
    pub(crate) mm: MmId,
    /// The address of the word in that memory.
    pub(crate) addr: usize,
    /// The page that it is in, for a shared word.
    pub(crate) page: Option<&'a PageRef>,
    /// The waker passed a full barrier after its stores.
    pub(crate) fenced: Fenced,
}

/// What is called for wakes of futex(2).
pub(crate) trait Observer: Send + Sync + 'static {
    /// A word was woken. Runs in the task that woke it, or in a worker; must not sleep.
    fn woken(&self, wake: &SeenWake<'_>);

    /// A word was woken that is not known: one at `offsets` of a page, or, without, any. May sleep.
    fn any_woken(&self, offsets: Option<&Offsets>);
}

/// The functions of futex(2), found in the kernel.
///
/// # Invariants
///
/// `afutex_hook_find` succeeded, and `afutex_hook_forget` was not called since.
pub(crate) struct Functions(());

impl Functions {
    /// Finds them. There may be one at a time. `None` if this kernel was built without hooks, or
    /// has no such functions.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn find() -> Result<Option<Self>> {
        // SAFETY: Only called where there is no other.
        match to_result(unsafe { bindings::afutex_hook_find() }) {
            // INVARIANT: Just called.
            Ok(()) => Ok(Some(Self(()))),
            Err(err) if err == EOPNOTSUPP => Ok(None),
            Err(err) => Err(err),
        }
    }
}

impl Drop for Functions {
    fn drop(&mut self) {
        // SAFETY: By the type invariants. They are not hooked: a `Registration` drops its own last.
        unsafe { bindings::afutex_hook_forget() };
    }
}

/// Has an observer called for as long as it exists. There may be one at a time.
///
/// # Invariants
///
/// `afutex_hook_init` was called with the `Arc` of `observer`, which this owns.
pub(crate) struct Registration<O: Observer> {
    observer: *mut c_void,
    _observer: PhantomData<Arc<O>>,
    /// Dropped after all else.
    _functions: Functions,
}

// SAFETY: It only owns an `Arc` of what may be sent and shared.
unsafe impl<O: Observer> Send for Registration<O> {}
// SAFETY: It has no `&self` methods.
unsafe impl<O: Observer> Sync for Registration<O> {}

impl<O: Observer> Registration<O> {
    const OPS: bindings::afutex_hook_ops = bindings::afutex_hook_ops {
        woken: Some(Self::woken),
        any_woken: Some(Self::any_woken),
    };

    /// Registers `observer`. Nothing is called before [`InPlace::get`].
    pub(crate) fn new(functions: Functions, observer: Arc<O>) -> Self {
        let observer = observer.into_foreign();

        // SAFETY: The operations are static, and `drop` keeps the observer until they are not
        // called any more.
        unsafe { bindings::afutex_hook_init(const { &Self::OPS }, observer) };
        // INVARIANT: Just called.
        Self {
            observer,
            _observer: PhantomData,
            _functions: functions,
        }
    }

    /// # Safety
    ///
    /// To be called by `futex_hook.c` only: `data` is from `new`, and `page` null or held.
    unsafe extern "C" fn woken(
        data: *mut c_void,
        mm: u64,
        addr: c_ulong,
        page: *mut kernel::bindings::page,
    ) {
        // SAFETY: By the safety requirements it was made by `into_foreign`, and `drop` waits for
        // all calls before it takes it back.
        let observer = unsafe { <Arc<O> as ForeignOwnable>::borrow(data) };

        // SAFETY: By the safety requirements it is held for the call, which this does not outlive.
        let page = NonNull::new(page).map(|page| unsafe { PageRef::borrowed(page) });

        observer.woken(&SeenWake {
            mm: MmId::from_raw(mm),
            addr,
            page: page.as_deref(),
            fenced: Fenced::by_hook(),
        });
    }

    /// # Safety
    ///
    /// As for `woken`; `offsets` is null or a bitmap of `AFUTEX_HOOK_COUNTS` bits.
    unsafe extern "C" fn any_woken(data: *mut c_void, offsets: *const c_ulong) {
        // SAFETY: As for `woken`.
        let observer = unsafe { <Arc<O> as ForeignOwnable>::borrow(data) };

        // SAFETY: By the safety requirements it is null or valid, and of that length.
        observer.any_woken(unsafe { offsets.cast::<Offsets>().as_ref() });
    }
}

impl<O: Observer> Drop for Registration<O> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants it was initialised. From then on it is not called.
        unsafe { bindings::afutex_hook_exit() };
        // SAFETY: By the type invariants it is ours, from `into_foreign`.
        drop(unsafe { <Arc<O> as ForeignOwnable>::from_foreign(self.observer) });
    }
}

/// Keeps the hooks in place: wakes are seen.
pub(crate) struct InPlace(());

impl InPlace {
    /// Puts them in place, unless they are. All wakes are seen whose words are stored to later: a
    /// caller that looks at a word from here on sees the store, or its observer is called. May
    /// sleep.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if this kernel does not allow it, `ENOMEM`, `EINTR` if the task is killed.
    pub(crate) fn get() -> Result<Self> {
        // SAFETY: Only called where there is a `Registration`.
        to_result(unsafe { bindings::afutex_hook_get() })?;
        Ok(Self(()))
    }
}

impl Drop for InPlace {
    fn drop(&mut self) {
        // SAFETY: `get` succeeded.
        unsafe { bindings::afutex_hook_put() };
    }
}

/// Counts the watches of a word, and those about to be queued: `addr` of the memory `mm`, or, for a
/// shared word, any address at that offset of a page. A wake of a word that is not counted is not
/// reported. Counting up is a full barrier.
pub(crate) fn count(mm: Option<usize>, addr: usize, count: i32) {
    // SAFETY: It adds to one of a fixed number of counts.
    unsafe { bindings::afutex_hook_count(mm.unwrap_or(0) as u64, addr, mm.is_none(), count) };
}

/// What was counted since the module was loaded.
pub(crate) fn stats() -> bindings::afutex_hook_stats {
    let mut stats = bindings::afutex_hook_stats::default();

    // SAFETY: There is room for them.
    unsafe { bindings::afutex_hook_read_stats(&mut stats) };
    stats
}
