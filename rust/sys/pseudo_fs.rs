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
//! module is loaded it could never be removed, so the mount is made when the first [`Mount`] is
//! asked for and goes with the last of them and of the files: exactly as long as it is needed.

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
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::Arc;
use kernel::types::Opaque;

use super::pseudo_file::{
    Operations,
    Pollable,
    PseudoFile, //
};
use super::sigio;

/// What tells one pseudo-filesystem from another.
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
///
/// # Invariants
///
/// `mount` and `mount_count` are only used by `simple_pin_fs` and `simple_release_fs`, and
/// `mount` is the internal mount whenever the count is not 0.
#[pin_data]
pub(crate) struct PseudoFs<T: PseudoFsType> {
    #[pin]
    mount: Opaque<*mut bindings::vfsmount>,
    #[pin]
    mount_count: Opaque<c_int>,
    _registered: Registered<T>,
}

// SAFETY: The fields are used under the locks of the VFS only.
unsafe impl<T: PseudoFsType> Send for PseudoFs<T> {}
// SAFETY: As above.
unsafe impl<T: PseudoFsType> Sync for PseudoFs<T> {}

impl<T: PseudoFsType> PseudoFs<T> {
    const DENTRY_OPS: bindings::dentry_operations = bindings::dentry_operations {
        d_dname: Some(Self::dname),
        ..pin_init::zeroed()
    };

    /// Creates an initialiser that registers the filesystem.
    ///
    /// # Errors
    ///
    /// `EBUSY` if there is one of that name.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            mount: Opaque::new(ptr::null_mut()),
            mount_count: Opaque::new(0),
            _registered: Registered::new()?,
        })
    }

    /// Holds the internal mount, which is made if there is none.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn mount(self: &Arc<Self>) -> Result<Mount<T>> {
        // SAFETY: The type is registered, and the other two are initialised and used by this
        // pair of functions only.
        to_result(unsafe {
            bindings::simple_pin_fs(
                T::fs_type().inner.get(),
                self.mount.get(),
                self.mount_count.get(),
            )
        })?;
        // SAFETY: The mount was written under a lock before we counted ourselves under that lock,
        // and stays until we are counted off.
        let mnt = unsafe { *self.mount.get() };
        let pin = MountPin {
            fs: self.clone(),
            mnt,
        };

        // SAFETY: `mnt` is a valid mount as long as `pin` holds it, and it has a superblock.
        let inode = from_err_ptr(unsafe { bindings::alloc_anon_inode((*mnt).mnt_sb) })?;
        // INVARIANT: We own the new inode's reference, and it is of this mount's superblock.
        Ok(Mount {
            inode: NonNull::new(inode).ok_or(ENOMEM)?,
            pin,
        })
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

/// A count on the internal mount.
///
/// # Invariants
///
/// `simple_pin_fs` was called once for this, and `mnt` is the mount it gave.
struct MountPin<T: PseudoFsType> {
    fs: Arc<PseudoFs<T>>,
    mnt: *mut bindings::vfsmount,
}

impl<T: PseudoFsType> Drop for MountPin<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants we are counted.
        unsafe {
            bindings::simple_release_fs(self.fs.mount.get(), self.fs.mount_count.get());
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
                self.pin.mnt,
                c"[futex]".as_char_ptr(),
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

        // SAFETY: The file is new: nobody else knows it, nobody holds its position lock, and its
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
