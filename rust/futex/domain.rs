// SPDX-License-Identifier: GPL-2.0

//! A wait domain: a table of waiters, whom only wakes through the same domain reach.
//!
//! There is the domain of the whole machine, that of `/dev/afutex`, and as many others as users
//! make. Whatever waits in a domain holds it: it goes with the last of its descriptors, and of
//! those that were made through it. All have the same filesystem, users and pins, so that a user
//! pays once for a folio, through whichever domain it is waited on.

use super::bucket::Wake;
use super::quota::{
    Charges,
    Quota,
    Users, //
};
use super::table::{
    Table,
    Totals, //
};
use crate::sys::bindings;
use crate::sys::futex_hook::InPlace;
use crate::sys::pseudo_fs::{
    FsType,
    PseudoFsType,
    Registration, //
};
use crate::sys::slots::Slots;
use kernel::prelude::*;
use kernel::sync::Arc;

/// `futexfs`, on which the file descriptors live.
pub(crate) struct FutexFs;

impl PseudoFsType for FutexFs {
    const NAME: &'static CStr = c"futexfs";
    const MAGIC: usize = bindings::AFUTEX_FS_MAGIC as usize;
    const LINK: &'static [u8] = b"futexfs:[futex]\0";

    fn fs_type() -> &'static FsType<Self> {
        static FS_TYPE: FsType<FutexFs> = FsType::new();

        &FS_TYPE
    }
}

/// What all domains share.
#[pin_data]
pub(crate) struct Machine<W: 'static> {
    /// The filesystem of the file descriptors.
    pub(crate) fs: Registration<FutexFs>,
    /// How many watches each user has.
    pub(crate) users: Arc<Users>,
    /// The tables, for the statistics.
    #[pin]
    tables: Slots<Table<W>>,
}

impl<W: Wake> Machine<W> {
    /// Counts the words and waiters of all tables, one after the other.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        let mut from = 0;

        while let Some((number, table)) = self.tables.next(from) {
            totals = totals.and(table.totals());
            from = number.saturating_add(1);
        }
        totals
    }
}

/// A table that is among those of its machine.
///
/// # Invariants
///
/// It has that number there.
struct Listed<W: 'static> {
    machine: Arc<Machine<W>>,
    number: u32,
}

impl<W: 'static> Listed<W> {
    fn new(machine: &Arc<Machine<W>>, table: &Arc<Table<W>>) -> Result<Self> {
        // INVARIANT: That is its number.
        Ok(Self {
            machine: machine.clone(),
            number: machine.tables.insert(table.clone())?,
        })
    }
}

impl<W: 'static> Drop for Listed<W> {
    fn drop(&mut self) {
        drop(self.machine.tables.remove(self.number, None));
    }
}

/// A wait domain.
pub(crate) struct Domain<W: 'static> {
    /// The waiters.
    pub(crate) table: Arc<Table<W>>,
    /// The domain of those that wait for wakes of futex(2): the machine has one.
    native: Option<Arc<Self>>,
    listed: Listed<W>,
    /// What its memory is charged as.
    _charges: Option<Charges>,
}

impl<W: 'static> Domain<W> {
    /// Creates the domain of the machine, without waiters, and, if `has_native`, one of wakes of
    /// futex(2) beside it.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `buckets` is not a power of two; `ENOMEM`; `EBUSY` if there is a filesystem
    /// called `futexfs`.
    pub(crate) fn of_machine(buckets: usize, has_native: bool) -> Result<Arc<Self>> {
        let table = Table::new(buckets)?;
        let machine = Arc::pin_init(
            try_pin_init!(Machine {
                fs: Registration::new()?,
                users: Arc::pin_init(Users::new(), GFP_KERNEL)?,
                tables <- Slots::new(),
            }? Error),
            GFP_KERNEL,
        )?;
        let native = match has_native {
            true => Some(Self::with(table.new_native()?, &machine, None, None)?),
            false => None,
        };

        Self::with(table, &machine, native, None)
    }

    /// Creates another domain, without waiters, of `buckets`, or, if that is 0, of some. Its memory
    /// is charged to `quota` as watches.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `buckets` is not a power of two, or too many; `ENOSPC` if the user would have
    /// more watches than it may have; `ENOMEM`.
    pub(crate) fn another(&self, buckets: u32, quota: Arc<Quota>) -> Result<Arc<Self>> {
        let buckets = match buckets {
            0 => bindings::AFUTEX_DOMAIN_BUCKETS as usize,
            1..=bindings::AFUTEX_DOMAIN_BUCKETS_MAX if buckets.is_power_of_two() => {
                buckets as usize
            }
            _ => return Err(EINVAL),
        };
        let charges = Charges::for_memory(quota, Table::<W>::memory(buckets))?;
        let table = self.table.new_domain(buckets)?;

        Self::with(
            table,
            &self.listed.machine,
            self.native.clone(),
            Some(charges),
        )
    }

    fn with(
        table: Table<W>,
        machine: &Arc<Machine<W>>,
        native: Option<Arc<Self>>,
        charges: Option<Charges>,
    ) -> Result<Arc<Self>> {
        let table = Arc::new(table, GFP_KERNEL_ACCOUNT)?;
        let listed = Listed::new(machine, &table)?;

        Ok(Arc::new(
            Self {
                table,
                native,
                listed,
                _charges: charges,
            },
            GFP_KERNEL_ACCOUNT,
        )?)
    }

    /// What it shares with all other domains.
    pub(crate) fn machine(&self) -> &Arc<Machine<W>> {
        &self.listed.machine
    }

    /// `this`, or, for `native`, the domain of wakes of futex(2): the hooks are in place from here
    /// on, so that the word may be looked at.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if there is no such domain; those of [`InPlace::get`].
    pub(crate) fn select(this: &Arc<Self>, native: bool) -> Result<(&Arc<Self>, Option<InPlace>)> {
        if !native {
            return Ok((this, None));
        }
        let native = this.native().ok_or(EOPNOTSUPP)?;

        Ok((native, Some(InPlace::get()?)))
    }

    /// The domain of those that wait for wakes of futex(2), if there is one.
    pub(crate) fn native(&self) -> Option<&Arc<Self>> {
        self.native.as_ref()
    }
}
