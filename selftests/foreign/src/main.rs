// SPDX-License-Identifier: GPL-2.0

//! Works what rests on futexes hard, and checks that it did its work: std's locks and channels,
//! parking_lot's, and atomic-wait. Knows nothing of afutex, but for the argument "native".

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use std::sync::mpsc;
use std::sync::{Arc, Barrier, Condvar, Mutex, Once, RwLock};
use std::thread;
use std::time::{Duration, Instant};

mod native;

const THREADS: u64 = 8;

/// Runs `f` in many threads and waits for them.
fn in_threads(f: impl Fn(u64) + Sync) {
    let f = &f;
    thread::scope(|scope| {
        for n in 0..THREADS {
            scope.spawn(move || f(n));
        }
    });
}

fn mutex(rounds: u64) {
    let sum = Mutex::new(0);
    in_threads(|_| {
        for _ in 0..rounds {
            let mut sum = sum.lock().unwrap();
            let was = *sum;
            // Makes it likely that others have to sleep.
            if was % 64 == 0 {
                thread::yield_now();
            }
            *sum = was + 1;
        }
    });
    assert_eq!(*sum.lock().unwrap(), THREADS * rounds);
}

fn rwlock(rounds: u64) {
    let pair = RwLock::new((0, 0));
    in_threads(|n| {
        for i in 0..rounds {
            if (i + n) % 4 == 0 {
                let mut pair = pair.write().unwrap();
                pair.0 += 1;
                if i % 64 == 0 {
                    thread::yield_now();
                }
                pair.1 += 1;
            } else {
                let pair = pair.read().unwrap();
                assert_eq!(pair.0, pair.1);
            }
        }
    });
    assert_eq!(pair.read().unwrap().0, THREADS * rounds / 4);
}

fn condvar(rounds: u64) {
    let turn = (Mutex::new(0u64), Condvar::new());
    in_threads(|n| {
        for i in 0..rounds {
            let mine = i * THREADS + n;
            let mut now = turn.0.lock().unwrap();
            while *now != mine {
                now = turn.1.wait(now).unwrap();
            }
            *now += 1;
            turn.1.notify_all();
        }
    });
    assert_eq!(*turn.0.lock().unwrap(), THREADS * rounds);

    let start = Instant::now();
    let guard = turn.0.lock().unwrap();
    let (_guard, result) = turn
        .1
        .wait_timeout(guard, Duration::from_millis(20))
        .unwrap();
    assert!(result.timed_out() && start.elapsed() >= Duration::from_millis(20));
}

fn once(rounds: u64) {
    for _ in 0..rounds {
        let (once, count) = (Once::new(), AtomicU64::new(0));
        in_threads(|_| {
            once.call_once(|| {
                thread::yield_now();
                count.fetch_add(1, SeqCst);
            });
            assert_eq!(count.load(SeqCst), 1);
        });
    }
}

fn barrier(rounds: u64) {
    let (barrier, leaders) = (Barrier::new(THREADS as usize), AtomicU64::new(0));
    in_threads(|_| {
        for i in 1..=rounds {
            if barrier.wait().is_leader() {
                leaders.fetch_add(1, SeqCst);
            }
            barrier.wait();
            assert_eq!(leaders.load(SeqCst), i);
            barrier.wait();
        }
    });
}

fn channels(rounds: u64) {
    for bound in [0, 1, 64] {
        let (sender, receiver) = mpsc::sync_channel(bound);
        thread::scope(|scope| {
            for n in 0..THREADS {
                let sender = sender.clone();
                scope.spawn(move || {
                    for i in 0..rounds {
                        sender.send(n * rounds + i).unwrap();
                    }
                });
            }
            drop(sender);
            let sum: u64 = receiver.iter().sum();
            let count = THREADS * rounds;
            assert_eq!(sum, count * (count - 1) / 2);
        });
    }
}

fn parking(rounds: u64) {
    let turn = Arc::new(AtomicU64::new(0));
    let main = thread::current();
    let other = {
        let turn = turn.clone();
        thread::spawn(move || {
            for i in 0..rounds {
                while turn.load(Acquire) != 2 * i + 1 {
                    thread::park();
                }
                turn.store(2 * i + 2, Release);
                main.unpark();
            }
        })
    };
    for i in 0..rounds {
        turn.store(2 * i + 1, Release);
        other.thread().unpark();
        while turn.load(Acquire) != 2 * i + 2 {
            thread::park();
        }
    }
    other.join().unwrap();

    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(20) {
        thread::park_timeout(Duration::from_millis(20) - start.elapsed().min(Duration::from_millis(20)));
    }
}

fn parking_lot(rounds: u64) {
    let state = (parking_lot::Mutex::new(0u64), parking_lot::Condvar::new());
    let fair = parking_lot::FairMutex::new(0u64);
    in_threads(|n| {
        for i in 0..rounds {
            let mine = i * THREADS + n;
            let mut now = state.0.lock();
            while *now != mine {
                state.1.wait(&mut now);
            }
            *now += 1;
            // Requeues those who wait to the mutex, in user space.
            state.1.notify_all();
            drop(now);
            *fair.lock() += 1;
        }
    });
    assert_eq!(*fair.lock(), THREADS * rounds);
}

fn atomic_wait(rounds: u64) {
    let turn = AtomicU32::new(0);
    in_threads(|n| {
        for i in 0..rounds {
            let mine = (i * THREADS + n) as u32;
            loop {
                let now = turn.load(Acquire);
                if now == mine {
                    break;
                }
                atomic_wait::wait(&turn, now);
            }
            turn.store(mine + 1, Release);
            atomic_wait::wake_all(&turn);
        }
    });
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("native") {
        return native::run();
    }
    let scale: u64 = std::env::args()
        .nth(1)
        .map_or(1, |arg| arg.parse().expect("a number"));
    let work: [(&str, fn(u64), u64); 9] = [
        ("Mutex", mutex, 20000),
        ("RwLock", rwlock, 20000),
        ("Condvar", condvar, 200),
        ("Once", once, 200),
        ("Barrier", barrier, 300),
        ("mpsc", channels, 1000),
        ("park", parking, 3000),
        ("parking_lot", parking_lot, 200),
        ("atomic-wait", atomic_wait, 200),
    ];

    for (name, run, rounds) in work {
        let start = Instant::now();
        run(rounds * scale);
        println!("{name}: done in {:.1} s", start.elapsed().as_secs_f32());
    }
}
