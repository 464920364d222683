// SPDX-License-Identifier: GPL-2.0

//! Small structures in the current task's memory, read and written word by word.
//!
//! `copy_from_user` and its like are calls to a string instruction, whose start costs more than the
//! copy of a few words. [`kernel::uaccess`] has only these.

use super::bindings;
use core::mem::MaybeUninit;
use kernel::iov::IovIterDest;
use kernel::prelude::*;
use kernel::transmute::{
    AsBytes,
    FromBytes, //
};

/// Gives a structure the alignment of a word.
#[repr(C, align(8))]
struct Aligned<T>(T);

/// What a helper says, which knows one error only.
#[inline]
fn done(ret: i32) -> Result {
    if ret == 0 {
        Ok(())
    } else {
        Err(EFAULT)
    }
}

/// The words in a `T`, which must be of whole ones.
const fn words<T>() -> u32 {
    assert!(size_of::<T>() % size_of::<u64>() == 0);
    (size_of::<T>() / size_of::<u64>()) as u32
}

/// Reads a structure. May fault and sleep.
///
/// # Errors
///
/// `EFAULT`.
#[inline]
pub(crate) fn read<T: FromBytes>(addr: usize) -> Result<T> {
    let mut value = Aligned(MaybeUninit::<T>::uninit());

    // SAFETY: There is room for as many words, and any user address may be tried.
    done(unsafe {
        bindings::afutex_get_words(value.0.as_mut_ptr().cast(), addr, const { words::<T>() })
    })?;
    // SAFETY: All of its bytes were written, and any will do.
    Ok(unsafe { value.0.assume_init() })
}

/// Structures that are read, or to be written, at once: up to `N` of them.
///
/// # Invariants
///
/// The first `len` are initialised.
pub(crate) struct Buffer<T, const N: usize> {
    items: [MaybeUninit<T>; N],
    len: usize,
}

impl<T: FromBytes + AsBytes, const N: usize> Buffer<T, N> {
    /// Makes room, with nothing in it.
    #[inline]
    pub(crate) const fn new() -> Self {
        // INVARIANT: None.
        Self {
            items: [const { MaybeUninit::uninit() }; N],
            len: 0,
        }
    }

    /// Forgets what is in it.
    #[inline]
    pub(crate) fn clear(&mut self) {
        // INVARIANT: None. Plain bytes need not be dropped.
        self.len = 0;
    }

    /// Adds one, if there is room.
    #[inline]
    pub(crate) fn push(&mut self, item: T) {
        if let Some(slot) = self.items.get_mut(self.len) {
            slot.write(item);
            // INVARIANT: One more.
            self.len = self.len.wrapping_add(1);
        }
    }

    /// Reads `count` structures that follow one another, or as many as there is room for, instead
    /// of what is in it. May fault and sleep.
    ///
    /// # Errors
    ///
    /// `EFAULT`.
    #[inline]
    pub(crate) fn read(&mut self, addr: usize, count: usize) -> Result<&mut [T]> {
        const { assert!(align_of::<T>() == align_of::<u64>()) };
        let count = count.min(N);
        let len = const { words::<T>() } as usize * count;

        // SAFETY: There is room for as many words, and any user address may be tried.
        done(unsafe {
            bindings::afutex_get_words(self.items.as_mut_ptr().cast(), addr, len as u32)
        })?;
        // INVARIANT: All bytes of `count` structures were written, and any will do.
        self.len = count;
        Ok(self.as_mut_slice())
    }

    #[inline]
    fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: By the type invariants.
        unsafe { core::slice::from_raw_parts_mut(self.items.as_mut_ptr().cast(), self.len) }
    }

    /// What is in it.
    #[inline]
    pub(crate) fn as_slice(&self) -> &[T] {
        // SAFETY: By the type invariants.
        unsafe { core::slice::from_raw_parts(self.items.as_ptr().cast(), self.len) }
    }
}

/// Writes a structure. May fault and sleep.
///
/// # Errors
///
/// `EFAULT`.
#[inline]
pub(crate) fn write<T: AsBytes>(addr: usize, value: &T) -> Result {
    const { assert!(align_of::<T>() == align_of::<u64>()) };
    let from = core::ptr::from_ref(value).cast::<u64>();

    // SAFETY: There are as many words, none of them uninitialised.
    done(unsafe {
        if const { words::<T>() } == 1 {
            bindings::afutex_put_word(addr, from.read())
        } else {
            bindings::afutex_put_words(addr, from, const { words::<T>() })
        }
    })
}

/// Writes structures that follow one another. May fault and sleep.
///
/// # Errors
///
/// `EFAULT`.
pub(crate) fn write_slice<T: AsBytes>(addr: usize, values: &[T]) -> Result {
    const { assert!(align_of::<T>() == align_of::<u64>()) };
    let count = const { words::<T>() } as usize * values.len();

    // SAFETY: There are as many words, none of them uninitialised.
    done(unsafe { bindings::afutex_put_words(addr, values.as_ptr().cast(), count as u32) })
}

/// Where a reader wants what he reads.
pub(crate) trait Dest {
    /// How many bytes there is room for.
    fn room(&self) -> usize;

    /// Writes a structure of whole words; `EFAULT`, and then nothing counts as written.
    fn put<T: AsBytes>(&mut self, value: &T) -> Result;

    /// Writes structures of whole words; `EFAULT`, and then nothing counts as written.
    fn put_all<T: AsBytes>(&mut self, values: &[T]) -> Result;
}

/// A buffer in the current task's memory.
pub(crate) struct UserDest {
    addr: usize,
    len: usize,
}

impl UserDest {
    /// The buffer of `len` bytes at `addr`, which may be any address.
    pub(crate) fn new(addr: usize, len: usize) -> Self {
        Self { addr, len }
    }
}

impl Dest for UserDest {
    fn room(&self) -> usize {
        self.len
    }

    #[inline]
    fn put<T: AsBytes>(&mut self, value: &T) -> Result {
        let left = self.len.checked_sub(size_of::<T>()).ok_or(EFAULT)?;

        write(self.addr, value)?;
        self.len = left;
        self.addr = self.addr.wrapping_add(size_of::<T>());
        Ok(())
    }

    fn put_all<T: AsBytes>(&mut self, values: &[T]) -> Result {
        let left = self.len.checked_sub(size_of_val(values)).ok_or(EFAULT)?;

        write_slice(self.addr, values)?;
        self.len = left;
        self.addr = self.addr.wrapping_add(size_of_val(values));
        Ok(())
    }
}

impl Dest for IovIterDest<'_> {
    fn room(&self) -> usize {
        self.len()
    }

    fn put<T: AsBytes>(&mut self, value: &T) -> Result {
        if self.copy_to_iter(value.as_bytes()) == size_of::<T>() {
            Ok(())
        } else {
            Err(EFAULT)
        }
    }

    fn put_all<T: AsBytes>(&mut self, _values: &[T]) -> Result {
        // An iterator goes on with what it took: one after the other.
        Err(EFAULT)
    }
}
