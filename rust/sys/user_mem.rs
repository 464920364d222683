// SPDX-License-Identifier: GPL-2.0

//! Small structures in the current task's memory, read and written word by word.
//!
//! `copy_from_user` is a call to a string instruction, whose start costs more than the copy of a
//! few words. [`kernel::uaccess`] has only such functions.

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

/// The result of a helper, whose only error is `EFAULT`.
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

/// Structures that are read at once: up to `N` of them.
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

/// The destination of a read.
pub(crate) trait Dest {
    /// How many bytes there is room for.
    fn room(&self) -> usize;

    /// Writes a structure of whole words; `EFAULT`, and then nothing counts as written.
    fn put<T: AsBytes>(&mut self, value: &T) -> Result;

    /// Like [`Self::put`], of a structure of two words, with page faults disabled: `EFAULT` may
    /// mean that the memory is not present. Never sleeps.
    fn put_pair_nofault<T: AsBytes>(&mut self, value: &T) -> Result;

    /// Like [`Self::put`], without advancing: makes the memory present. May fault and sleep.
    ///
    /// Only a store shows whether a store is possible: shadow stacks look writable, and stacks
    /// grow.
    ///
    /// # Errors
    ///
    /// `EFAULT`.
    fn fault_in<T: AsBytes>(&mut self, value: &T) -> Result;
}

impl<D: Dest> Dest for &mut D {
    fn room(&self) -> usize {
        (**self).room()
    }

    #[inline]
    fn put<T: AsBytes>(&mut self, value: &T) -> Result {
        (**self).put(value)
    }

    #[inline]
    fn put_pair_nofault<T: AsBytes>(&mut self, value: &T) -> Result {
        (**self).put_pair_nofault(value)
    }

    fn fault_in<T: AsBytes>(&mut self, value: &T) -> Result {
        (**self).fault_in(value)
    }
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

    #[inline]
    fn put_pair_nofault<T: AsBytes>(&mut self, value: &T) -> Result {
        const { assert!(align_of::<T>() == align_of::<u64>() && words::<T>() == 2) };
        let left = self.len.checked_sub(size_of::<T>()).ok_or(EFAULT)?;
        // SAFETY: It is two words, none of them uninitialised.
        let pair = unsafe { core::ptr::from_ref(value).cast::<[u64; 2]>().read() };

        // SAFETY: Any user address may be tried.
        done(unsafe { bindings::afutex_put_pair_nofault(self.addr, pair[0], pair[1]) })?;
        self.len = left;
        self.addr = self.addr.wrapping_add(size_of::<T>());
        Ok(())
    }

    fn fault_in<T: AsBytes>(&mut self, value: &T) -> Result {
        write(self.addr, value)
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

    fn put_pair_nofault<T: AsBytes>(&mut self, value: &T) -> Result {
        let bytes = value.as_bytes();

        // SAFETY: The iterator is valid, and one to write to, and there are as many bytes.
        done(unsafe {
            bindings::afutex_copy_to_iter_nofault(bytes.as_ptr().cast(), bytes.len(), self.as_raw())
        })
    }

    fn fault_in<T: AsBytes>(&mut self, value: &T) -> Result {
        let copied = self.copy_to_iter(value.as_bytes());

        // SAFETY: It was advanced by as much.
        unsafe { self.revert(copied) };
        if copied == size_of::<T>() {
            Ok(())
        } else {
            Err(EFAULT)
        }
    }
}
