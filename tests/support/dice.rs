//! Chance that a seed repeats: `SplitMix64`, by Sebastiano Vigna.

/// Gives the same numbers for the same seed.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` to `high`, both of them too.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.roll() % (high - low + 1)
    }

    /// Once in so many times.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.roll().is_multiple_of(times)
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let place = usize::try_from(self.roll() % from.len() as u64).unwrap();
        &from[place]
    }

    /// So many of `from`, none twice, in their order or in any.
    pub fn some<T: Copy>(&mut self, from: &[T], count: usize, in_order: bool) -> Vec<T> {
        let mut places: Vec<usize> = (0..from.len()).collect();
        for i in 0..count {
            let other = usize::try_from(self.between(i as u64, from.len() as u64 - 1)).unwrap();
            places.swap(i, other);
        }
        places.truncate(count);
        if in_order {
            places.sort_unstable();
        }
        places.into_iter().map(|place| from[place]).collect()
    }
}
