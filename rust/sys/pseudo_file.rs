// SPDX-License-Identifier: GPL-2.0

//! Files that can be waited for: with poll, select, epoll, io_uring and signals.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h), `struct file_operations`.

use super::fence::Fenced;
use super::poll::{
    PollHead,
    PollRequest, //
};
use super::sigio::FasyncList;
use super::task::Deadline;
use super::user_mem::{
    Dest,
    UserDest, //
};
use core::marker::PhantomData;
use core::ops::Deref;
use kernel::bindings;
use kernel::error::from_result;
use kernel::ffi::{
    c_char,
    c_int,
    c_long,
    c_uint,
    c_ulong, //
};
use kernel::fs::File;
use kernel::iov::IovIterDest;
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
    /// Whether it can be read; if not, read(2) is `EINVAL`.
    const READABLE: bool = false;

    /// The events that hold now, as poll(2) names them. Called under spinlocks of the caller's.
    fn ready(&self) -> u32;

    /// The last reference to the file is gone. May run in any task's context, or a kworker's.
    fn release(&self);

    /// Reads what there is into `out`. Returns the number of bytes; 0 if there is nothing yet.
    ///
    /// Must not be called with locks held.
    fn read(this: &Pollable<Self>, out: impl Dest) -> Result<usize> {
        let _ = (this, out);
        Err(EINVAL)
    }

    /// Carries out an ioctl on the file.
    fn ioctl(this: ArcBorrow<'_, Pollable<Self>>, cmd: u32, arg: usize) -> Result<isize> {
        let _ = (this, cmd, arg);
        Err(ENOTTY)
    }

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
    pub(crate) fn new(inner: impl PinInit<T>) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: Only `Operations::poll` registers pollers, for files that hold a reference
            // to this until their release.
            head <- unsafe { PollHead::new(static_lock_class!()) },
            fasync: FasyncList::new(),
            inner <- inner,
        })
    }

    /// Tells those who wait that `T` became readable. No lock may be held.
    pub(crate) fn notify_readable(&self) {
        self.head.wake_readers(&self.fasync);
    }

    /// Whether there is anybody to tell. May be asked under a spinlock, after the state changed and
    /// a full barrier: a poller who comes later sees what changed.
    #[inline]
    pub(crate) fn has_listeners(&self, fenced: Fenced) -> bool {
        self.head.has_listeners(&self.fasync, fenced)
    }

    /// As `notify_readable`, of what [has listeners](Self::has_listeners).
    #[inline]
    pub(crate) fn notify_listeners(&self) {
        self.head.wake_listeners(&self.fasync);
    }

    /// Reads into `out`, after there was nothing to read, and waits for it if `may_wait`.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if it may not wait, `ERESTARTSYS` if a signal comes first; those of
    /// [`PseudoFile::read`].
    #[inline(never)]
    fn read_later(&self, mut out: impl Dest, may_wait: bool) -> Result<usize>
    where
        T: PseudoFile,
    {
        loop {
            if !may_wait {
                return Err(EAGAIN);
            }
            self.head.wait(None, || self.inner.ready() != 0)?;
            // Another reader may be first.
            match T::read(self, &mut out)? {
                0 => (),
                len => return Ok(len),
            }
        }
    }

    /// Waits until the file is ready, or a deadline.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT`; if a signal comes first, `ERESTARTNOHAND`.
    pub(crate) fn wait_until(&self, deadline: Option<Deadline>) -> Result
    where
        T: PseudoFile,
    {
        self.head
            .wait(deadline, || self.inner.ready() != 0)
            .map_err(|err| {
                if err == ERESTARTSYS {
                    ERESTARTNOHAND
                } else {
                    err
                }
            })
    }

    /// Turns on signals to the owner of `file`, which is to be a file of this. `fd` is `si_fd`.
    ///
    /// What `F_SETFL` with `O_ASYNC` does, for a file nobody else can reach yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn signal_on(&self, fd: u32, file: &File) -> Result {
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
        // read(2) spares the iterator.
        read: if F::READABLE { Some(Self::read) } else { None },
        read_iter: if F::READABLE {
            Some(Self::read_iter)
        } else {
            None
        },
        unlocked_ioctl: Some(Self::ioctl),
        compat_ioctl: bindings::compat_ptr_ioctl,
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
        if F::READABLE {
            // SAFETY: As above.
            unsafe { super::bindings::afutex_file_set_stream(file) };
        }
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
    unsafe extern "C" fn read(
        file: *mut bindings::file,
        buffer: *mut c_char,
        len: usize,
        _pos: *mut bindings::loff_t,
    ) -> isize {
        // SAFETY: The caller holds the file for the call.
        let data = unsafe { Self::data(file) };
        let out = || UserDest::new(buffer.addr(), len);

        from_result(|| {
            let len = match F::read(&data, out())? {
                0 => {
                    // SAFETY: As above. The flags may change at any time, as a whole.
                    let flags = unsafe { (&raw const (*file).f_flags).read_volatile() };

                    data.read_later(out(), flags & bindings::O_NONBLOCK == 0)?
                }
                len => len,
            };
            Ok(len as isize)
        })
    }

    /// # Safety
    ///
    /// To be called by the VFS only.
    unsafe extern "C" fn read_iter(
        kiocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: The caller holds the file for the call, and the iterator is one to write to.
        let (data, out) = unsafe { (Self::data((*kiocb).ki_filp), IovIterDest::from_raw(iter)) };

        from_result(|| {
            let len = match F::read(&data, &mut *out)? {
                0 => {
                    // SAFETY: As above.
                    let nowait = unsafe { super::bindings::afutex_kiocb_nowait(kiocb) };

                    data.read_later(out, !nowait)?
                }
                len => len,
            };
            Ok(len as isize)
        })
    }

    /// # Safety
    ///
    /// To be called by the VFS only.
    unsafe extern "C" fn ioctl(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
        // SAFETY: The caller holds the file for the call.
        let data = unsafe { Self::data(file) };

        from_result(|| F::ioctl(data, cmd, arg))
    }

    /// # Safety
    ///
    /// To be called by the VFS only.
    unsafe extern "C" fn fasync(fd: c_int, file: *mut bindings::file, on: c_int) -> c_int {
        // SAFETY: The caller holds the file for the call.
        let (data, file) = unsafe { (Self::data(file), File::from_raw_file(file)) };

        from_result(|| data.fasync.update(fd, file, on != 0).map(|()| 0))
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
