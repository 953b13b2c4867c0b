//! A real device whose disk is in the thief's hands, and its owner who revokes it.

use std::os::unix::fs::PermissionsExt as _;

use longshore_fleet::app;
use longshore_fleet::store::device as registry;
use longshore_trust::tuf::Trusted;

use crate::site::{MODEL, Site, device};

#[test]
fn its_secrets_are_its_own_and_end_with_its_revocation() {
    let mut site = Site::with_model();
    let identity = site.state().join("identity");
    assert_eq!(identity.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let mut secrets = Vec::new();
    for entry in std::fs::read_dir(&identity).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o077, 0, "{}", path.display());
        secrets.push((path.clone(), std::fs::read(&path).unwrap()));
    }
    // No key of the fleet, of an offline role or of another device is on it.
    let mut everything = secrets.iter().flat_map(|(_, b)| b.clone()).collect::<Vec<u8>>();
    for file in ["state.db", "second.json"] {
        everything.extend(std::fs::read(site.state().join(file)).unwrap_or_default());
    }
    let offline = &site.home.offline;
    for key in offline.root.iter().chain(&offline.targets).chain(&offline.online).chain(&site.release) {
        let (raw, text) = (*key.seed(), hex::encode(*key.seed()));
        assert!(!everything.windows(32).any(|w| w == raw));
        assert!(!everything.windows(64).any(|w| w == text.as_bytes()));
    }

    // The owner revokes it: put out, and out it stays, also over a restart of the device.
    let store = site.running.app.store.clone();
    site.until("online", |s| s.status()["link"]["up"] == true);
    site.runtime.block_on(async {
        let mut tx = store.write().await.unwrap();
        assert!(registry::revoke(&mut tx, &device(), app::now()).await.unwrap());
        tx.commit().await.unwrap();
    });
    site.running.app.gateway.disconnect(device());
    site.until("put out", |s| s.status()["link"]["up"] == false);
    let before = site.mark();
    site.kill_agent();
    site.start_agent();
    site.until("refused at the door", |s| !s.status()["link"]["error"].is_null());
    assert_eq!(site.status()["link"]["up"], false);
    assert_eq!(site.mark(), before, "nothing of it was stored");
    // It goes on serving whoever uses it locally: expiry and revocation stop news, not work.
    site.until("served", |s| s.model(MODEL)["version"] == "2.0.0");
}

#[test]
fn metadata_changed_on_its_disk_is_not_believed() {
    let site = Site::with_model();
    let dir = site.state().join("trust");
    let stored: std::collections::BTreeMap<String, Vec<u8>> = std::fs::read_dir(&dir)
        .unwrap()
        .flatten()
        .map(|e| (e.file_name().to_string_lossy().into_owned(), std::fs::read(e.path()).unwrap()))
        .collect();
    let path = format!("{MODEL}/2.0.0/manifest.json");
    let honest = Trusted::load(&stored, None).unwrap().target(&path).map(|(_, i)| i.clone()).unwrap();
    let (mut changed, mut left_out, mut refused) = (0, 0, 0);
    for (name, bytes) in &stored {
        for at in (0..bytes.len()).step_by(7) {
            let mut files = stored.clone();
            files.get_mut(name).unwrap()[at] ^= 0x15;
            changed += 1;
            match Trusted::load(&files, None) {
                Err(_) => refused += 1,
                Ok(view) => match view.target(&path) {
                    None => left_out += 1,
                    Some((_, info)) => assert_eq!(*info, honest, "{name} byte {at}"),
                },
            }
        }
    }
    assert!(refused > 0 && left_out > 0);
    println!("{changed} changed files: {refused} refused, {left_out} left out, 0 believed");
}
