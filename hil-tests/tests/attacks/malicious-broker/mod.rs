//! 100,000 messages through a broker that does what it likes with them: half of them up, into the gateway's check and the
//! fleet's database, half of them down, into the device's state machine. The seed makes every run the same.

use std::collections::{BTreeMap, BTreeSet};

use longshore_agent_core::backoff::Jitter;
use longshore_agent_core::update::Input;
use longshore_fleet::gateway::{store_batch, verify};
use longshore_fleet::store::Store;
use longshore_trust::{AssignmentVersion, SigningKey, UnixMs};
use longshore_wire::v1::{
    Assignment, Command, CommandAction, Commit, Event, EventKind, Events, Receipt, open, seal,
};
use longshore_wire::{Topic, Up};

use crate::server::{self, Home};
use crate::twin::{Twin, assignment, bundle, header};

const EACH_WAY: usize = 50_000;
const SEED: u64 = 0x10_4550_0123;

/// One of the recorded messages, as the broker delivers it: which one, and whether it is still what was sent.
fn tampered(dice: &mut Jitter, sent: &[Vec<u8>]) -> (usize, Vec<u8>) {
    let at = |dice: &mut Jitter, n: usize| dice.up_to(n as u64 - 1) as usize;
    let which = at(dice, sent.len());
    let mut bytes = sent[which].clone();
    match dice.up_to(7) {
        // As it was: again, late, out of turn.
        0 => {}
        1 => {
            let i = at(dice, bytes.len());
            bytes[i] ^= 1 << dice.up_to(7);
        }
        2 => {
            for _ in 0..=dice.up_to(20) {
                let i = at(dice, bytes.len());
                bytes[i] = dice.up_to(255) as u8;
            }
        }
        3 => bytes.truncate(at(dice, bytes.len())),
        4 => bytes.extend((0..=dice.up_to(40)).map(|n| n as u8)),
        5 => {
            // The head of one, the tail of another.
            let other = &sent[at(dice, sent.len())];
            let cut = at(dice, bytes.len().min(other.len()));
            bytes.truncate(cut);
            bytes.extend(&other[cut..]);
        }
        6 => {
            let (i, j) = (at(dice, bytes.len()), at(dice, bytes.len()));
            bytes.swap(i, j);
        }
        _ => {
            let i = at(dice, bytes.len());
            bytes.insert(i, dice.up_to(255) as u8);
        }
    }
    (which, bytes)
}

#[test]
fn fifty_thousand_messages_up_store_what_was_sent_and_nothing_else() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let home = Home::new().await;
        let store = Store::open(&home.data().database()).await.unwrap();
        let device = server::enrol(&home, &store, "dev-1", 60).await;
        let name = |n: u64| format!("message {n}");
        let sent: Vec<Vec<u8>> = (1..=400)
            .map(|n| {
                let kind = EventKind::AgentStart { last_end: name(n) };
                device.seal(n, Events { events: vec![Event { time: UnixMs(n), kind }] })
            })
            .collect();
        let topics = [Up::Hello, Up::Report, Up::Windows, Up::Events].map(|up| Topic::up(&device.fleet, &device.id, up));
        let mut dice = Jitter::new(SEED);
        let (mut refused, mut accepted, mut changed) = (0u32, 0u32, 0u32);
        let (mut came, mut batch) = (BTreeSet::new(), Vec::new());
        for _ in 0..EACH_WAY {
            let (which, bytes) = tampered(&mut dice, &sent);
            let topic = if dice.up_to(9) == 0 { &topics[dice.up_to(2) as usize] } else { &topics[3] };
            changed += u32::from(bytes != sent[which]);
            match verify(topic, &bytes, &device.report.public()) {
                Err(_) => refused += 1,
                Ok(message) => {
                    assert!(sent.contains(&bytes), "accepted, and never sent");
                    assert_eq!(topic, &topics[3]);
                    accepted += 1;
                    came.insert(message.header.seq);
                    batch.push(message);
                }
            }
            if batch.len() == 64 {
                // In any order, across transactions.
                for i in (1..batch.len()).rev() {
                    batch.swap(i, dice.up_to(i as u64) as usize);
                }
                store_batch(&store, &batch, 1, UnixMs(5)).await.unwrap();
                batch.clear();
            }
        }
        store_batch(&store, &batch, 1, UnixMs(5)).await.unwrap();
        let db = rusqlite::Connection::open(home.data().database()).unwrap();
        let mut q = db.prepare("SELECT json_extract(body, '$.last_end') FROM device_event ORDER BY id").unwrap();
        let stored: Vec<String> = q.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect();
        let mut once: BTreeMap<&str, u32> = BTreeMap::new();
        stored.iter().for_each(|s| *once.entry(s).or_default() += 1);
        assert!(once.values().all(|n| *n == 1), "counted twice");
        let wanted: BTreeSet<String> = came.iter().map(|s| name(s.0)).collect();
        assert_eq!(stored.into_iter().collect::<BTreeSet<_>>(), wanted, "what was delivered whole is stored, once");
        assert!(changed > 30_000 && accepted > 4_000);
        println!("up: {EACH_WAY} messages, {changed} changed, {refused} refused, {accepted} taken as sent, {} stored, 0 others", wanted.len());
    });
}

#[test]
fn fifty_thousand_messages_down_make_a_device_do_nothing_that_it_was_not_told() {
    let director = SigningKey::from_seed(&[9; 32]);
    let mut twin = Twin::new();
    twin.install(1, 1);
    let day = 86_400_000;
    let end = twin.now.plus_ms(day);
    // What the director really said: bundles 1 to 3, commits, renewals and halts, receipts; each number once.
    let (mut assignments, mut commands, mut receipts) = (Vec::new(), Vec::new(), Vec::new());
    for n in 2..=40u64 {
        let mut order = assignment(
            n,
            1 + n % 3,
            if n % 4 == 0 { Commit::Lease { lease_ms: 30_000 } } else { Commit::Local },
        );
        (order.activate_by, order.not_after) = (end, end);
        assignments.push(seal(header(1, n), order, &director).unwrap());
        let version = AssignmentVersion(n);
        for action in [
            CommandAction::Commit { version },
            CommandAction::RenewLease { version },
            CommandAction::Halt { version },
            CommandAction::Flush,
        ] {
            let body = Command { not_before: twin.now, not_after: end, action };
            commands.push(seal(header(1, 1000 + commands.len() as u64), body, &director).unwrap());
        }
        let receipt = Receipt {
            stream: longshore_trust::StreamId(7),
            up_to: longshore_trust::Seq(n),
            fleet_epoch: 1,
            log: None,
        };
        receipts.push(seal(header(1, 0), receipt, &director).unwrap());
    }
    let all: Vec<Vec<u8>> = [assignments.clone(), commands.clone(), receipts.clone()].concat();
    let known: BTreeSet<&Vec<u8>> = all.iter().collect();
    let mut dice = Jitter::new(SEED);
    let (mut refused, mut taken, mut changed, mut restarts) = (0u32, 0u32, 0u32, 0u32);
    let key = director.public();
    let (mut assigned, mut commanded) = (twin.disk.assigned, twin.disk.commanded);
    for step in 0..EACH_WAY {
        let (which, bytes) = tampered(&mut dice, &all);
        changed += u32::from(bytes != all[which]);
        // The topic says what it is to be; the broker chooses the topic.
        let before = taken;
        match dice.up_to(5) {
            0 | 1 => {
                if let Ok(m) = open::<Assignment>(&bytes, &key) {
                    assert!(known.contains(&bytes));
                    taken += 1;
                    twin.feed(Input::Assignment(m));
                }
            }
            2 | 3 => {
                if let Ok(m) = open::<Command>(&bytes, &key) {
                    assert!(known.contains(&bytes));
                    taken += 1;
                    twin.feed(Input::Command(m));
                }
            }
            4 => {
                if open::<Receipt>(&bytes, &key).is_ok() {
                    assert!(known.contains(&bytes));
                    taken += 1;
                }
            }
            _ => twin.feed(Input::Doorbell),
        }
        refused += u32::from(before == taken);
        if before != taken {
            twin.settle();
        }
        if step % 997 == 0 {
            twin.crash();
            restarts += 1;
            twin.pass(11_000);
        }
        assert!(twin.disk.assigned >= assigned && twin.disk.commanded >= commanded, "numbers never fall");
        (assigned, commanded) = (twin.disk.assigned, twin.disk.commanded);
        if let Some(serving) = twin.serving {
            assert!((1..=3).any(|n| serving == bundle(n)), "something else is served");
        }
    }
    twin.pass(2 * day);
    assert!(twin.record().update.is_none(), "nothing waits for ever");
    assert!(twin.disk.floors.windows(2).all(|w| w[0] <= w[1]));
    assert_eq!(twin.serving, twin.record().active.as_ref().map(|i| i.bundle));
    assert!(changed > 30_000 && taken > 1_500, "{taken}");
    println!(
        "down: {EACH_WAY} messages, {changed} changed, {refused} refused, {taken} taken as sent, {restarts} restarts, 0 others, 0 crashes"
    );
}
