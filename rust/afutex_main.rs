// SPDX-License-Identifier: GPL-2.0

//! afutex: futex words behind file descriptors.
//!
//! `/dev/afutex` does what futex(2) does, in a wait domain of its own, and gives out file
//! descriptors that become readable when a futex word is woken.
//!
//! Two storeys. [`sys`] wraps what the `kernel` crate lacks, and has all unsafe code. [`futex`] is
//! the futex itself; its head lists the layers. A call comes in at the top, `device`, and goes
//! down: `device`, `call` and `futex2` decode an ioctl; `wait`, `waitv`, `watch/file`, `set/ctl`,
//! `set/read` and `open` are what a caller can do; `wakee` lists what can be woken; `requeue`,
//! `wake_op`, `wake` and `arm` are what can be done to the `table`; `bucket` has the locks, `key`
//! the identity of a word.
//!
//! The ABI is stated in `include/uapi/linux/afutex.h` and documented in
//! `Documentation/afutex.rst`; the design is in `Documentation/design.rst`.

mod futex;
mod sys;

use futex::domain::Domain;
use futex::handle::Handle;
use futex::stats::Stats;
use futex::wakee::Wakee;
use kernel::prelude::*;
use sys::futex_hook;
use sys::misc_device::Registration;
use sys::params;

module! {
    type: Afutex,
    name: "afutex",
    authors: ["The afutex authors"],
    description: "Futex words behind file descriptors",
    license: "GPL",
}

/// The loaded module.
#[pin_data]
struct Afutex {
    // Fields are dropped in this order: no new opens, then no readers of the statistics,
    // then no wakes of futex(2).
    #[pin]
    _device: Registration<Handle>,
    #[pin]
    _stats: Stats,
    _native: Option<futex_hook::Registration<Domain<Wakee>>>,
}

impl kernel::InPlaceModule for Afutex {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        sys::user_word::UserWord::init();
        params::init();
        pin_init::pin_init_scope(|| {
            let functions = match params::native() {
                true => futex_hook::Functions::find()?,
                false => None,
            };
            let domain = Domain::<Wakee>::of_machine(params::buckets(), functions.is_some())
                .inspect_err(|err| pr_err!("no futex table: {:?}\n", err))?;

            params::note_buckets(domain.table.buckets());
            Ok(try_pin_init!(Self {
                _native: functions
                    .zip(domain.native().cloned())
                    .map(|(functions, native)| futex_hook::Registration::new(functions, native)),
                _stats <- Stats::new(domain.machine().clone()),
                // Last: from here on the device can be opened.
                _device <- Registration::new(domain),
            }? Error))
        })
    }
}
