// SPDX-License-Identifier: GPL-2.0

//! The futex: keys, the table, entries, and the operations on them.

#![forbid(unsafe_code)]

pub(crate) mod call;
pub(crate) mod device;
pub(crate) mod entry;
pub(crate) mod fd;
pub(crate) mod futex2;
pub(crate) mod key;
pub(crate) mod member;
pub(crate) mod quota;
pub(crate) mod requeue;
pub(crate) mod set;
pub(crate) mod stats;
pub(crate) mod table;
pub(crate) mod unread;
pub(crate) mod wait;
pub(crate) mod waitv;
pub(crate) mod wake;
pub(crate) mod watch;

use crate::sys::bindings;
use crate::sys::pseudo_fs::{
    FsType,
    PseudoFs,
    PseudoFsType, //
};
use kernel::prelude::*;
use kernel::sync::Arc;
use quota::Users;
use table::Table;

/// `futexfs`, where the file descriptors live.
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

/// One wait domain: everything that its domain share.
#[pin_data]
pub(crate) struct Domain {
    /// Who waits.
    pub(crate) table: Table,
    /// Where their file descriptors live.
    pub(crate) fs: Arc<PseudoFs<FutexFs>>,
    /// How many watches each user has in sets.
    pub(crate) users: Arc<Users>,
}

impl Domain {
    /// Creates an initialiser for a domain in which nobody waits.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `buckets` is not a power of two; `ENOMEM`; `EBUSY` if there is a filesystem called `futexfs`.
    pub(crate) fn new(buckets: usize, max_user_watches: usize) -> Result<impl PinInit<Self>> {
        let table = Table::new(buckets)?;
        let fs = Arc::pin_init(PseudoFs::new(), GFP_KERNEL)?;

        let users = Arc::pin_init(Users::new(max_user_watches), GFP_KERNEL)?;

        Ok(pin_init!(Self { table, fs, users }))
    }
}
