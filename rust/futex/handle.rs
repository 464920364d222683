// SPDX-License-Identifier: GPL-2.0

//! What a domain is used by, `/dev/afutex` or a descriptor of its own: from an ioctl to an
//! operation.

use super::count::{
    Counted,
    FDS, //
};
use super::domain::{
    Domain,
    FutexFs, //
};
use super::quota::Quotas;
use super::wake::Waker;
use super::wakee::Wakee;
use super::word::{
    Scope,
    ANY, //
};
use super::{
    call,
    futex2,
    open,
    wake, //
};
use crate::sys::bindings::{
    self,
    afutex_call,
    afutex_domain_args,
    afutex_info, //
};
use crate::sys::pseudo_file::{
    Pollable,
    PseudoFile, //
};
use crate::sys::pseudo_fs::Mount;
use crate::sys::restart::Restarts;
use crate::sys::user_mem::read;
use crate::sys::user_word::UserWord;
use kernel::error::from_result;
use kernel::fs::file::flags;
use kernel::fs::File;
use kernel::ioctl::_IOC_SIZE;
use kernel::mm::virt::VmaNew;
use kernel::prelude::*;
use kernel::seq_file::SeqFile;
use kernel::seq_print;
use kernel::sync::{
    Arc,
    ArcBorrow, //
};
use kernel::transmute::AsBytes;
use kernel::uaccess::{
    UserPtr,
    UserSlice, //
};

/// An open `/dev/afutex`, or an open domain.
#[pin_data]
pub(crate) struct Handle {
    domain: Arc<Domain<Wakee>>,
    mount: Mount<FutexFs>,
    quotas: Quotas,
    /// Calls that wait for a relative time, and were interrupted.
    #[pin]
    restarts: Restarts<afutex_call>,
    /// Of a domain's.
    _count: Option<Counted>,
}

impl Handle {
    /// Creates an initialiser for a new one, that of the current user.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(
        domain: Arc<Domain<Wakee>>,
        count: Option<Counted>,
    ) -> Result<impl PinInit<Self>> {
        let mount = domain.machine().fs.mount()?;
        let quotas = Quotas::new(&domain.machine().users)?;

        Ok(pin_init!(Self {
            domain,
            mount,
            quotas,
            restarts <- Restarts::new(),
            _count: count,
        }))
    }

    /// Carries out an ioctl, and returns its result, or a negative errno.
    #[inline]
    pub(crate) fn carry_out(&self, cmd: u32, arg: usize) -> isize {
        // The calls that are made most, and do least, have a function of their own: a tail call.
        match cmd {
            bindings::AFUTEX_IOC_WAKE_ONE_PRIVATE => self.wake_one_private(arg),
            bindings::AFUTEX_IOC_WAKE_ONE => self.wake_one_shared(arg),
            _ => self.carry_out_with_args(cmd, arg),
        }
    }

    /// `AFUTEX_IOC_WAKE_ONE_PRIVATE`; the errors of [`Waker::wake`].
    #[inline(never)]
    fn wake_one_private(&self, addr: usize) -> isize {
        from_result(|| {
            let word = UserWord::new(addr as u64)?;

            Waker::new(&self.domain.table)
                .wake_one(word, Scope::Private)
                .map(|n| n as isize)
        })
    }

    /// `AFUTEX_IOC_WAKE_ONE`; the errors of [`Waker::wake`].
    #[inline(never)]
    fn wake_one_shared(&self, addr: usize) -> isize {
        from_result(|| {
            let word = UserWord::new(addr as u64)?;

            Waker::new(&self.domain.table)
                .wake_one(word, Scope::Shared)
                .map(|n| n as isize)
        })
    }

    /// `AFUTEX_IOC_WAKE_ALL` and its like; the errors of [`Waker::wake`].
    fn wake_all(&self, addr: usize, scope: Scope) -> Result<isize> {
        let word = UserWord::new(addr as u64)?;

        wake::wake(&self.domain.table, word, scope, u32::MAX, ANY).map(|n| n as isize)
    }

    #[inline(never)]
    fn carry_out_with_args(&self, cmd: u32, arg: usize) -> isize {
        from_result(|| self.decode(cmd, arg))
    }

    #[inline]
    fn decode(&self, cmd: u32, arg: usize) -> Result<isize> {
        let table = &self.domain.table;

        match cmd {
            bindings::AFUTEX_IOC_CALL => call::call(
                &self.domain,
                &self.mount,
                &self.quotas,
                &self.restarts,
                read(arg)?,
            ),
            bindings::AFUTEX_IOC_WAKE_ALL => self.wake_all(arg, Scope::Shared),
            bindings::AFUTEX_IOC_WAKE_ALL_PRIVATE => self.wake_all(arg, Scope::Private),
            bindings::AFUTEX_IOC_OPEN => {
                open::watch(&self.domain, &self.mount, &self.quotas, read(arg)?)
                    .map(|fd| fd as isize)
            }
            bindings::AFUTEX_IOC_SET => {
                open::set(&self.domain, &self.mount, &self.quotas, read(arg)?).map(|fd| fd as isize)
            }
            bindings::AFUTEX_IOC_SET_MAPPED => {
                open::mapped_set(&self.domain, &self.mount, &self.quotas, read(arg)?)
                    .map(|fd| fd as isize)
            }
            bindings::AFUTEX_IOC_DOMAIN => self.another(read(arg)?).map(|fd| fd as isize),
            bindings::AFUTEX_IOC_WAIT => futex2::wait(table, read(arg)?).map(|()| 0),
            bindings::AFUTEX_IOC_WAKE => futex2::wake(table, read(arg)?).map(|n| n as isize),
            bindings::AFUTEX_IOC_REQUEUE => futex2::requeue(table, read(arg)?).map(|n| n as isize),
            bindings::AFUTEX_IOC_WAITV => {
                futex2::waitv(table, &self.quotas, read(arg)?).map(|n| n as isize)
            }
            bindings::AFUTEX_IOC_WAKEV => futex2::wakev(table, read(arg)?).map(|n| n as isize),
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

impl Handle {
    /// `AFUTEX_IOC_DOMAIN`: a descriptor for a new domain. Returns its number.
    ///
    /// # Errors
    ///
    /// `EINVAL` for unknown flags or a reserved field that is not 0; those of [`Domain::another`]
    /// and of [`open::install`].
    fn another(&self, args: afutex_domain_args) -> Result<u32> {
        if args.fd_flags & !flags::O_CLOEXEC != 0 || args.reserved != 0 {
            return Err(EINVAL);
        }

        let domain = self.domain.another(args.buckets, self.quotas.current()?)?;
        let init = Self::new(domain, Some(Counted::new(&FDS)))?;
        open::install(&self.mount, args.fd_flags, 0, init, |_| Ok(()))
    }

    fn native_feature(&self) -> u32 {
        match self.domain.native() {
            Some(_) => bindings::AFUTEX_FEATURE_NATIVE,
            None => 0,
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
            buckets: self.domain.table.buckets() as u32,
            ops: call::COMMANDS
                .iter()
                .fold(0, |ops, command| ops | 1 << command),
            features: (self.native_feature()
                | bindings::AFUTEX_FEATURE_WATCH
                | bindings::AFUTEX_FEATURE_FUTEX2
                | bindings::AFUTEX_FEATURE_WAKES
                | bindings::AFUTEX_FEATURE_SET
                | bindings::AFUTEX_FEATURE_DOMAIN
                | bindings::AFUTEX_FEATURE_MAPPED)
                .into(),
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

/// The file of a domain.
#[vtable]
impl PseudoFile for Handle {
    #[inline]
    fn ioctl(this: ArcBorrow<'_, Pollable<Self>>, cmd: u32, arg: usize) -> Result<isize> {
        match this.carry_out(cmd, arg) {
            done @ 0.. => Ok(done),
            failed => Err(Error::from_errno(failed as i32)),
        }
    }

    fn mmap(this: &Pollable<Self>, vma: &VmaNew) -> Result {
        this.domain.table.map_bell(vma)
    }

    fn show_fdinfo(&self, _file: &File, out: &SeqFile) {
        seq_print!(out, "afutex-buckets:\t{}\n", self.domain.table.buckets());
    }
}
