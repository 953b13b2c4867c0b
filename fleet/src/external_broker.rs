//! `longshore-fleet broker-files`: what a Mosquitto needs to be this fleet's broker: a certificate of the fleet CA, who
//! may say and hear what, and a configuration.
//!
//! What always holds: the broker learns no key of the fleet but its own; an identity is the certificate's name, taken as
//! user name and client id, so nobody can speak, listen or connect in another's place; nothing is kept by the broker
//! (outboxes, receipts and re-published assignments are the record).

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};

use longshore_trust::FleetId;

use crate::init::{DataDir, DataError, io, make_private_dir};
use crate::online::OnlineKeys;
use crate::tls::{TlsError, gateway_name};

/// Largest packet, as with the embedded broker.
const MAX_PACKET_BYTES: usize = 128 * 1024;
/// Messages that wait for one slow reader before the broker drops: devices send again what has no receipt.
const MAX_QUEUED: usize = 100_000;

/// Why the files cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BrokerFilesError {
    /// The data directory or the disk.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// There is something already.
    #[error("{0} exists: name a new directory, or remove it first")]
    Exists(PathBuf),
}

/// Makes `out` with `ca.pem`, `broker.pem`, `broker.key`, `acl` and `mosquitto.conf`, for a broker that devices and server
/// reach under `hosts` at `port`. The server may run meanwhile.
///
/// # Errors
/// When the data directory has no keys, a host cannot stand in a certificate, or `out` exists or cannot be written.
pub fn write(data: &DataDir, hosts: &[String], port: u16, out: &Path) -> Result<FleetId, BrokerFilesError> {
    let keys = OnlineKeys::load(&data.online()).map_err(DataError::from)?;
    let identity = keys.ca.issue_server(hosts)?;
    if out.exists() {
        return Err(BrokerFilesError::Exists(out.to_owned()));
    }
    make_private_dir(out)?;
    let folder = out.canonicalize().map_err(io("find", out))?;
    let (certificate, key) = identity.to_pem();
    put(&folder.join("ca.pem"), keys.ca.pem(), 0o644)?;
    put(&folder.join("broker.pem"), &certificate, 0o644)?;
    put(&folder.join("broker.key"), &key, 0o600)?;
    put(&folder.join("acl"), &acl(&keys.fleet), 0o644)?;
    put(&folder.join("mosquitto.conf"), &mosquitto_conf(&keys.fleet, port, &folder), 0o644)?;
    Ok(keys.fleet)
}

/// Who may publish and subscribe what, in Mosquitto's form; `%u` is the name in the client's certificate.
fn acl(fleet: &FleetId) -> String {
    let gateway = gateway_name(fleet);
    format!(
        "# Devices of fleet {fleet}: their own topics only. No pattern gives one device another's.\n\
         pattern write ls/1/{fleet}/%u/up/+\n\
         pattern read ls/1/{fleet}/%u/down/+\n\
         \n\
         # The fleet server. No device can have this name: ids have no '@'.\n\
         user {gateway}\n\
         topic read ls/1/{fleet}/+/up/#\n\
         topic write ls/1/{fleet}/+/down/+\n"
    )
}

fn mosquitto_conf(fleet: &FleetId, port: u16, folder: &Path) -> String {
    let mut text = format!("# Mosquitto 2.0 as the broker of fleet {fleet}.\n");
    let at = |name: &str| folder.join(name).display().to_string();
    let lines: [(&str, String); 14] = [
        ("listener", port.to_string()),
        ("cafile", at("ca.pem")),
        ("certfile", at("broker.pem")),
        ("keyfile", at("broker.key")),
        ("require_certificate", "true".into()),
        ("use_identity_as_username", "true".into()),
        ("use_username_as_clientid", "true".into()),
        ("allow_anonymous", "false".into()),
        ("acl_file", at("acl")),
        ("persistence", "false".into()),
        ("max_packet_size", MAX_PACKET_BYTES.to_string()),
        ("max_inflight_messages", "200".into()),
        ("max_queued_messages", MAX_QUEUED.to_string()),
        ("retain_available", "false".into()),
    ];
    for (key, value) in lines {
        let _ = writeln!(text, "{key} {value}");
    }
    text
}

fn put(path: &Path, text: &str, mode: u32) -> Result<(), DataError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file =
        File::options().create_new(true).write(true).mode(mode).open(path).map_err(io("make", path))?;
    file.write_all(text.as_bytes()).map_err(io("write", path))?;
    file.sync_all().map_err(io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_trust::DeviceId;

    #[test]
    fn no_device_can_be_named_like_the_gateway() {
        let fleet: FleetId = "demo".parse().unwrap();
        assert!(DeviceId::new(gateway_name(&fleet)).is_err());
        assert!(acl(&fleet).contains(&format!("user {}\n", gateway_name(&fleet))));
    }
}
