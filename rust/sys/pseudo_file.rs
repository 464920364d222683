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
use super::time::Deadline;
use super::user_mem::{
    Dest,
    UserDest, //
};
use core::marker::PhantomData;
use core::ops::Deref;
use kernel::bindings;
use kernel::error::{
    from_result,
    VTABLE_DEFAULT_ERROR, //
};
use kernel::ffi::{
    c_char,
    c_int,
    c_long,
    c_uint,
    c_ulong, //
};
use kernel::fs::file::flags::O_NONBLOCK;
use kernel::fs::{
    File,
    Kiocb, //
};
use kernel::iov::IovIterDest;
use kernel::mm::virt::VmaNew;
use kernel::module::this_module;
use kernel::prelude::*;
use kernel::seq_file::SeqFile;
use kernel::static_lock_class;
use kernel::sync::{
    Arc,
    ArcBorrow, //
};
use kernel::types::ForeignOwnable;

/// What a file of a pseudo-filesystem does. Without `read`, read(2) is `EINVAL`.
#[vtable]
pub(crate) trait PseudoFile: Sized + Send + Sync + 'static {
    /// The events that hold now, as poll(2) names them. Called under spinlocks of the caller's.
    ///
    /// Without this, nothing can wait for the file: poll(2) finds it ready, and epoll_ctl(2) is
    /// `EPERM`.
    fn ready(&self) -> u32 {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The last reference to the file is gone. May run in any task's context, or a kworker's.
    fn release(&self) {}

    /// Reads what there is into `out`. Returns the number of bytes; 0 if there is nothing yet.
    ///
    /// Must not be called with locks held.
    fn read(_this: &Pollable<Self>, _out: impl Dest) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Carries out an ioctl on the file.
    fn ioctl(_this: ArcBorrow<'_, Pollable<Self>>, _cmd: u32, _arg: usize) -> Result<isize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sets up a new mapping. Without this, mmap(2) is `ENODEV`.
    fn mmap(_this: &Pollable<Self>, _vma: &VmaNew) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Shows the file's state in `/proc/PID/fdinfo/FD`.
    fn show_fdinfo(&self, file: &File, out: &SeqFile);
}

/// A `T` behind a file, with its listeners.
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
    /// Creates an initialiser without listeners.
    pub(crate) fn new(inner: impl PinInit<T>) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: Only `Operations::poll` registers pollers, for files that hold a reference
            // to this until their release.
            head <- unsafe { PollHead::new(static_lock_class!()) },
            fasync: FasyncList::new(),
            inner <- inner,
        })
    }

    /// Notifies the listeners that `T` became readable. No lock may be held.
    pub(crate) fn notify_readable(&self) {
        self.head.wake_readers(&self.fasync);
    }

    /// Whether there are listeners. May be called under a spinlock, after the state changed and a
    /// full barrier: a poller that comes later sees what changed.
    #[inline]
    pub(crate) fn has_listeners(&self, fenced: Fenced) -> bool {
        self.head.has_listeners(&self.fasync, fenced)
    }

    /// Like `notify_readable`, if it [has listeners](Self::has_listeners).
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
    /// What `F_SETFL` with `O_ASYNC` does, for a file that is not published.
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
        poll: if F::HAS_READY { Some(Self::poll) } else { None },
        fasync: if F::HAS_READY {
            Some(Self::fasync)
        } else {
            None
        },
        release: Some(Self::release),
        // read(2) spares the iterator.
        read: if F::HAS_READ { Some(Self::read) } else { None },
        read_iter: if F::HAS_READ {
            Some(Self::read_iter)
        } else {
            None
        },
        unlocked_ioctl: if F::HAS_IOCTL {
            Some(Self::ioctl)
        } else {
            None
        },
        compat_ioctl: if F::HAS_IOCTL {
            bindings::compat_ptr_ioctl
        } else {
            None
        },
        mmap: if F::HAS_MMAP { Some(Self::mmap) } else { None },
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
    /// `file` must be a new file with these operations, not yet published.
    pub(super) unsafe fn attach(file: *mut bindings::file, data: Arc<Pollable<F>>) {
        // SAFETY: Nobody else uses the file by the safety requirements.
        unsafe { (*file).private_data = data.into_foreign() };
        if F::HAS_READ {
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
                    // SAFETY: As above.
                    let flags = unsafe { File::from_raw_file(file) }.flags();

                    data.read_later(out(), flags & O_NONBLOCK == 0)?
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
        let (kiocb, out) = unsafe {
            (
                Kiocb::<'_, Arc<Pollable<F>>>::from_raw(kiocb),
                IovIterDest::from_raw(iter),
            )
        };
        let data = kiocb.file();

        from_result(|| {
            let len = match F::read(&data, &mut *out)? {
                0 => {
                    // SAFETY: As above.
                    let nowait = unsafe { super::bindings::afutex_kiocb_nowait(kiocb.as_raw()) };

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
    /// To be called by the VFS only, for a VMA that is being set up.
    unsafe extern "C" fn mmap(
        file: *mut bindings::file,
        vma: *mut bindings::vm_area_struct,
    ) -> c_int {
        // SAFETY: The caller holds the file for the call, and nobody else has the VMA.
        let (data, vma) = unsafe { (Self::data(file), VmaNew::from_raw(vma)) };

        from_result(|| F::mmap(&data, vma).map(|()| 0))
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
        // SAFETY: `attach` put it there, and the file is not in use any more.
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
