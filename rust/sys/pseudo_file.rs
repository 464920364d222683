// SPDX-License-Identifier: GPL-2.0

//! Files that can be waited for: with poll, select, epoll, io_uring and signals.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h), `struct file_operations`.

use super::poll::{
    PollHead,
    PollRequest,
    READABLE, //
};
use super::sigio::FasyncList;
use core::marker::PhantomData;
use core::ops::Deref;
use kernel::bindings;
use kernel::ffi::c_int;
use kernel::fs::File;
use kernel::module::this_module;
use kernel::prelude::*;
use kernel::seq_file::SeqFile;
use kernel::static_lock_class;
use kernel::sync::{
    Arc,
    ArcBorrow, //
};
use kernel::types::ForeignOwnable;

/// What a file of a pseudo-filesystem does.
pub(crate) trait PseudoFile: Sized + Send + Sync + 'static {
    /// The events that hold now, as poll(2) names them. Called under spinlocks of the caller's.
    fn ready(&self) -> u32;

    /// The last reference to the file is gone. May run in any task's context, or a kworker's.
    fn release(&self);

    /// Shows the file's state in `/proc/PID/fdinfo/FD`.
    fn show_fdinfo(&self, file: &File, out: &SeqFile);
}

/// A `T` behind a file, with those who wait for it.
///
/// What notifies holds its own reference: it may outlive the file.
#[pin_data]
pub(crate) struct Pollable<T> {
    #[pin]
    head: PollHead,
    fasync: FasyncList,
    #[pin]
    inner: T,
}

impl<T> Pollable<T> {
    /// Creates an initialiser with nobody waiting.
    pub(crate) fn new(inner: T) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: Only `Operations::poll` registers pollers, for files that hold a reference
            // to this until their release.
            head <- unsafe { PollHead::new(static_lock_class!()) },
            fasync: FasyncList::new(),
            inner,
        })
    }

    /// Tells those who wait that `T` became readable. No lock may be held.
    pub(crate) fn notify_readable(&self) {
        self.head.wake(READABLE);
        self.fasync.signal_readable();
    }

    /// Turns on signals to the owner of `file`, which is to be a file of this. `fd` is `si_fd`.
    ///
    /// What `F_SETFL` with `O_ASYNC` does, for a file nobody else can reach yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn signal_on(&self, fd: u32, file: &File) -> Result {
        self.fasync.update(fd as i32, file, true)
    }
}

impl<T> Deref for Pollable<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

/// The file operations of files whose private data is an `Arc<Pollable<F>>`.
pub(super) struct Operations<F>(PhantomData<F>);

impl<F: PseudoFile> Operations<F> {
    const FOPS: bindings::file_operations = bindings::file_operations {
        owner: this_module::<crate::LocalModule>().as_ptr(),
        poll: Some(Self::poll),
        fasync: Some(Self::fasync),
        release: Some(Self::release),
        show_fdinfo: Some(Self::show_fdinfo),
        ..pin_init::zeroed()
    };

    /// The operations.
    pub(super) fn get() -> &'static bindings::file_operations {
        const { &Self::FOPS }
    }

    /// Makes `data` the private data of `file`.
    ///
    /// # Safety
    ///
    /// `file` must be a new file with these operations, not yet used by anybody.
    pub(super) unsafe fn attach(file: *mut bindings::file, data: Arc<Pollable<F>>) {
        // SAFETY: Nobody else uses the file by the safety requirements.
        unsafe { (*file).private_data = data.into_foreign() };
    }

    /// # Safety
    ///
    /// `file` must have gone through `attach`, and not through `release`.
    unsafe fn data<'a>(file: *const bindings::file) -> ArcBorrow<'a, Pollable<F>> {
        // SAFETY: `attach` put it there, and the file owns it.
        unsafe { Arc::<Pollable<F>>::borrow((*file).private_data) }
    }

    /// # Safety
    ///
    /// To be called by the VFS only.
    unsafe extern "C" fn poll(
        file: *mut bindings::file,
        table: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: The caller holds the file for the call, and the table belongs to it.
        let (data, request) = unsafe {
            (
                Self::data(file),
                PollRequest::from_raw(File::from_raw_file(file), table),
            )
        };

        data.head.register(&request);
        data.ready()
    }

    /// # Safety
    ///
    /// To be called by the VFS only.
    unsafe extern "C" fn fasync(fd: c_int, file: *mut bindings::file, on: c_int) -> c_int {
        // SAFETY: The caller holds the file for the call.
        let (data, file) = unsafe { (Self::data(file), File::from_raw_file(file)) };

        match data.fasync.update(fd, file, on != 0) {
            Ok(()) => 0,
            Err(err) => err.to_errno(),
        }
    }

    /// # Safety
    ///
    /// To be called by the VFS only.
    unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: `attach` put it there, and nobody uses the file any more.
        let data = unsafe { Arc::<Pollable<F>>::from_foreign((*file).private_data) };

        data.release();
        0
    }

    /// # Safety
    ///
    /// To be called by the VFS only.
    unsafe extern "C" fn show_fdinfo(m: *mut bindings::seq_file, file: *mut bindings::file) {
        // SAFETY: The caller holds both for the call.
        let (data, out, file) = unsafe {
            (
                Self::data(file),
                SeqFile::from_raw(m),
                File::from_raw_file(file),
            )
        };

        data.show_fdinfo(file, out);
    }
}
