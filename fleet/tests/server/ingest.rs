//! Delivery: whatever order, however often, every message counts once and receipts name the contiguous prefix.

use longshore_fleet::gateway::{Accepted, store_batch, verify};
use longshore_fleet::store::Store;
use longshore_stats::Counters;
use longshore_trust::{AssignmentVersion, Digest, Seq, UnixMs};
use longshore_wire::v1::{Hello, Window, WindowKey, Windows};
use longshore_wire::{Topic, Up};
use proptest::prelude::*;

use crate::support::{self, Device, Home};

pub fn counters(rows: u64) -> Counters {
    let mut c = Counters::with_classes(2);
    c.requests = 1;
    c.rows = rows;
    c.classes[0] = rows;
    c.confusion[0] = rows / 2;
    c.latency_us.insert(rows as f64);
    c
}

pub fn windows(device: &Device, seq: u64, counters: Counters) -> Accepted {
    let key = WindowKey {
        model: "digits".parse().unwrap(),
        bundle: Digest::of(b"bundle"),
        start: UnixMs(seq * 60_000),
        end: UnixMs((seq + 1) * 60_000),
    };
    let body = Windows { windows: vec![Window { key, supplement: false, counters }] };
    let topic = Topic::up(&device.fleet, &device.id, Up::Windows);
    verify(&topic, &device.seal(seq, body), &device.report.public()).unwrap()
}

pub fn hello(device: &Device, first: u64, epoch: u64) -> Accepted {
    let body = Hello {
        stream: device.stream,
        first_unreceipted: Seq(first),
        assignment_version: AssignmentVersion(0),
        tuf_versions: std::collections::BTreeMap::new(),
        fleet_epoch: epoch,
        boot: 1,
        log: Vec::new(),
    };
    let topic = Topic::up(&device.fleet, &device.id, Up::Hello);
    verify(&topic, &device.seal(0, body), &device.report.public()).unwrap()
}

async fn fleet() -> (Home, Store, Device) {
    let home = Home::new().await;
    let store = Store::open(&home.data().database()).await.unwrap();
    let device = support::enrol(&home, &store, "dev-1", 60).await;
    (home, store, device)
}

async fn total(store: &Store, device: &Device) -> Counters {
    let model = "digits".parse().unwrap();
    let total = store.device_total(&device.id, &model, &Digest::of(b"bundle")).await.unwrap();
    total.unwrap_or_default()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_order_and_any_repetition_counts_once(
        batches in prop::collection::vec(prop::collection::vec(1u64..20, 1..12), 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_home, store, device) = fleet().await;
            let mut seen = std::collections::BTreeSet::new();
            let mut expected = Counters::default();
            for batch in &batches {
                let messages: Vec<_> = batch.iter().map(|&n| windows(&device, n, counters(n))).collect();
                let out = store_batch(&store, &messages, 1, UnixMs(5)).await.unwrap();
                for &n in batch {
                    if seen.insert(n) {
                        expected.merge(&counters(n)).unwrap();
                    }
                }
                let prefix = (1..).take_while(|n| seen.contains(n)).count() as u64;
                let receipt = out.receipts[&(device.id.clone(), device.stream)];
                prop_assert_eq!(receipt, Seq(prefix));
                let beyond = store.stored_beyond_prefix(&device.id, device.stream).await.unwrap();
                prop_assert_eq!(beyond, seen.len() as u64 - prefix);
            }
            prop_assert_eq!(&total(&store, &device).await, &expected);
            prop_assert_eq!(store.rows_counted().await.unwrap(), expected.rows);
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn a_window_that_cannot_be_is_receipted_but_not_counted() {
    let (_home, store, device) = fleet().await;
    let mut lies = counters(3);
    lies.confusion.pop();
    let mut huge = counters(3);
    huge.rows = u64::MAX;
    let other_classes = Counters::with_classes(9);
    let batch = [
        windows(&device, 1, counters(3)),
        windows(&device, 2, lies),
        windows(&device, 3, huge),
        windows(&device, 4, other_classes),
        windows(&device, 5, counters(4)),
    ];
    let out = store_batch(&store, &batch, 1, UnixMs(5)).await.unwrap();
    assert_eq!(out.receipts[&(device.id.clone(), device.stream)], Seq(5));
    assert_eq!(total(&store, &device).await.rows, 7);
}

#[tokio::test]
async fn what_a_device_can_no_longer_send_becomes_a_gap_and_the_prefix_goes_on() {
    let (_home, store, device) = fleet().await;
    let stream = (device.id.clone(), device.stream);
    store_batch(&store, &[windows(&device, 1, counters(1)), windows(&device, 7, counters(1))], 2, UnixMs(5))
        .await
        .unwrap();
    // It has not heard of this epoch yet: it may still hold everything.
    let out = store_batch(&store, &[hello(&device, 6, 1)], 2, UnixMs(5)).await.unwrap();
    assert_eq!(out.receipts[&stream], Seq(1));
    let out = store_batch(&store, &[hello(&device, 6, 2)], 2, UnixMs(5)).await.unwrap();
    assert_eq!(out.receipts[&stream], Seq(5));
    let out = store_batch(&store, &[windows(&device, 6, counters(1))], 2, UnixMs(5)).await.unwrap();
    assert_eq!(out.receipts[&stream], Seq(7));
    assert_eq!(total(&store, &device).await.rows, 3);
}

#[tokio::test]
async fn a_model_of_very_many_classes_counts_too() {
    let (_home, store, device) = fleet().await;
    // So many that the device keeps no table of classes against each other.
    let many =
        Counters { classes: vec![2; 10_000], confusion: Vec::new(), rows: 20_000, ..Counters::default() };
    let batch = [windows(&device, 1, many.clone()), windows(&device, 2, many)];
    store_batch(&store, &batch, 1, UnixMs(5)).await.unwrap();
    let total = total(&store, &device).await;
    assert_eq!((total.rows, total.classes[9_999], total.confusion.len()), (40_000, 4, 0));
}

#[tokio::test]
async fn a_message_far_ahead_of_the_prefix_takes_no_room() {
    let (_home, store, device) = fleet().await;
    let batch = [windows(&device, 1, counters(1)), windows(&device, 1_000_000, counters(1))];
    let out = store_batch(&store, &batch, 1, UnixMs(5)).await.unwrap();
    assert_eq!(out.receipts[&(device.id.clone(), device.stream)], Seq(1));
    assert_eq!(store.stored_beyond_prefix(&device.id, device.stream).await.unwrap(), 0);
    assert_eq!(total(&store, &device).await.rows, 1);
    // It gets no receipt, so it comes again, and counts when the hole before it has been accounted for.
    store_batch(&store, &[hello(&device, 1_000_000, 1)], 1, UnixMs(5)).await.unwrap();
    let again = [windows(&device, 1_000_000, counters(1))];
    let out = store_batch(&store, &again, 1, UnixMs(5)).await.unwrap();
    assert_eq!(out.receipts[&(device.id.clone(), device.stream)], Seq(1_000_000));
    assert_eq!(total(&store, &device).await.rows, 2);
}

#[tokio::test]
async fn a_device_that_lies_about_versions_does_not_use_them_up() {
    let (_home, store, device) = fleet().await;
    let topic = Topic::up(&device.fleet, &device.id, Up::Hello);
    let body = Hello {
        stream: device.stream,
        first_unreceipted: Seq(1),
        assignment_version: AssignmentVersion(u64::MAX),
        tuf_versions: std::collections::BTreeMap::new(),
        fleet_epoch: 1,
        boot: 1,
        log: Vec::new(),
    };
    let lie = verify(&topic, &device.seal(0, body), &device.report.public()).unwrap();
    store_batch(&store, &[lie], 1, UnixMs(5)).await.unwrap();
    let mut tx = store.write().await.unwrap();
    let next =
        longshore_fleet::store::director::next_assignment_version(&mut tx, &device.id, 1).await.unwrap();
    assert_eq!(next, AssignmentVersion(1));
}

#[tokio::test]
async fn what_nobody_here_can_read_is_kept_and_receipted_and_holds_nothing_up() {
    let (_home, store, device) = fleet().await;
    // A body of a kind of report that this build does not know, and one of a newer schema; both signed by the device.
    let mut newer = device.header(2);
    newer.schema = 9;
    let unreadable = |header: longshore_wire::v1::Header| {
        let mut body = postcard::to_stdvec(&header).unwrap();
        body.extend([0xff, 0x01, 0x02]);
        longshore_trust::Envelope::seal(longshore_trust::Kind::Report, body, &device.report).unwrap()
    };
    let topic = Topic::up(&device.fleet, &device.id, Up::Report);
    let key = device.report.public();
    let mut batch: Vec<Accepted> =
        [device.header(1), newer].map(|header| verify(&topic, &unreadable(header), &key).unwrap()).into();
    batch.push(windows(&device, 3, counters(7)));
    let out = store_batch(&store, &batch, 1, UnixMs(5)).await.unwrap();
    assert_eq!((out.stored, out.quarantined), (3, 2));
    assert_eq!(out.receipts[&(device.id.clone(), device.stream)], Seq(3), "the device goes on");
    assert_eq!(total(&store, &device).await.rows, 7);
    let again = store_batch(&store, &batch, 1, UnixMs(6)).await.unwrap();
    assert_eq!((again.stored, again.duplicates), (0, 3));
    // Not signed by the device, for another device, or under another kind: refused as ever.
    let foreign = Topic::up(&device.fleet, &"dev-2".parse().unwrap(), Up::Report);
    assert!(verify(&foreign, &unreadable(device.header(4)), &key).is_err());
    assert!(verify(&topic, &unreadable(device.header(4)), &support::key(99).public()).is_err());
    let events = Topic::up(&device.fleet, &device.id, Up::Events);
    assert!(verify(&events, &unreadable(device.header(4)), &key).is_err());
    assert!(verify(&topic, &unreadable(device.header(0)), &key).is_err(), "no place in a stream");
}

#[tokio::test]
async fn a_device_that_was_revoked_meanwhile_stores_nothing() {
    let (_home, store, device) = fleet().await;
    let verified = windows(&device, 1, counters(7));
    let mut tx = store.write().await.unwrap();
    longshore_fleet::store::device::revoke(&mut tx, &device.id, UnixMs(4)).await.unwrap();
    tx.commit().await.unwrap();
    let out = store_batch(&store, &[verified], 1, UnixMs(5)).await.unwrap();
    assert_eq!((out.stored, out.refused, out.receipts.len()), (0, 1, 0));
    assert_eq!(total(&store, &device).await.rows, 0);
}
