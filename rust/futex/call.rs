// SPDX-License-Identifier: GPL-2.0

//! `/dev/afutex`: from an ioctl to an operation.

use super::key::Scope;
use super::{
    fd,
    wait,
    wake,
    FutexFs,
    Futexes, //
};
use crate::sys::bindings::{
    self,
    afutex_call,
    afutex_info, //
};
use crate::sys::misc_device::MiscDevice;
use crate::sys::pseudo_fs::Mount;
use crate::sys::task::Deadline;
use crate::sys::user_word::UserWord;
use kernel::ioctl::_IOC_SIZE;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::transmute::AsBytes;
use kernel::uaccess::{
    UserPtr,
    UserSlice, //
};

/// An open `/dev/afutex`.
pub(crate) struct Device {
    futexes: Arc<Futexes>,
    mount: Mount<FutexFs>,
}

impl MiscDevice for Device {
    type Context = Futexes;

    const NAME: &'static CStr = c"afutex";
    const MODE: u16 = 0o666;

    fn open(futexes: &Arc<Futexes>) -> Result<KBox<Self>> {
        Ok(KBox::new(
            Self {
                futexes: futexes.clone(),
                mount: futexes.fs.mount()?,
            },
            GFP_KERNEL_ACCOUNT,
        )?)
    }

    fn ioctl(&self, cmd: u32, arg: usize) -> Result<isize> {
        match cmd {
            bindings::AFUTEX_IOC_CALL => self.call(arg),
            _ if is_info(cmd) => self.info(_IOC_SIZE(cmd), arg),
            _ => Err(ENOTTY),
        }
    }
}

/// Whether `cmd` is `AFUTEX_IOC_INFO`, of whatever size.
fn is_info(cmd: u32) -> bool {
    const SIZE_MASK: u32 = kernel::uapi::_IOC_SIZEMASK << kernel::uapi::_IOC_SIZESHIFT;

    cmd & !SIZE_MASK == bindings::AFUTEX_IOC_INFO & !SIZE_MASK
}

/// The commands that `call` carries out.
const COMMANDS: [u32; 3] = [
    bindings::FUTEX_WAIT,
    bindings::FUTEX_WAKE,
    bindings::FUTEX_FD,
];

impl Device {
    /// `AFUTEX_IOC_CALL`: futex(2), as a structure.
    ///
    /// # Errors
    ///
    /// `EFAULT` if the structure cannot be read, `EINVAL` if its padding is not 0, `ENOSYS` for a
    /// command or a flag that is not known or not for that command; those of the operation.
    fn call(&self, arg: usize) -> Result<isize> {
        let call: afutex_call = UserSlice::new(UserPtr::from_addr(arg), size_of::<afutex_call>())
            .reader()
            .read()?;
        if call.pad != 0 {
            return Err(EINVAL);
        }

        let command = call.op & bindings::AFUTEX_CMD_MASK;
        let flags = call.op & !bindings::AFUTEX_CMD_MASK;
        let scope = match flags {
            0 => Scope::Shared,
            bindings::FUTEX_PRIVATE_FLAG => Scope::Private,
            _ => return Err(ENOSYS),
        };
        // futex(2) reads the timeout before it looks at anything else.
        let deadline = match (command, call.timeout) {
            (bindings::FUTEX_WAIT, 1..) => Some(Deadline::after_user_timespec(
                usize::try_from(call.timeout).map_err(|_| EFAULT)?,
            )?),
            _ => None,
        };
        if !COMMANDS.contains(&command) {
            return Err(ENOSYS);
        }

        let word = UserWord::new(call.uaddr)?;
        match command {
            bindings::FUTEX_WAIT => {
                wait::wait(&self.futexes, word, scope, call.val, deadline).map(|()| 0)
            }
            bindings::FUTEX_WAKE => {
                // As in futex(2), the count is an int, and no count means one.
                let count = (call.val as i32).max(1) as u32;
                wake::wake(&self.futexes, word, scope, count).map(|woken| woken as isize)
            }
            bindings::FUTEX_FD => {
                fd::open(&self.futexes, &self.mount, word, scope, call.val).map(|fd| fd as isize)
            }
            _ => Err(ENOSYS),
        }
    }

    /// `AFUTEX_IOC_INFO`: as much of the information as the caller knows of, then zeros.
    ///
    /// # Errors
    ///
    /// `EFAULT`.
    fn info(&self, size: usize, arg: usize) -> Result<isize> {
        let info = afutex_info {
            version: bindings::AFUTEX_VERSION,
            buckets: self.futexes.table.buckets() as u32,
            ops: COMMANDS.iter().fold(0, |ops, command| ops | 1 << command),
            features: 0,
        };
        let known = info.as_bytes();
        let mut out = UserSlice::new(UserPtr::from_addr(arg), size).writer();

        out.write_slice(&known[..size.min(known.len())])?;
        while !out.is_empty() {
            out.write(&0u8)?;
        }
        Ok(0)
    }
}
