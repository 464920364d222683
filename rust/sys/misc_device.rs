// SPDX-License-Identifier: GPL-2.0

//! A misc device that every user may open, and whose opens share a context.
//!
//! C header: [`include/linux/miscdevice.h`](srctree/include/linux/miscdevice.h).
//!
//! A stand-in for [`kernel::miscdevice`], which has neither a mode (its nodes are root's alone) nor
//! a way for `open` to reach data of the module. Upstream it would be two fields more:
//!
//! - `pub mode: u16` in `MiscDeviceOptions`, which `into_raw()` copies to `miscdevice.mode`;
//! - a `T::Data` in `MiscDeviceRegistration<T>`, which `MiscDevice::open` gets beside the
//!   registration: `misc_open()` holds `misc_mtx`, so the registration outlives the call.
//!
//! With these, this file can go.

use core::marker::PhantomData;
use kernel::bindings;
use kernel::container_of;
use kernel::error::{
    from_result,
    to_result, //
};
use kernel::ffi::{
    c_int,
    c_long,
    c_uint,
    c_ulong, //
};
use kernel::module::this_module;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::types::{
    ForeignOwnable,
    Opaque, //
};

/// What a misc device does.
pub(crate) trait MiscDevice: Sized + Send + Sync + 'static {
    /// What all opens of the device share.
    type Context: Send + Sync + 'static;

    /// The name of the node in `/dev`.
    const NAME: &'static CStr;
    /// The permissions of the node.
    const MODE: u16;

    /// Makes the data of a new open file.
    fn open(context: &Arc<Self::Context>) -> Result<Pin<KBox<Self>>>;

    /// Carries out an ioctl, and returns what the caller is to get: a result, or a negative errno.
    /// Addresses in `arg` are those of the caller, 32- or 64-bit.
    fn ioctl(&self, cmd: u32, arg: usize) -> isize;
}

/// A registered misc device; deregistered on drop.
///
/// # Invariants
///
/// `misc` is registered, and its file operations are [`Self::FOPS`].
#[repr(C)]
#[pin_data(PinnedDrop)]
pub(crate) struct Registration<D: MiscDevice> {
    #[pin]
    misc: Opaque<bindings::miscdevice>,
    context: Arc<D::Context>,
    _device: PhantomData<D>,
}

// SAFETY: A misc device may be registered and deregistered from different tasks.
unsafe impl<D: MiscDevice> Send for Registration<D> {}
// SAFETY: There are no `&self` methods but those of `D::Context`.
unsafe impl<D: MiscDevice> Sync for Registration<D> {}

impl<D: MiscDevice> Registration<D> {
    const FOPS: bindings::file_operations = bindings::file_operations {
        owner: this_module::<crate::LocalModule>().as_ptr(),
        open: Some(Self::open),
        release: Some(Self::release),
        unlocked_ioctl: Some(Self::ioctl),
        compat_ioctl: bindings::compat_ptr_ioctl,
        ..pin_init::zeroed()
    };

    /// Creates an initialiser that registers the device.
    ///
    /// Files may be opened before it returns: everything in `context` must be ready.
    ///
    /// # Errors
    ///
    /// What `misc_register` gives: `EBUSY` without a free minor, `EEXIST` if there is such a node,
    /// `ENOMEM`.
    pub(crate) fn new(context: Arc<D::Context>) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            context,
            _device: PhantomData,
            // Last: from here on `open` may look at the other fields.
            misc <- Opaque::try_ffi_init(|slot: *mut bindings::miscdevice| {
                let mut misc: bindings::miscdevice = pin_init::zeroed();
                misc.minor = bindings::MISC_DYNAMIC_MINOR as c_int;
                misc.name = D::NAME.as_char_ptr();
                misc.fops = const { &Self::FOPS };
                misc.mode = D::MODE;

                // SAFETY: The slot is valid for writing, and pinned until `drop` deregisters it.
                // INVARIANT: On success, it is registered.
                to_result(unsafe {
                    slot.write(misc);
                    bindings::misc_register(slot)
                })
            }),
        })
    }

    /// # Safety
    ///
    /// To be called by the VFS for a device registered by `new` only.
    unsafe extern "C" fn open(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: `misc_open` puts the address of the `miscdevice` there, and it is part of a
        // `Self` by the type invariants. `misc_open` holds the lock that `misc_deregister` takes,
        // so it is registered, and its context valid, until this returns.
        let context = unsafe {
            let misc = (*file).private_data.cast::<Opaque<bindings::miscdevice>>();
            &(*container_of!(misc, Self, misc)).context
        };

        from_result(|| {
            let device = D::open(context)?;
            // SAFETY: The file is ours until it is opened.
            unsafe { (*file).private_data = device.into_foreign() };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// To be called by the VFS for files opened by `open` only.
    unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: `open` put it there, and the file is not in use any more.
        drop(unsafe { <Pin<KBox<D>> as ForeignOwnable>::from_foreign((*file).private_data) });
        0
    }

    /// # Safety
    ///
    /// To be called by the VFS for files opened by `open` only.
    unsafe extern "C" fn ioctl(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
        // SAFETY: `open` put it there, and the caller holds the file.
        let device = unsafe { <Pin<KBox<D>> as ForeignOwnable>::borrow((*file).private_data) };

        device.ioctl(cmd, arg)
    }
}

#[pinned_drop]
impl<D: MiscDevice> PinnedDrop for Registration<D> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants it is registered.
        unsafe { bindings::misc_deregister(self.misc.get()) };
    }
}
