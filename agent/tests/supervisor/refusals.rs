//! What the agent says when it cannot start: what happened, to what, and what to do.

use std::fs;
use std::net::TcpListener;

use crate::device::Device;

fn refused(device: &Device, wanted: &[&str]) {
    let out = device.run_to_its_end();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{said}");
    for w in wanted {
        assert!(said.contains(w), "{w:?} is not in: {said}");
    }
}

#[test]
fn a_port_in_use() {
    let device = Device::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    device.configure(&format!("serve = {{ listen = \"{address}\" }}"));
    refused(&device, &[&address.to_string(), "another program", "choose another port"]);
}
#[test]
fn a_second_agent_on_the_same_state() {
    let device = Device::new();
    let _agent = device.start();
    device.until_ready();
    refused(&device, &["another agent is running", "state_dir"]);
}
#[test]
fn a_device_that_never_enrolled() {
    let device = Device::new();
    fs::remove_dir_all(device.state().join("identity")).unwrap();
    refused(&device, &["longshore-agent enroll --token-file"]);
}
#[test]
fn trust_metadata_that_somebody_changed() {
    let device = Device::new();
    let path = device.state().join("trust/root.json");
    let text = fs::read_to_string(&path).unwrap().replace("demo", "evil");
    fs::write(&path, text).unwrap();
    refused(&device, &["trust metadata"]);
}
#[test]
fn a_wrong_key_in_the_configuration() {
    let device = Device::new();
    device.configure("labells = { site = \"x\" }");
    refused(&device, &["labells", "labels"]);
}
