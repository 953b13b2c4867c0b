//! What was for, or from, another device or fleet.

use longshore_agent_core::update::Input;
use longshore_fleet::gateway::{Refusal, verify};
use longshore_trust::{AssignmentVersion, Seq, SigningKey, StreamId, TimeQuality, UnixMs};
use longshore_wire::v1::{
    Assignment, Command, CommandAction, Commit, Event, EventKind, Events, Header, SCHEMA, open, seal,
};
use longshore_wire::{Topic, Up};

use crate::field::Field;
use crate::twin::{assignment, header};

fn director() -> SigningKey {
    SigningKey::from_seed(&[9; 32])
}
/// The header of a message to somebody else, under the same director's key.
fn elsewhere(fleet: &str, device: &str, seq: u64) -> Header {
    Header { fleet: fleet.parse().unwrap(), device: device.parse().unwrap(), ..header(1, seq) }
}

#[test]
fn a_device_obeys_no_assignment_and_no_command_of_another() {
    for (fleet, device, code) in [
        ("demo", "dev-2", "assignment.wrong_device"),
        ("other", "dev-1", "assignment.wrong_fleet"),
        ("other", "dev-2", "assignment.wrong_fleet"),
    ] {
        let mut field = Field::new();
        let bytes = seal(elsewhere(fleet, device, 9), assignment(9, 3, Commit::Local), &director()).unwrap();
        let message = open::<Assignment>(&bytes, &director().public()).unwrap();
        field.device.feed(Input::Assignment(message));
        field.pass(6_000);
        assert_eq!(field.refused(), Some(code));
        field.unharmed(code);

        let now = field.device.now;
        let halt = Command {
            not_before: now,
            not_after: now.plus_ms(60_000),
            action: CommandAction::Halt { version: AssignmentVersion(2) },
        };
        let bytes = seal(elsewhere(fleet, device, 99), halt, &director()).unwrap();
        field.device.feed(Input::Command(open::<Command>(&bytes, &director().public()).unwrap()));
        field.pass(6_000);
        assert_eq!(field.device.disk.commanded, (0, 0), "its number is not even remembered");
    }
}

#[test]
fn a_fleet_takes_a_report_only_from_the_device_and_fleet_it_names_on_that_devices_topic() {
    let (a, b) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
    let said = |fleet: &str, device: &str, key: &SigningKey| {
        let header = Header {
            schema: SCHEMA,
            fleet: fleet.parse().unwrap(),
            device: device.parse().unwrap(),
            stream: StreamId(5),
            seq: Seq(1),
            time: UnixMs(1),
            time_quality: TimeQuality::Ntp,
        };
        let event = Event { time: UnixMs(1), kind: EventKind::AgentStart { last_end: "clean".into() } };
        seal(header, Events { events: vec![event] }, key).unwrap()
    };
    let topic =
        |fleet: &str, device: &str| Topic::up(&fleet.parse().unwrap(), &device.parse().unwrap(), Up::Events);
    assert!(verify(&topic("demo", "a"), &said("demo", "a", &a), &a.public()).is_ok());
    // A's words on B's topic: B's key does not verify them.
    assert!(verify(&topic("demo", "b"), &said("demo", "a", &a), &b.public()).is_err());
    // A signs in B's name: on A's own topic the names differ, on B's the key.
    let in_bs_name = said("demo", "b", &a);
    assert!(matches!(verify(&topic("demo", "a"), &in_bs_name, &a.public()), Err(Refusal::Names { .. })));
    assert!(verify(&topic("demo", "b"), &in_bs_name, &b.public()).is_err());
    // The same board was enrolled in two fleets with one key (it never is): the fleet's name still tells them apart.
    let there = said("other", "a", &a);
    assert!(matches!(verify(&topic("demo", "a"), &there, &a.public()), Err(Refusal::Names { .. })));
}

#[test]
fn a_receipt_for_another_stream_frees_nothing() {
    use longshore_agent_core::sync::{Config, Input, Output, Sync};
    use longshore_wire::v1::Receipt;
    let rows: Vec<Seq> = (1..=5).map(Seq).collect();
    let mut sync = Sync::restore(Config::default(), StreamId(7), Seq(6), Seq(0), &rows, 1, 3);
    let now = UnixMs(1_800_000_000_000);
    sync.handle(now, Input::LinkUp);
    for stream in [0, 6, 8, u64::MAX] {
        sync.handle(
            now,
            Input::Receipt(Receipt { stream: StreamId(stream), up_to: Seq(5), fleet_epoch: 1, log: None }),
        );
    }
    assert_eq!(sync.unreceipted(), 5);
    sync.handle(
        now,
        Input::Receipt(Receipt { stream: StreamId(7), up_to: Seq(9), fleet_epoch: 1, log: None }),
    );
    let refused = std::iter::from_fn(|| match sync.poll() {
        Output::WakeAt(_) => None,
        other => Some(other),
    })
    .any(|o| matches!(o, Output::Refused(_)));
    assert!(refused && sync.unreceipted() == 5, "a receipt for more than was sent");
    sync.handle(
        now,
        Input::Receipt(Receipt { stream: StreamId(7), up_to: Seq(5), fleet_epoch: 1, log: None }),
    );
    assert_eq!(sync.unreceipted(), 0);
}
