// SPDX-License-Identifier: GPL-2.0

//! A wait domain: what its futexes share.

use super::quota::Users;
use super::table::Table;
use crate::sys::bindings;
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
    pub(crate) fs: Registration<FutexFs>,
    /// How many watches each user has.
    pub(crate) users: Arc<Users>,
}

impl<W> Domain<W> {
    /// Creates an initialiser for a domain without waiters.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `buckets` is not a power of two; `ENOMEM`; `EBUSY` if there is a filesystem
    /// called `futexfs`.
    pub(crate) fn new(buckets: usize) -> Result<impl PinInit<Self>> {
        let table = Table::new(buckets)?;
        let fs = Registration::new()?;
        let users = Arc::pin_init(Users::new(), GFP_KERNEL)?;

        Ok(pin_init!(Self { table, fs, users }))
    }
}
