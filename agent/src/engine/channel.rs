//! The socket between supervisor and engine: one message a packet, descriptors beside it, nothing larger than a bound.
//!
//! A packet is sent or received whole. Any thread may send, one thread receives.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::protocol::MAX_PACKET;

/// Most descriptors beside one packet: the kernel's own limit.
pub const MAX_FDS: usize = 253;

/// Why a packet was not sent or not received.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The operating system refused.
    #[error("control socket: {0}")]
    Io(#[from] std::io::Error),
    /// A message or its descriptors are beyond the bounds.
    #[error("control socket: a packet of {bytes} bytes with {fds} descriptors is over the limit")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// Its descriptors.
        fds: usize,
    },
    /// Not a message of this protocol.
    #[error("control socket: not a message of this version")]
    Garbled,
}

impl From<Errno> for ChannelError {
    fn from(e: Errno) -> Self {
        Self::Io(e.into())
    }
}

/// One end.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// A connected pair, both closed on exec: one end stays, the other becomes a child's standard input.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub fn pair() -> std::io::Result<(Self, OwnedFd)> {
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(a), b))
    }

    /// An end that was inherited.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Sends one message; `fds` stay the caller's. Blocks while the other end's buffer is full.
    ///
    /// # Errors
    /// [`ChannelError`]; a closed other end is an [`ChannelError::Io`] with `BrokenPipe`.
    pub fn send<T: Serialize>(&self, message: &T, fds: &[BorrowedFd<'_>]) -> Result<(), ChannelError> {
        self.send_with(message, fds, SendFlags::NOSIGNAL)
    }

    /// [`Channel::send`] that never waits.
    ///
    /// # Errors
    /// [`ChannelError`]; a full buffer is an [`ChannelError::Io`] with `WouldBlock`.
    pub fn try_send<T: Serialize>(&self, message: &T, fds: &[BorrowedFd<'_>]) -> Result<(), ChannelError> {
        self.send_with(message, fds, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
    }

    fn send_with<T: Serialize>(
        &self,
        message: &T,
        fds: &[BorrowedFd<'_>],
        flags: SendFlags,
    ) -> Result<(), ChannelError> {
        let bytes = postcard::to_stdvec(message).map_err(|_| ChannelError::Garbled)?;
        if bytes.len() > MAX_PACKET || fds.len() > MAX_FDS {
            return Err(ChannelError::TooLarge { bytes: bytes.len(), fds: fds.len() });
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(ChannelError::TooLarge { bytes: bytes.len(), fds: fds.len() });
        }
        loop {
            match sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut control, flags) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Waits for one message and its descriptors; `None` when the other end is closed.
    ///
    /// # Errors
    /// [`ChannelError`]; descriptors of a packet that is refused are closed.
    pub fn recv<T: DeserializeOwned>(&self) -> Result<Option<(T, Vec<OwnedFd>)>, ChannelError> {
        let mut bytes = vec![0u8; MAX_PACKET];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = loop {
            match recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
            {
                Ok(got) => break got,
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(None),
                Err(e) => return Err(e.into()),
            }
        };
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        if got.bytes == 0 && fds.is_empty() {
            return Ok(None);
        }
        if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(ChannelError::TooLarge { bytes: got.bytes, fds: fds.len() });
        }
        match postcard::take_from_bytes(&bytes[..got.bytes]) {
            Ok((message, [])) => Ok(Some((message, fds))),
            _ => Err(ChannelError::Garbled),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::engine::protocol::{LoadId, ToEngine};

    #[test]
    fn messages_and_descriptors_arrive_in_order() {
        let (a, b) = Channel::pair().unwrap();
        let b = Channel::new(b);
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, b"kept").unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        a.send(&ToEngine::Ping(1), &[]).unwrap();
        a.send(&ToEngine::Activate(LoadId(9)), &[file.as_fd()]).unwrap();
        assert_eq!(b.recv::<ToEngine>().unwrap().unwrap().0, ToEngine::Ping(1));
        let (message, fds) = b.recv::<ToEngine>().unwrap().unwrap();
        assert_eq!(message, ToEngine::Activate(LoadId(9)));
        let mut text = String::new();
        std::fs::File::from(fds.into_iter().next().unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "kept");
        drop(a);
        assert!(b.recv::<ToEngine>().unwrap().is_none(), "a closed end is the end, not an error");
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let (a, b) = Channel::pair().unwrap();
        let b = Channel::new(b);
        a.send(&(200u8, "x"), &[]).unwrap();
        assert!(matches!(b.recv::<ToEngine>(), Err(ChannelError::Garbled)));
        a.send(&(ToEngine::Ping(1), 0u8), &[]).unwrap();
        assert!(matches!(b.recv::<ToEngine>(), Err(ChannelError::Garbled)), "trailing bytes");
        let reply = ToEngine::Reply { id: 1, status: 200, body: vec![0; MAX_PACKET] };
        assert!(matches!(a.send(&reply, &[]), Err(ChannelError::TooLarge { .. })));
    }

    #[test]
    fn the_largest_packet_passes() {
        let (a, b) = Channel::pair().unwrap();
        let reply = ToEngine::Reply { id: 1, status: 200, body: vec![7; MAX_PACKET - 16] };
        std::thread::scope(|s| {
            s.spawn(|| a.send(&reply, &[]).unwrap());
            assert_eq!(Channel::new(b).recv::<ToEngine>().unwrap().unwrap().0, reply);
        });
    }
}
