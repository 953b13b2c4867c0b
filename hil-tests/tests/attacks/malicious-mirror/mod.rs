//! The device's own HTTPS client against a server that it has every reason to trust, and that lies.

use std::cell::Cell;
use std::io::Write as _;
use std::net::TcpListener;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use longshore_agent::fetch::{FileError, HttpError, Limits, Remote, fetch_file, refresh};
use longshore_trust::{Digest, UnixMs};

use crate::https::Rogue;

fn fetch(remote: &Remote, wanted: &[u8], dir: &tempfile::TempDir) -> Result<(), FileError> {
    let cancel = AtomicBool::new(false);
    let limits = Limits { cancel: &cancel, budget: Cell::new(u64::MAX), clock: &|| Duration::ZERO };
    let part = dir.path().join("x.part");
    fetch_file(remote, "targets/x", wanted.len() as u64, &Digest::of(wanted), &part, &limits)
}

#[test]
fn no_redirect_is_followed_to_wherever_it_points() {
    // Wherever a redirect points, somebody listens there.
    let elsewhere =
        Rogue::start(|_, wire| wire.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"));
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    plain.set_nonblocking(true).unwrap();
    let inside = format!("http://{}/", plain.local_addr().unwrap());
    let mut tried = 0;
    for status in [301, 302, 303, 307, 308] {
        for location in
            [elsewhere.url.clone() + "/x", inside.clone(), "//evil.example/x".into(), "/trust/other".into()]
        {
            let head =
                format!("HTTP/1.1 {status} Moved\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
            let rogue = Rogue::start(move |_, wire| wire.write_all(head.as_bytes()));
            let dir = tempfile::tempdir().unwrap();
            let refusal = fetch(&rogue.remote(), b"wanted", &dir).unwrap_err();
            assert!(matches!(refusal, FileError::Refused { status: s, .. } if s == status), "{refusal}");
            let refusal = rogue.remote().get("trust/timestamp.json", 1000).unwrap_err();
            assert!(matches!(refusal, HttpError::Status { status: s, .. } if s == status), "{refusal}");
            assert_eq!(rogue.requests(), 2, "one request each, and no other");
            tried += 2;
        }
    }
    assert_eq!(elsewhere.requests(), 0, "nobody came");
    assert!(plain.accept().is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock), "nobody came");
    println!("{tried} redirects, 0 followed");
}

#[test]
fn another_certificate_and_plain_http_are_no_fleet() {
    let ours = Rogue::start(|_, wire| wire.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"));
    assert_eq!(ours.remote().get("x", 10).unwrap(), Some(b"{}".to_vec()));
    // The same server behind an address the device was sent to; but its certificate is of another CA.
    let foreign = Rogue::start(|_, wire| wire.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"));
    let misled = ours.remote_to(&foreign.url);
    assert!(matches!(misled.get("x", 10), Err(HttpError::Unreachable { .. })));
    assert_eq!(foreign.requests(), 0, "no request got through its handshake");
    let plain = ours.remote_to("http://127.0.0.1:9");
    assert!(matches!(plain.get("x", 10), Err(HttpError::Unreachable { .. })));
}

#[test]
fn whatever_a_mirror_answers_only_the_signed_bytes_arrive() {
    let wanted = vec![7u8; 3000];
    let answers: [(&str, Vec<u8>); 8] = [
        ("nothing", b"".to_vec()),
        ("no HTTP", b"hello\r\n\r\n".to_vec()),
        ("too little", [b"HTTP/1.1 206 x\r\ncontent-length: 3000\r\n\r\n".to_vec(), vec![7; 10]].concat()),
        ("no content", b"HTTP/1.1 204 x\r\ncontent-length: 0\r\n\r\n".to_vec()),
        ("an empty part", b"HTTP/1.1 206 x\r\ncontent-length: 0\r\n\r\n".to_vec()),
        ("other bytes", [b"HTTP/1.1 206 x\r\ncontent-length: 3000\r\n\r\n".to_vec(), vec![8; 3000]].concat()),
        (
            "an error that looks like a file",
            [b"HTTP/1.1 404 x\r\ncontent-length: 3000\r\n\r\n".to_vec(), vec![7; 3000]].concat(),
        ),
        (
            "compressed",
            [
                b"HTTP/1.1 206 x\r\ncontent-encoding: gzip\r\ncontent-length: 3000\r\n\r\n".to_vec(),
                vec![9; 3000],
            ]
            .concat(),
        ),
    ];
    for (what, answer) in answers {
        let rogue = Rogue::start(move |_, wire| wire.write_all(&answer));
        let dir = tempfile::tempdir().unwrap();
        assert!(fetch(&rogue.remote(), &wanted, &dir).is_err(), "{what}");
    }
    // A server that ignores the range answers from the start: of use at the start only.
    let whole = [b"HTTP/1.1 200 OK\r\ncontent-length: 3000\r\n\r\n".to_vec(), wanted.clone()].concat();
    let rogue = Rogue::start(move |_, wire| wire.write_all(&whole));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x.part"), &wanted[..1000]).unwrap();
    assert!(matches!(fetch(&rogue.remote(), &wanted, &dir), Err(FileError::Transient { .. })));
    fetch(&rogue.remote(), &wanted, &dir).unwrap();
    let ranges: Vec<_> = rogue.asked.lock().unwrap().iter().filter_map(|(_, r)| r.clone()).collect();
    assert_eq!(ranges, ["bytes=1000-2999", "bytes=0-2999"]);
}

#[test]
fn a_refresh_from_a_lying_mirror_changes_nothing_on_the_disk() {
    let repo = crate::repo::Repo::new();
    let rogue = Rogue::start(|path, wire| {
        let body = format!("{{\"signatures\":[],\"signed\":{{\"_type\":\"{path}\"}}}}");
        wire.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes())
    });
    let dir = tempfile::tempdir().unwrap();
    let root = &repo.served["1.root.json"];
    std::fs::write(dir.path().join("root.json"), root).unwrap();
    assert!(refresh(&rogue.remote(), dir.path(), &["x".into()], UnixMs(1_767_225_600_000)).is_err());
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().flatten().map(|e| e.file_name()).collect();
    assert_eq!(names, ["root.json"]);
    assert_eq!(&std::fs::read(dir.path().join("root.json")).unwrap(), root);
}
