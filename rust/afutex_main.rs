// SPDX-License-Identifier: GPL-2.0

//! afutex: futex words behind file descriptors.
//!
//! `/dev/afutex` does what futex(2) does, in a wait domain of its own, and gives out file
//! descriptors that become readable when a futex word is woken.
//!
//! Two storeys. [`sys`] wraps what the `kernel` crate lacks, and has all unsafe code. [`futex`] is
//! the futex itself; its head lists the layers. A call comes in at the top, `device`, and goes down:
//! `device`, `call` and `futex2` decode an ioctl; `wait`, `waitv`, `watch/file`, `set/ctl`,
//! `set/read` and `open` are what a caller can do; `wakee` lists what can be woken; `requeue`,
//! `wake_op`, `wake` and `arm` are what can be done to the `table`; `bucket` has the locks, `key` the
//! identity of a word.
//!
//! The ABI is stated in `include/uapi/linux/afutex.h` and documented in
//! `Documentation/afutex.rst`; the design is in `Documentation/design.rst`.

mod futex;
mod sys;

use futex::device::Device;
use futex::domain::Domain;
use futex::stats::Stats;
use futex::wakee::Wakee;
use kernel::prelude::*;
use kernel::sync::Arc;
use sys::misc_device::Registration;

module! {
    type: Afutex,
    name: "afutex",
    authors: ["The afutex authors"],
    description: "Futex words behind file descriptors",
    license: "GPL",
    params: {
        buckets: u64 {
            default: 0,
            description: "Buckets of the futex table, a power of two (default: by CPUs and memory)",
        },
        max_user_watches: u64 {
            default: 0,
            description: "Watches in sets that a user may have (default: 4 % of memory)",
        },
    },
}

/// The loaded module.
#[pin_data]
struct Afutex {
    // Fields are dropped in this order: no new opens, then no readers of the statistics.
    #[pin]
    _device: Registration<Device>,
    #[pin]
    _stats: Stats,
}

impl kernel::InPlaceModule for Afutex {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        sys::user_word::UserWord::init();
        pin_init::pin_init_scope(|| {
            let buckets = usize::try_from(module_parameters::buckets.value())?;
            let max_user_watches = usize::try_from(module_parameters::max_user_watches.value())?;
            let domain =
                Arc::pin_init(Domain::<Wakee>::new(buckets, max_user_watches)?, GFP_KERNEL)?;

            Ok(try_pin_init!(Self {
                _stats <- Stats::new(domain.clone()),
                // Last: from here on the device can be opened.
                _device <- Registration::new(domain),
            }? Error))
        })
    }
}
