//! A device that speaks for all others: through a broker that allows it, straight into the gateway's check and store.

use longshore_fleet::gateway::{Refusal, store_batch, verify};
use longshore_fleet::store::Store;
use longshore_trust::{DeviceId, UnixMs};
use longshore_wire::v1::{Event, EventKind, Events};
use longshore_wire::{Topic, Up};

use crate::server::{self, Home};

fn events() -> Events {
    Events {
        events: vec![Event { time: UnixMs(1), kind: EventKind::AgentStart { last_end: "clean".into() } }],
    }
}

#[test]
fn whatever_topic_a_thief_writes_on_only_its_own_words_in_its_own_name_are_taken() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let home = Home::new().await;
        let store = Store::open(&home.data().database()).await.unwrap();
        let victims: Vec<_> = {
            let mut all = Vec::new();
            for n in 0..8u8 {
                all.push(server::enrol(&home, &store, &format!("victim-{n}"), 60 + n).await);
            }
            all
        };
        let thief = server::enrol(&home, &store, "thief", 90).await;
        let (mut tried, mut taken) = (0, 0);
        for victim in &victims {
            // The thief's key with the victim's name inside, the thief's name inside, and what the victim once said.
            let mut in_its_name = server::header(&thief.fleet, &victim.id, victim.stream, 1);
            let forged = longshore_wire::v1::seal(in_its_name.clone(), events(), &thief.report).unwrap();
            in_its_name.device = thief.id.clone();
            let own = longshore_wire::v1::seal(in_its_name, events(), &thief.report).unwrap();
            let replayed = victim.seal(1, events());
            for up in [Up::Hello, Up::Report, Up::Windows, Up::Events] {
                for (on, key) in [(victim, &victim.report), (&thief, &thief.report)] {
                    let topic = Topic::up(&thief.fleet, &on.id, up);
                    for (what, bytes) in [("forged", &forged), ("own", &own), ("replayed", &replayed)] {
                        tried += 1;
                        let Ok(accepted) = verify(&topic, bytes, &key.public()) else { continue };
                        // What is taken is what its signer said, on its signer's own topic of its own kind.
                        assert_eq!(up, Up::Events);
                        assert!(
                            what == "own" && on.id == thief.id || what == "replayed" && on.id == victim.id,
                            "{what}"
                        );
                        assert_eq!(accepted.header.device, on.id);
                        taken += 1;
                        store_batch(&store, &[accepted], 1, UnixMs(5)).await.unwrap();
                    }
                }
            }
        }
        assert_eq!((tried, taken), (192, 16));
        // The replayed words were the victims' own and count once; of the thief's nothing is under a victim's name.
        let db = rusqlite::Connection::open(home.data().database()).unwrap();
        let count = |sql: &str| db.query_row(sql, [], |r| r.get::<_, i64>(0)).unwrap();
        assert_eq!(count("SELECT count(*) FROM device_event WHERE device LIKE 'victim-%'"), 8);
        println!("{tried} messages on other topics or in other names, 0 taken for another's");
    });
}

#[test]
fn a_topic_has_one_reading_and_no_wildcard() {
    let (fleet, device): (_, DeviceId) = ("demo".parse().unwrap(), "dev-1".parse().unwrap());
    let good = Topic::up(&fleet, &device, Up::Report).to_string();
    assert!(Topic::parse(&good).is_ok());
    for parts in ["+", "#", "$share", "a+b", "a#", "..", "", " ", "A", "ä", "a\0b", "a\nb", "%2F"] {
        for place in [2, 3] {
            let mut levels: Vec<&str> = good.split('/').collect();
            levels[place] = parts;
            assert!(Topic::parse(&levels.join("/")).is_err(), "{levels:?}");
        }
        assert!(format!("{parts}x+").parse::<DeviceId>().is_err());
    }
    for wrong in [
        format!("/{good}"),
        format!("{good}/"),
        format!("{good}/x"),
        good.to_uppercase(),
        good.replace('/', "//"),
    ] {
        assert!(Topic::parse(&wrong).is_err(), "{wrong}");
    }
    let down = good.replace("up/report", "down/assign");
    let topic = Topic::parse(&down).unwrap();
    let key = server::key(1);
    assert!(matches!(verify(&topic, b"", &key.public()), Err(Refusal::Direction)));
}
