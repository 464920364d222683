// SPDX-License-Identifier: GPL-2.0

//! Numbers for things: the smallest that is free for each.

use kernel::prelude::*;

/// A place, found by its number.
enum Slot<T> {
    Used(T),
    /// Free; the number of the next free one, or of the first that does not exist.
    Free(usize),
}

/// Things by number.
pub(crate) struct Slots<T> {
    slots: KVVec<Slot<T>>,
    /// The number of the first free slot.
    free: usize,
    len: usize,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            slots: KVVec::new(),
            free: 0,
            len: 0,
        }
    }
}

impl<T> Slots<T> {
    /// How many things there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds a thing and returns its number.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `ENOSPC` after 2^32 of them.
    pub(crate) fn insert(&mut self, thing: T) -> Result<u32> {
        let number = self.free;
        let id = u32::try_from(number).map_err(|_| ENOSPC)?;

        match self.slots.get_mut(number) {
            Some(slot) => {
                if let Slot::Free(next) = *slot {
                    self.free = next;
                }
                *slot = Slot::Used(thing);
            }
            None => {
                self.slots.push(Slot::Used(thing), GFP_KERNEL_ACCOUNT)?;
                self.free = self.slots.len();
            }
        }
        self.len += 1;
        Ok(id)
    }

    /// The thing of that number; `ENOENT`.
    pub(crate) fn get(&self, id: u32) -> Result<&T> {
        match self.slots.get(id as usize) {
            Some(Slot::Used(thing)) => Ok(thing),
            _ => Err(ENOENT),
        }
    }

    /// Takes out the thing of that number, if `expected` holds for it; `ENOENT`.
    pub(crate) fn remove(&mut self, id: u32, expected: impl FnOnce(&T) -> bool) -> Result<T> {
        if !expected(self.get(id)?) {
            return Err(ENOENT);
        }
        let slot = self.slots.get_mut(id as usize).ok_or(ENOENT)?;

        match core::mem::replace(slot, Slot::Free(self.free)) {
            Slot::Used(thing) => {
                self.free = id as usize;
                self.len -= 1;
                Ok(thing)
            }
            free => {
                *slot = free;
                Err(ENOENT)
            }
        }
    }

    /// All of them, with their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(id, slot)| match slot {
                Slot::Used(thing) => Some((id, thing)),
                Slot::Free(_) => None,
            })
    }
}

#[kunit_tests(afutex_slots)]
mod tests {
    use super::*;

    #[test]
    fn free_numbers_are_given_again() -> Result {
        let mut slots = Slots::default();

        for n in 0..4u32 {
            assert_eq!(slots.insert(n)?, n);
        }
        assert_eq!(slots.remove(1, |_| true)?, 1);
        assert_eq!(slots.remove(1, |_| true), Err(ENOENT));
        assert_eq!(slots.remove(2, |&n| n == 3), Err(ENOENT));
        assert_eq!(slots.len(), 3);
        assert_eq!(slots.insert(7)?, 1);
        assert_eq!(slots.insert(8)?, 4);
        assert_eq!(*slots.get(1)?, 7);
        assert!(slots.get(5).is_err());
        assert_eq!(slots.iter().count(), 5);
        Ok(())
    }
}
