// SPDX-License-Identifier: GPL-2.0

//! `/dev/afutex`: the domain of the whole machine.
//!
//! It has no bell page: that would tell each user which offsets others wait at, and when.

use super::domain::Domain;
use super::handle::Handle;
use super::wakee::Wakee;
use crate::sys::misc_device::MiscDevice;
use kernel::prelude::*;
use kernel::sync::Arc;

impl MiscDevice for Handle {
    type Context = Domain<Wakee>;

    const NAME: &'static CStr = c"afutex";
    const MODE: u16 = 0o666;

    fn open(domain: &Arc<Domain<Wakee>>) -> Result<Pin<KBox<Self>>> {
        KBox::pin_init(Self::new(domain.clone(), None)?, GFP_KERNEL_ACCOUNT)
    }

    #[inline]
    fn ioctl(&self, cmd: u32, arg: usize) -> isize {
        self.carry_out(cmd, arg)
    }
}
