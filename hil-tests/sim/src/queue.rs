//! What is going to happen, in order of time; what is due at the same moment happens in the order in which it was asked
//! for, so a run is the same every time.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};

use longshore_agent_core::update::Input;
use longshore_trust::UnixMs;

use crate::message::{Down, Up};

/// Number of a device, from 0.
pub type Ix = u32;

/// Something that is going to happen.
#[derive(Debug)]
pub enum Event {
    /// A core of the device wanted to be woken. Boot number: what a device asked for before a crash is not heard after it.
    Wake(Ix, u32),
    /// The device closes its windows.
    Window(Ix),
    /// Something that the device waited for has ended (download, trial, load, refresh).
    Done(Ix, u32, Box<Input>),
    /// Only the newest wish for the engine counts.
    Served(Ix, u32, u32),
    /// The engine of the device accepts loads.
    EngineUp(Ix, u32),
    /// The device looks for fresh metadata; the ticket of the refresh.
    Refreshed(Ix, u32),
    /// The database is tried again.
    Retry(Ix, u32),
    /// The device has power again.
    PowerOn(Ix),
    /// The device tries to connect.
    Connect(Ix, u32),
    /// The device notices that its session is gone.
    Drop(Ix, u32),
    /// The fleet notices that a session is gone.
    Gone(Ix, u32),
    /// A message arrives at the fleet; number of the broker's session.
    Up(Ix, u32, Box<Up>),
    /// A message arrives at the device; number of its session.
    Down(Ix, u32, Box<Down>),
    /// The executor looks.
    Tick,
    /// The fleet sends again what a device did not answer.
    Sweep,
    /// An old process of the fleet looks.
    StaleTick,
    /// Something of the scenario.
    Act(usize),
    /// The end of something of the scenario.
    ActEnds(usize),
    /// Who holds the stolen key of the director acts.
    Thief,
}

struct Entry {
    at: UnixMs,
    number: u64,
    event: Event,
}
impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// So much time shares a bag, ms.
const BAG_MS: u64 = 60_000;

/// Everything that is going to happen. What is due later than this bag of time is not in order yet, and a bag is put in
/// order once, when its time comes: a wish costs the same however many devices wait for something.
#[derive(Default)]
pub struct Queue {
    /// What was in the present bag when its time came, last first.
    due: Vec<Entry>,
    /// What was asked for since, within the bag.
    soon: BinaryHeap<Entry>,
    /// The present bag.
    bag: u64,
    later: BTreeMap<u64, Vec<Entry>>,
    numbers: u64,
}

impl Queue {
    /// `event` happens at `at`.
    pub fn at(&mut self, at: UnixMs, event: Event) {
        self.numbers += 1;
        let (entry, bag) = (Entry { at, number: self.numbers, event }, at.0 / BAG_MS);
        if bag <= self.bag {
            self.soon.push(entry);
        } else {
            self.later.entry(bag).or_default().push(entry);
        }
    }
    /// What happens next.
    pub fn pop(&mut self) -> Option<(UnixMs, Event)> {
        if self.due.is_empty() && self.soon.is_empty() {
            (self.bag, self.due) = self.later.pop_first()?;
            self.due.sort_unstable();
        }
        // Of two entries, the one that comes first is the greater one.
        let next = if self.soon.peek() > self.due.last() { self.soon.pop() } else { self.due.pop() };
        next.map(|e| (e.at, e.event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_happens_in_order_of_time_and_at_one_moment_in_order_of_asking() {
        let mut queue = Queue::default();
        let mut wanted = Vec::new();
        for n in 0..2_000usize {
            let at = (n as u64 * 7_919) % 400_000;
            queue.at(UnixMs(at), Event::Act(n));
            wanted.push((at, n));
        }
        let mut got = Vec::new();
        while let Some((at, Event::Act(n))) = queue.pop() {
            got.push((at.0, n));
            // What happens asks for something at the same moment, and soon, and much later.
            if n < 300 {
                for (k, after) in [0, 1_500, 500_000].into_iter().enumerate() {
                    queue.at(UnixMs(at.0 + after), Event::Act(10_000 + 3 * n + k));
                    wanted.push((at.0 + after, 10_000 + 3 * n + k));
                }
            }
        }
        assert!(got.is_sorted_by_key(|(at, _)| *at));
        let asked: std::collections::HashMap<usize, usize> =
            wanted.iter().enumerate().map(|(order, (_, n))| (*n, order)).collect();
        assert!(got.is_sorted_by_key(|(at, n)| (*at, asked[n])), "at one moment in order of asking");
        assert_eq!(got.len(), wanted.len());
    }
}
