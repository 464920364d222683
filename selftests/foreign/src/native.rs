// SPDX-License-Identifier: GPL-2.0

//! The wakes of std's locks fire the watches of their words. Std itself is as it is.

use std::fs::File;
use std::mem::size_of;
use std::mem::size_of_val;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::raw::c_int;
use std::os::raw::c_ulong;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};
use std::sync::{Barrier, Condvar, Mutex, Once, RwLock};
use std::thread;
use std::time::Duration;

/// `struct afutex_open` of `<linux/afutex.h>`.
#[repr(C)]
struct Open {
    uaddr: u64,
    val: u64,
    mask: u32,
    flags: u32,
    cookie: u64,
    fd_flags: u32,
    signal: u32,
}

/// `AFUTEX_IOC_OPEN`.
const OPEN: c_ulong = 0x4000_f703 | (size_of::<Open>() as c_ulong) << 16;
/// `FUTEX2_SIZE_U32 | FUTEX2_PRIVATE | AFUTEX_NATIVE`: std's words are private.
const FLAGS: u32 = 0x02 | 0x80 | 0x800;

#[repr(C)]
struct PollFd {
    fd: c_int,
    events: i16,
    revents: i16,
}

const POLLIN: i16 = 1;

extern "C" {
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
    fn poll(fds: *mut PollFd, nr: c_ulong, timeout: c_int) -> c_int;
}

/// A watch for each word of some memory.
struct Watches(Vec<OwnedFd>);

impl Watches {
    fn of_memory(start: usize, len: usize) -> Watches {
        let dev = File::options()
            .read(true)
            .write(true)
            .open("/dev/afutex")
            .expect("/dev/afutex");
        let mut watches = Vec::new();
        for at in (start.next_multiple_of(4)..start + len).step_by(4) {
            let args = Open {
                uaddr: at as u64,
                val: 0,
                mask: !0,
                flags: FLAGS,
                cookie: 0,
                fd_flags: 0o2000000 | 0o4000,
                signal: 0,
            };
            // SAFETY: The call reads `args`, which lives.
            let fd = unsafe { ioctl(dev.as_raw_fd(), OPEN, &args) };
            assert!(
                fd >= 0,
                "AFUTEX_IOC_OPEN: {}",
                std::io::Error::last_os_error()
            );
            // SAFETY: The descriptor is new, and nobody else has it.
            watches.push(unsafe { OwnedFd::from_raw_fd(fd) });
        }
        Watches(watches)
    }

    /// Of an object of std, of which only the size is known.
    fn of<T>(object: &T) -> Watches {
        Watches::of_memory(object as *const T as usize, size_of_val(object))
    }

    /// Of what std knows of a thread: its handle has a pointer to that, among other words.
    fn of_thread(thread: &thread::Thread) -> Watches {
        let handle: *const usize = (thread as *const thread::Thread).cast();
        let mut watches = Vec::new();
        for i in 0..size_of::<thread::Thread>() / size_of::<usize>() {
            // SAFETY: It has as many words, and their alignment.
            let word = unsafe { *handle.add(i) };
            if word > 1 << 16 && word % size_of::<usize>() == 0 {
                watches.append(&mut Watches::of_memory(word, 64).0);
            }
        }
        Watches(watches)
    }

    /// Whether one of them is woken within `ms` milliseconds.
    fn come(&self, ms: c_int) -> bool {
        let mut fds: Vec<PollFd> = self
            .0
            .iter()
            .map(|fd| PollFd {
                fd: fd.as_raw_fd(),
                events: POLLIN,
                revents: 0,
            })
            .collect();
        // SAFETY: The array has as many elements as the call is told.
        unsafe { poll(fds.as_mut_ptr(), fds.len() as c_ulong, ms) > 0 }
    }
}

/// Says which thread is about to sleep.
fn about_to_sleep(tid: &AtomicU32) {
    let link = std::fs::read_link("/proc/thread-self").expect("/proc/thread-self");
    let name = link.file_name().unwrap().to_str().unwrap().to_owned();
    tid.store(name.parse().unwrap(), SeqCst);
}

fn until_it_sleeps(tid: &AtomicU32) {
    loop {
        let path = format!("/proc/self/task/{}/stat", tid.load(SeqCst));
        let stat = std::fs::read_to_string(path).unwrap_or_default();
        if stat
            .rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with('S'))
        {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Watches an object while `sleep` has a thread sleep for it, until `wake` wakes that thread.
fn sees<T: Sync>(name: &str, object: &T, sleep: impl FnOnce(&T) + Send, wake: impl FnOnce(&T)) {
    let tid = &AtomicU32::new(0);
    thread::scope(|scope| {
        scope.spawn(move || {
            about_to_sleep(tid);
            sleep(object);
        });
        until_it_sleeps(tid);
        let watches = Watches::of(object);
        assert!(!watches.come(0), "{name}: woken before it was");
        wake(object);
        assert!(watches.come(10_000), "{name}: the wake was not seen");
    });
    println!("{name}: seen");
}

fn parking() {
    let (tid, go) = (AtomicU32::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let parked = scope.spawn(|| {
            about_to_sleep(&tid);
            while !go.load(SeqCst) {
                thread::park();
            }
        });
        until_it_sleeps(&tid);
        let watches = Watches::of_thread(parked.thread());
        go.store(true, SeqCst);
        parked.thread().unpark();
        assert!(watches.come(10_000), "park: the wake was not seen");
    });
    println!("park: seen");
}

pub fn run() {
    // A thread that is not woken is not waited for.
    std::panic::set_hook(Box::new(|info| {
        eprintln!("{info}");
        std::process::exit(1);
    }));

    let mutex = Mutex::new(0u64);
    let guard = mutex.lock().unwrap();
    sees(
        "Mutex",
        &mutex,
        |mutex| *mutex.lock().unwrap() += 1,
        |_| drop(guard),
    );

    let rwlock = RwLock::new(0u64);
    let guard = rwlock.write().unwrap();
    sees(
        "RwLock",
        &rwlock,
        |rwlock| assert_eq!(*rwlock.read().unwrap(), 0),
        |_| drop(guard),
    );

    let (lock, is_so) = (Mutex::new(()), AtomicBool::new(false));
    sees(
        "Condvar",
        &Condvar::new(),
        |condvar| {
            let mut guard = lock.lock().unwrap();
            while !is_so.load(SeqCst) {
                guard = condvar.wait(guard).unwrap();
            }
        },
        |condvar| {
            let guard = lock.lock().unwrap();
            is_so.store(true, SeqCst);
            drop(guard);
            condvar.notify_one();
        },
    );

    sees(
        "Barrier",
        &Barrier::new(2),
        |it| drop(it.wait()),
        |it| drop(it.wait()),
    );

    // The first caller sleeps until the second does, and that one until the first is done.
    let (once, begun, end) = (Once::new(), AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            once.call_once(|| {
                begun.store(true, SeqCst);
                while !end.load(SeqCst) {
                    thread::yield_now();
                }
            })
        });
        while !begun.load(SeqCst) {
            thread::yield_now();
        }
        sees(
            "Once",
            &once,
            |once| once.call_once(|| ()),
            |_| end.store(true, SeqCst),
        );
    });

    parking();
}
