// SPDX-License-Identifier: GPL-2.0

//! The hash of a key: the number of its bucket.

use super::key::Key;
use crate::sys::machine;
use kernel::prelude::*;

/// A seeded hash function onto a power of two of buckets.
pub(crate) struct Hash {
    /// Secret, so that no user can choose words that share a bucket.
    seed: [u64; 2],
    /// What is left of 63 bits by a bucket's number.
    shift: u32,
}

impl Hash {
    /// Creates one for `buckets`, a power of two.
    pub(crate) fn new(buckets: usize) -> Self {
        Self {
            seed: [machine::random_u64(), machine::random_u64()],
            shift: 63u32.wrapping_sub(buckets.trailing_zeros()),
        }
    }

    /// The number of the bucket of `key`.
    ///
    /// A multiplication of 64 by 64 bits with both halves folded: the mixing step of wyhash
    /// (<https://github.com/wangyi-fudan/wyhash>). The product of numbers at regular distances is
    /// too regular by itself: a second multiplication, by the golden ratio, of which the highest
    /// bits are taken, is that of `hash_64` in `include/linux/hash.h`.
    #[inline]
    pub(crate) fn bucket(&self, key: &Key) -> usize {
        const GOLDEN_RATIO: u64 = 0x61c8_8646_80b5_83eb;

        let (object, offset) = key.parts();
        let a = object ^ self.seed[0];
        let b = offset ^ self.seed[1];
        let product = u128::from(a) * u128::from(b);
        let folded = (product >> 64) as u64 ^ product as u64;

        (folded.wrapping_mul(GOLDEN_RATIO) >> 1 >> (self.shift & 63)) as usize
    }
}

#[kunit_tests(afutex_hash)]
mod tests {
    use super::super::key::Kind;
    use super::*;

    const BUCKETS: usize = 256;
    const HASH: Hash = Hash {
        seed: [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344],
        shift: 63 - BUCKETS.trailing_zeros(),
    };

    fn key(kind: Kind, object: usize, offset: usize) -> Key {
        Key::new(kind, object, offset)
    }

    #[test]
    fn bucket_depends_on_the_seed() {
        let other = Hash {
            seed: [1, 2],
            ..HASH
        };
        let same = (0..1024usize)
            .map(|n| key(Kind::Private, 0x1000, n * 4))
            .filter(|key| HASH.bucket(key) == other.bucket(key))
            .count();

        assert!(same < 32);
    }

    /// Whether 16 for each bucket do not crowd: by chance no bucket has three times as many, and
    /// hardly any has none.
    fn spread(keys: impl Iterator<Item = Key>) -> bool {
        let mut load = [0u8; BUCKETS];

        for key in keys.take(BUCKETS * 16) {
            let bucket = &mut load[HASH.bucket(&key)];
            *bucket = bucket.saturating_add(1);
        }
        load.iter().all(|&n| n < 48) && load.iter().filter(|&&n| n == 0).count() < 4
    }

    /// Words at regular distances: packed, in cache lines of their own, one a page.
    #[test]
    fn strides_spread_over_the_buckets() {
        for kind in [Kind::Private, Kind::Mm] {
            for step in [1, 4, 64, 4096] {
                let keys =
                    (0..).map(|n| key(kind, 0xffff_8880_1234_5000, 0x7f12_3456_0000 + n * step));
                assert!(spread(keys));
            }
        }
    }

    /// The first word of each page of a queue, by `struct page` and offset; all words of few pages.
    #[test]
    fn pages_spread_over_the_buckets() {
        assert!(spread((0..).map(|n| key(
            Kind::Page,
            0xffff_ea00_0400_0000 + n * 64,
            0
        ))));
        assert!(spread((0..).map(|n| {
            key(
                Kind::Page,
                0xffff_ea00_0400_0000 + n / 1024 * 64,
                n % 1024 * 4,
            )
        })));
    }

    /// Many processes with a word at one address.
    #[test]
    fn processes_spread_over_the_buckets() {
        assert!(spread((0..).map(|n| {
            key(
                Kind::Private,
                0xffff_8881_0000_0000 + n * 1536,
                0x7ffe_0000_1000,
            )
        })));
    }
}
