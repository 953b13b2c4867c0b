use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use super::*;

const SERVING: Limits =
    Limits { memory: Some(Memory::Private(1 << 30)), cpu_s: None, files: 1024, file_bytes: None };

/// Runs one of the ignored tests below in a process of its own: there is no way back out of a sandbox.
fn in_a_process(test: &str) {
    let dir = tempfile::tempdir().unwrap();
    let victim = dir.path().join("victim");
    std::fs::write(&victim, "before").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let out = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("tests::{test}"), "--ignored", "--nocapture"])
        .env("LONGSHORE_TEST_VICTIM", &victim)
        .env("LONGSHORE_TEST_PORT", listener.local_addr().unwrap().port().to_string())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && text.contains("1 passed"), "{text}");
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "before");
}

#[test]
fn nothing_leads_out_of_the_sandbox() {
    in_a_process("child_tries_everything");
}

#[test]
#[ignore = "started by nothing_leads_out_of_the_sandbox"]
fn child_tries_everything() {
    let victim = std::path::PathBuf::from(std::env::var_os("LONGSHORE_TEST_VICTIM").unwrap());
    let port: u16 = std::env::var("LONGSHORE_TEST_PORT").unwrap().parse().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    TcpStream::connect(("127.0.0.1", port)).expect("possible before");
    let parent = rustix::process::getppid().unwrap();
    let report = enter(&SERVING);
    println!("{report:?}");
    assert!(report.contains(&"no_new_privs".to_owned()), "{report:?}");
    let armed = report.iter().any(|m| m == "seccomp");
    if !armed && !report.iter().any(|m| m.starts_with("landlock-v")) {
        // An emulated or very old kernel: it was said, which is all that can be done.
        assert!(report.iter().any(|m| m.starts_with("missing:seccomp")), "{report:?}");
        return;
    }
    let refused = |what: &str, r: std::io::Result<()>| assert!(r.is_err(), "{what} must be refused");
    refused("connecting", TcpStream::connect(("127.0.0.1", port)).map(drop));
    refused("binding", TcpListener::bind("127.0.0.1:0").map(drop));
    refused("reading a file", std::fs::read(&victim).map(drop));
    refused("opening for writing", std::fs::OpenOptions::new().write(true).open(&victim).map(drop));
    refused("making a file", std::fs::write(victim.with_extension("new"), "x"));
    refused("removing a file", std::fs::remove_file(&victim));
    refused("making a directory", std::fs::create_dir(victim.with_extension("dir")));
    refused("executing", std::process::Command::new("/bin/true").status().map(drop));
    if armed {
        refused("renaming", std::fs::rename(&victim, victim.with_extension("moved")));
        refused("connecting to a unix socket", UnixStream::connect("/run/dbus/system_bus_socket").map(drop));
        refused("cutting an open file", rustix::fs::ftruncate(&listener, 0).map_err(Into::into));
        let signal = rustix::process::kill_process(parent, rustix::process::Signal::CONT);
        assert_eq!(signal, Err(rustix::io::Errno::PERM));
        let nobody =
            rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None);
        assert_eq!(nobody.err(), Some(rustix::io::Errno::PERM));
        assert!(
            memmap2::MmapOptions::new().len(4096).map_anon().unwrap().make_exec().is_err(),
            "code from data"
        );
        let listens = listener.try_clone().unwrap();
        assert!(matches!(fast_open(&listens, port), Err(rustix::io::Errno::PERM)), "connecting by sending");
        let pair = |kind| {
            use rustix::net::{AddressFamily, SocketFlags, socketpair};
            socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).map(drop)
        };
        assert_eq!(
            pair(rustix::net::SocketType::DGRAM),
            Err(rustix::io::Errno::PERM),
            "datagrams reach any path"
        );
        assert_eq!(pair(rustix::net::SocketType::STREAM), Ok(()));
        let limit = Rlimit { current: Some(1), maximum: Some(1) };
        assert!(setrlimit(Resource::Nofile, limit).is_err(), "limits are final");
    }
    // What serving needs still works, threads of this thread included, and they are bound as well.
    let inherited = std::thread::spawn(move || std::fs::read(&victim).is_err()).join().unwrap();
    assert!(inherited, "threads inherit the sandbox");
    let map = memmap2::MmapOptions::new().len(1 << 20).map_anon().unwrap();
    assert_eq!(map[0], 0);
    assert!(listener.set_nonblocking(true).is_ok());
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).unwrap();
}

/// Sends to an address with `MSG_FASTOPEN`, which connects.
#[allow(unsafe_code)]
fn fast_open(socket: &TcpListener, port: u16) -> rustix::io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
        sin_zero: [0; 8],
    };
    let mut data = *b"out";
    let mut piece = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
    // SAFETY: all zero is a valid msghdr; every pointer put into it lives until the call has returned.
    let sent = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_name = (&raw const address).cast_mut().cast();
        message.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
        message.msg_iov = &raw mut piece;
        message.msg_iovlen = 1;
        libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_FASTOPEN)
    };
    let why = std::io::Error::last_os_error().raw_os_error().unwrap_or_default();
    if sent < 0 { Err(rustix::io::Errno::from_raw_os_error(why)) } else { Ok(()) }
}

#[test]
fn a_trial_cannot_take_more_memory_than_it_may() {
    in_a_process("child_is_greedy");
}

#[test]
#[ignore = "started by a_trial_cannot_take_more_memory_than_it_may"]
fn child_is_greedy() {
    let report = enter(&Limits {
        memory: Some(Memory::AddressSpace(1 << 30)),
        cpu_s: Some(20),
        files: 64,
        file_bytes: None,
    });
    assert!(report.contains(&"rlimits".to_owned()), "{report:?}");
    assert!(memmap2::MmapOptions::new().len(100 << 20).map_anon().is_ok());
    assert!(memmap2::MmapOptions::new().len(2 << 30).map_anon().is_err());
}

#[test]
fn a_server_cannot_take_more_memory_than_it_may_whatever_it_reserves() {
    in_a_process("child_reserves_and_takes");
}

#[test]
#[ignore = "started by a_server_cannot_take_more_memory_than_it_may_whatever_it_reserves"]
fn child_reserves_and_takes() {
    let report = enter(&SERVING);
    assert!(report.contains(&"memory-limit-1024MiB".to_owned()), "{report:?}");
    let threads: Vec<_> = (0..32).map(|_| std::thread::spawn(|| vec![1u8; 1 << 20].len())).collect();
    for t in threads {
        assert_eq!(t.join().unwrap(), 1 << 20, "room that an allocator only reserves does not count");
    }
    assert!(Vec::<u8>::new().try_reserve_exact(2 << 30).is_err());
    assert!(Vec::<u8>::new().try_reserve_exact(100 << 20).is_ok());
}

#[test]
fn threads_that_were_there_before_are_reported() {
    in_a_process("child_is_not_alone");
}

#[test]
#[ignore = "started by threads_that_were_there_before_are_reported"]
fn child_is_not_alone() {
    // A test runs in a thread of its own, beside the harness.
    let report = enter(&SERVING);
    assert!(report.iter().any(|m| m.starts_with("missing:whole_process (2 threads")), "{report:?}");
}
