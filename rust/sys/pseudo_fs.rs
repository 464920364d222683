// SPDX-License-Identifier: GPL-2.0

//! A pseudo-filesystem: registered, never mounted by users, whose files live on an internal mount.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h),
//! [`include/linux/pseudo_fs.h`](srctree/include/linux/pseudo_fs.h).
//!
//! # What keeps the module loaded
//!
//! An `O_PATH` handle of a file keeps the mount and the dentry, but not the module. The superblock
//! does: it holds a reference to its type, whose owner is the module. With a mount made when the
//! module is loaded it could never be removed, so the mount is made for the first [`Mount`] that is
//! asked for, and goes with the last of them and of the files.
//!
//! # What a close costs
//!
//! `mntput()` takes the global `mount_lock` if the mount has no namespace. `kern_mount()` gives it
//! one, which the mount of anonymous inodes has too, and `kern_unmount()` takes that away again and
//! waits for an RCU grace period. So the drop of the last [`Mount`] leaves the unmounting to a work
//! item: closing a device does not wait, and the next open may find the mount still there.

use super::bindings as afutex;
use core::marker::PhantomData;
use core::ptr::{
    self,
    NonNull, //
};
use kernel::bindings;
use kernel::error::{
    from_err_ptr,
    to_result, //
};
use kernel::ffi::{
    c_char,
    c_int, //
};
use kernel::fs::File;
use kernel::module::this_module;
use kernel::new_mutex;
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::{
    Arc,
    Mutex, //
};
use kernel::types::Opaque;
use kernel::workqueue::{
    self,
    impl_has_work,
    new_work,
    Work,
    WorkItem, //
};

use super::pseudo_file::{
    Operations,
    Pollable,
    PseudoFile, //
};
use super::sigio;

/// What distinguishes pseudo-filesystems.
pub(crate) trait PseudoFsType: Sized + 'static {
    /// Its name in `/proc/filesystems`.
    const NAME: &'static CStr;
    /// What `statfs` reports as `f_type`.
    const MAGIC: usize;
    /// What the link in `/proc/PID/fd` of each of its files reads, with a final NUL.
    const LINK: &'static [u8];

    /// Its `file_system_type`: always the same `static`, made by [`FsType::new`].
    fn fs_type() -> &'static FsType<Self>;
}

/// A `struct file_system_type`. It holds lock classes, which have to be static.
pub(crate) struct FsType<T> {
    inner: Opaque<bindings::file_system_type>,
    _type: PhantomData<fn() -> T>,
}

// SAFETY: It is only used by the VFS, under its locks.
unsafe impl<T> Sync for FsType<T> {}

impl<T: PseudoFsType> FsType<T> {
    /// Makes one that is not registered.
    pub(crate) const fn new() -> Self {
        let mut fs_type: bindings::file_system_type = pin_init::zeroed();

        fs_type.owner = this_module::<crate::LocalModule>().as_ptr();
        fs_type.name = kernel::str::as_char_ptr_in_const_context(T::NAME);
        fs_type.init_fs_context = Some(PseudoFs::<T>::init_fs_context);
        fs_type.kill_sb = Some(bindings::kill_anon_super);
        Self {
            inner: Opaque::new(fs_type),
            _type: PhantomData,
        }
    }
}

/// A registered pseudo-filesystem; unregistered on drop.
pub(crate) struct Registration<T: PseudoFsType> {
    fs: Arc<PseudoFs<T>>,
}

impl<T: PseudoFsType> Registration<T> {
    /// Registers the filesystem.
    ///
    /// # Errors
    ///
    /// `EBUSY` if there is one of that name, `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            fs: Arc::pin_init(PseudoFs::new(), GFP_KERNEL)?,
        })
    }

    /// Holds the internal mount, which is made if there is none. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn mount(&self) -> Result<Mount<T>> {
        self.fs.mount()
    }
}

impl<T: PseudoFsType> Drop for Registration<T> {
    fn drop(&mut self) {
        // The work item has let the superblock go, and with it the module, before it returns.
        //
        // SAFETY: The work item was initialised with the filesystem, and lives as long.
        unsafe { bindings::flush_work(Work::raw_get(&raw const self.fs.unmount)) };
    }
}

/// The internal mount.
///
/// # Invariants
///
/// `mnt` was made by `kern_mount`, and not unmounted. It is there if `users` is not 0.
struct Internal {
    mnt: Option<NonNull<bindings::vfsmount>>,
    /// How many [`MountPin`]s there are.
    users: usize,
}

// SAFETY: A mount may be used from any task.
unsafe impl Send for Internal {}

/// What a [`Registration`] and its mounts share.
#[pin_data]
struct PseudoFs<T: PseudoFsType> {
    #[pin]
    internal: Mutex<Internal>,
    #[pin]
    unmount: Work<Self>,
    _registered: Registered<T>,
}

impl_has_work! {
    impl{T: PseudoFsType} HasWork<Self> for PseudoFs<T> { self.unmount }
}

impl<T: PseudoFsType> WorkItem for PseudoFs<T> {
    type Pointer = Arc<Self>;

    /// Unmounts, if the mount is still without users.
    fn run(this: Arc<Self>) {
        let unused = {
            let mut internal = this.internal.lock();

            if internal.users == 0 {
                internal.mnt.take()
            } else {
                None
            }
        };

        if let Some(mnt) = unused {
            // SAFETY: By the type invariants of `Internal`, of which it is no part any more.
            unsafe { bindings::kern_unmount(mnt.as_ptr()) };
        }
    }
}

impl<T: PseudoFsType> PseudoFs<T> {
    const DENTRY_OPS: bindings::dentry_operations = bindings::dentry_operations {
        d_dname: Some(Self::dname),
        ..pin_init::zeroed()
    };

    const INODE_OPS: bindings::inode_operations = bindings::inode_operations {
        setattr: Some(Self::setattr),
        ..pin_init::zeroed()
    };

    fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            internal <- new_mutex!(Internal { mnt: None, users: 0 }, "pseudo_fs_internal"),
            unmount <- new_work!("pseudo_fs_unmount"),
            _registered: Registered::new()?,
        })
    }

    /// Holds the internal mount, which is made if there is none; `ENOMEM`.
    fn pin(self: &Arc<Self>) -> Result<MountPin<T>> {
        let mut internal = self.internal.lock();
        let mnt = match internal.mnt {
            Some(mnt) => mnt,
            None => {
                // SAFETY: The type is registered.
                let mnt = from_err_ptr(unsafe { bindings::kern_mount(T::fs_type().inner.get()) })?;
                // INVARIANT: Just made.
                *internal.mnt.insert(NonNull::new(mnt).ok_or(ENOMEM)?)
            }
        };

        // INVARIANT: It is there, and stays until the pin is dropped.
        internal.users += 1;
        Ok(MountPin {
            fs: self.clone(),
            mnt,
        })
    }

    fn mount(self: &Arc<Self>) -> Result<Mount<T>> {
        let pin = self.pin()?;

        // SAFETY: The mount is valid as long as `pin` holds it.
        let superblock = unsafe { (*pin.mnt.as_ptr()).mnt_sb };
        // SAFETY: A mount has a superblock, and keeps it.
        let inode = from_err_ptr(unsafe { bindings::alloc_anon_inode(superblock) })?;
        // SAFETY: The inode is new, and not published.
        unsafe { (*inode).i_op = const { &Self::INODE_OPS } };
        // INVARIANT: We own the new inode's reference, and it is of this mount's superblock.
        Ok(Mount {
            inode: NonNull::new(inode).ok_or(ENOMEM)?,
            pin,
        })
    }

    /// Refuses to change mode, owner or times: the files of one [`Mount`] share an inode.
    ///
    /// # Safety
    ///
    /// To be called by the VFS only.
    unsafe extern "C" fn setattr(
        _idmap: *mut bindings::mnt_idmap,
        _dentry: *mut bindings::dentry,
        _attr: *mut bindings::iattr,
    ) -> c_int {
        EOPNOTSUPP.to_errno()
    }

    /// Refuses mounts that users ask for, with `EINVAL`.
    ///
    /// # Safety
    ///
    /// To be called by the VFS with a new context.
    unsafe extern "C" fn init_fs_context(fc: *mut bindings::fs_context) -> c_int {
        // SAFETY: The context is valid, and ours to set up.
        unsafe {
            if !afutex::afutex_fs_context_is_internal(fc) {
                return EINVAL.to_errno();
            }

            let ctx = afutex::init_pseudo(fc, T::MAGIC);
            if ctx.is_null() {
                return ENOMEM.to_errno();
            }
            (*ctx).dops = const { &Self::DENTRY_OPS };
        }
        0
    }

    /// Puts the name of a file at the end of a buffer, as `->d_dname` is to do.
    ///
    /// # Safety
    ///
    /// `buffer` must be valid for writing `len` bytes.
    unsafe extern "C" fn dname(
        _dentry: *mut bindings::dentry,
        buffer: *mut c_char,
        len: c_int,
    ) -> *mut c_char {
        let Some(at) = usize::try_from(len)
            .ok()
            .and_then(|len| len.checked_sub(T::LINK.len()))
        else {
            return ENAMETOOLONG.to_ptr();
        };

        // SAFETY: The last `T::LINK.len()` bytes of the buffer are in the buffer.
        unsafe {
            let name = buffer.add(at);
            ptr::copy_nonoverlapping(T::LINK.as_ptr(), name.cast(), T::LINK.len());
            name
        }
    }
}

/// The registration of `T::fs_type()`.
///
/// # Invariants
///
/// It is registered, by this.
struct Registered<T: PseudoFsType>(PhantomData<fn() -> T>);

impl<T: PseudoFsType> Registered<T> {
    fn new() -> Result<Self> {
        // SAFETY: The type is static and set up. It is refused if it is registered already.
        to_result(unsafe { bindings::register_filesystem(T::fs_type().inner.get()) })?;
        // INVARIANT: Just registered.
        Ok(Self(PhantomData))
    }
}

impl<T: PseudoFsType> Drop for Registered<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants it is registered. It fails only if it were not.
        unsafe { bindings::unregister_filesystem(T::fs_type().inner.get()) };
    }
}

/// A use of the internal mount.
///
/// # Invariants
///
/// It is counted in `fs.internal`, whose mount is `mnt`.
struct MountPin<T: PseudoFsType> {
    fs: Arc<PseudoFs<T>>,
    mnt: NonNull<bindings::vfsmount>,
}

impl<T: PseudoFsType> Drop for MountPin<T> {
    fn drop(&mut self) {
        let is_last = {
            let mut internal = self.fs.internal.lock();

            // By the type invariants it is not 0.
            internal.users -= 1;
            internal.users == 0
        };

        if is_last {
            // If it is queued already it has not looked yet.
            let _ = workqueue::system_long().enqueue(self.fs.clone());
        }
    }
}

/// The internal mount, and an inode on it for the files made here.
///
/// # Invariants
///
/// This owns a reference to `inode`, which is of the superblock of `pin.mnt`.
pub(crate) struct Mount<T: PseudoFsType> {
    inode: NonNull<bindings::inode>,
    pin: MountPin<T>,
}

// SAFETY: Inodes and mounts may be used from any task.
unsafe impl<T: PseudoFsType> Send for Mount<T> {}
// SAFETY: As above.
unsafe impl<T: PseudoFsType> Sync for Mount<T> {}

impl<T: PseudoFsType> Mount<T> {
    /// Makes a file that is open for reading and writing, as `O_RDWR` and `flags` say, and is to be
    /// installed as `fd`.
    ///
    /// If `signal` is not 0, and valid, it is what the file sends to the current process.
    ///
    /// # Errors
    ///
    /// `ENFILE` over the system's limit of open files, `ENOMEM`.
    pub(crate) fn create<F: PseudoFile>(
        &self,
        data: &Arc<Pollable<F>>,
        flags: u32,
        fd: u32,
        signal: u32,
    ) -> Result<ARef<File>> {
        let file = self.allocate(data.clone(), flags)?;

        if signal != 0 {
            sigio::own(&file, signal)?;
            data.signal_on(fd, &file)?;
        }
        Ok(file)
    }

    /// `data` is dropped on error, not released.
    fn allocate<F: PseudoFile>(&self, data: Arc<Pollable<F>>, flags: u32) -> Result<ARef<File>> {
        // `__fput` drops a reference to the owner of the operations that `alloc_file_pseudo` does
        // not take. On success it is the file's.
        //
        // SAFETY: The module is running this, so it has a reference that can be added to.
        unsafe { bindings::__module_get(this_module::<crate::LocalModule>().as_ptr()) };

        // SAFETY: Inode and mount are valid by the type invariants. On success the file owns one
        // more reference to the inode, which we take first and give back on failure.
        let file = from_err_ptr(unsafe {
            bindings::ihold(self.inode.as_ptr());
            bindings::alloc_file_pseudo(
                self.inode.as_ptr(),
                self.pin.mnt.as_ptr(),
                T::NAME.as_char_ptr(),
                (bindings::O_RDWR | flags) as c_int,
                Operations::<F>::get(),
            )
        })
        .inspect_err(|_| {
            // SAFETY: Both references are still ours.
            unsafe {
                bindings::iput(self.inode.as_ptr());
                bindings::module_put(this_module::<crate::LocalModule>().as_ptr());
            }
        })?;

        // SAFETY: The file is new: it is not published, its position lock is not held, and its
        // operations, which expect this kind of private data, have not been called yet. We own its
        // only reference.
        unsafe {
            Operations::<F>::attach(file, data);
            Ok(ARef::from_raw(NonNull::new_unchecked(file.cast())))
        }
    }
}

impl<T: PseudoFsType> Drop for Mount<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants we own a reference. The mount, and so the superblock,
        // is given up after it.
        unsafe { bindings::iput(self.inode.as_ptr()) };
    }
}
