// SPDX-License-Identifier: GPL-2.0

//! A wait domain: what its futexes share.

use super::quota::Users;
use super::table::Table;
use crate::sys::bindings;
use crate::sys::futex_hook::InPlace;
use crate::sys::pseudo_fs::{
    FsType,
    PseudoFsType,
    Registration, //
};
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

/// A wait domain.
#[pin_data]
pub(crate) struct Domain<W> {
    /// The waiters.
    pub(crate) table: Table<W>,
    /// The filesystem of their file descriptors.
    pub(crate) fs: Arc<Registration<FutexFs>>,
    /// How many watches each user has.
    pub(crate) users: Arc<Users>,
    /// The domain of those that wait for wakes of futex(2).
    native: Option<Arc<Self>>,
}

impl<W> Domain<W> {
    /// Creates an initialiser for a domain without waiters, and, if `has_native`, for one of wakes
    /// of futex(2) beside it.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `buckets` is not a power of two; `ENOMEM`; `EBUSY` if there is a filesystem
    /// called `futexfs`.
    pub(crate) fn new(buckets: usize, has_native: bool) -> Result<impl PinInit<Self>> {
        let table = Table::new(buckets)?;
        let fs = Arc::new(Registration::new()?, GFP_KERNEL)?;
        let users = Arc::pin_init(Users::new(), GFP_KERNEL)?;
        let native = if has_native {
            let (table, fs, users) = (Table::new_native(buckets)?, fs.clone(), users.clone());
            let init = pin_init!(Self {
                table,
                fs,
                users,
                native: None,
            });
            Some(Arc::pin_init(init, GFP_KERNEL)?)
        } else {
            None
        };

        Ok(pin_init!(Self {
            table,
            fs,
            users,
            native,
        }))
    }

    /// `this`, or, for `native`, its domain of wakes of futex(2): the hooks are in place from here
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
