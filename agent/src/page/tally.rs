//! Counting many rows before they are written at once: each counter is named once, however often it rises.

/// Counters that have risen, and by how much.
#[derive(Debug, Default)]
pub struct Tally {
    rose: Vec<u64>,
    touched: Vec<u32>,
}

impl Tally {
    /// For `counters` counters. Takes no memory later.
    #[must_use]
    pub fn new(counters: usize) -> Self {
        Self { rose: vec![0; counters], touched: Vec::with_capacity(counters) }
    }
    /// A counter rises by one. One that there is not is in no table.
    #[inline]
    pub fn count(&mut self, counter: usize) {
        self.add(counter, 1);
    }
    /// A counter rises by `n`.
    #[inline]
    pub fn add(&mut self, counter: usize, n: u64) {
        let Some(sum) = self.rose.get_mut(counter) else { return };
        if *sum == 0 && n > 0 {
            self.touched.push(counter as u32);
        }
        *sum += n;
    }
    /// The counters that rose, and by how much.
    pub fn each(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.touched.iter().map(|&at| (at as usize, self.rose[at as usize]))
    }
    /// Nothing has risen.
    pub fn clear(&mut self) {
        for at in self.touched.drain(..) {
            self.rose[at as usize] = 0;
        }
    }
    /// How many counters there are.
    #[must_use]
    pub fn counters(&self) -> usize {
        self.rose.len()
    }
}
