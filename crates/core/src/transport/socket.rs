//! Owns the one kind of I/O object of this crate: a connected TCP socket that
//! says of each read when its bytes arrived.
//!
//! On Linux the kernel's receive time comes with every read
//! (`SO_TIMESTAMPNS`, `recvmsg`); elsewhere, and when the kernel gives none,
//! the monotonic clock right after the read stands in.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::kernel_clock::{Arrival, OffsetTracker};
use evalscope_model::metrics::{HANDLING_BITS, SharedHistogram};
use evalscope_model::record::ArrivalClock;
use evalscope_model::time::{RunClock, Timestamp};

/// Bytes of one read at most. Larger than what a socket usually holds; shared
/// by all streams of a thread.
const READ_BYTES: usize = 128 << 10;

/// A connection to read from and write to: a socket, or a script of a test.
pub(super) trait Wire {
    /// Read once and hand the bytes and their arrival to `sink`. `None` at the
    /// orderly end. Cancel safe: nothing is read unless `sink` is called.
    async fn read<R>(
        &self,
        context: &ReadContext,
        sink: impl FnOnce(&[u8], Arrival) -> R,
    ) -> io::Result<Option<R>>;

    /// Write some bytes as soon as any are taken, and say how many were.
    async fn write_some(&self, bytes: &[u8]) -> io::Result<usize>;
}

/// Write all bytes; `moved` is called when some were taken.
pub(super) async fn write_all(
    wire: &impl Wire,
    mut bytes: &[u8],
    moved: impl Fn(),
) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = wire.write_some(bytes).await?;
        bytes = &bytes[n..];
        moved();
    }
    Ok(())
}

impl Wire for Socket {
    async fn read<R>(
        &self,
        context: &ReadContext,
        sink: impl FnOnce(&[u8], Arrival) -> R,
    ) -> io::Result<Option<R>> {
        Socket::read(self, context, sink).await
    }

    async fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        Socket::write_some(self, bytes).await
    }
}

/// What a receiving thread counts of itself; others may look at any time.
#[derive(Debug)]
pub struct ReadStats {
    /// From arrival to handling, nanoseconds.
    pub handling: SharedHistogram,
    /// Reads stamped by the kernel.
    pub kernel_reads: AtomicU64,
    /// Reads stamped by the user clock.
    pub user_reads: AtomicU64,
    /// Steps of the wall clock.
    pub clock_steps: AtomicU64,
    /// Processor time of the thread, nanoseconds.
    pub cpu_ns: AtomicU64,
}

impl Default for ReadStats {
    fn default() -> Self {
        Self {
            handling: SharedHistogram::new(HANDLING_BITS),
            kernel_reads: AtomicU64::new(0),
            user_reads: AtomicU64::new(0),
            clock_steps: AtomicU64::new(0),
            cpu_ns: AtomicU64::new(0),
        }
    }
}

/// What all streams of one receiving thread share: the buffer that bytes are
/// read into, and the thread's view of the clocks. Not shared between threads,
/// so there is no lock on the receiving path.
#[derive(Debug, Clone)]
pub struct ReadContext {
    clock: RunClock,
    scratch: Rc<RefCell<Scratch>>,
    stats: Arc<ReadStats>,
    /// Do not ask the kernel for times.
    user_clock_only: bool,
    /// When a test whose time is the runtime's began.
    #[cfg(test)]
    runtime_time: Option<tokio::time::Instant>,
}

#[derive(Debug)]
struct Scratch {
    bytes: Vec<u8>,
    control: Vec<u8>,
    offset: OffsetTracker,
}

impl Scratch {
    fn new() -> Self {
        Self {
            bytes: vec![0; READ_BYTES],
            control: control_buffer(),
            offset: OffsetTracker::started(),
        }
    }
}

impl ReadContext {
    /// A context for a thread.
    #[must_use]
    pub fn new(clock: RunClock, stats: Arc<ReadStats>, user_clock_only: bool) -> Self {
        Self {
            clock,
            scratch: Rc::new(RefCell::new(Scratch::new())),
            stats,
            user_clock_only,
            #[cfg(test)]
            runtime_time: None,
        }
    }

    /// A context whose time is that of the runtime, which a test may pause.
    #[cfg(test)]
    pub(super) fn of_runtime() -> Self {
        let mut context = Self::new(RunClock::start(), Arc::default(), true);
        context.runtime_time = Some(tokio::time::Instant::now());
        context
    }

    /// The present moment.
    pub(super) fn now(&self) -> Timestamp {
        #[cfg(test)]
        if let Some(began) = self.runtime_time {
            return Timestamp::ZERO.after(began.elapsed());
        }
        self.clock.now()
    }

    /// The run's clock.
    #[must_use]
    pub fn clock(&self) -> &RunClock {
        &self.clock
    }

    fn stamp(&self, offset: &mut OffsetTracker, kernel_wall_ns: Option<u64>) -> Arrival {
        let arrival = offset.stamp(&self.clock, kernel_wall_ns);
        // this thread alone writes: a load and a store are enough
        let add = |counter: &AtomicU64| {
            counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        };
        match arrival.clock {
            ArrivalClock::Kernel => add(&self.stats.kernel_reads),
            ArrivalClock::User => add(&self.stats.user_reads),
        }
        if let Some(handling) = arrival.handling_ns {
            self.stats.handling.record(handling);
        }
        self.stats
            .clock_steps
            .store(offset.steps(), Ordering::Relaxed);
        arrival
    }
}

#[cfg(target_os = "linux")]
pub use linux::Socket;
#[cfg(target_os = "linux")]
pub use linux::TimestampBeacon;
#[cfg(target_os = "linux")]
use linux::control_buffer;

#[cfg(not(target_os = "linux"))]
pub use portable::Socket;
#[cfg(not(target_os = "linux"))]
pub use portable::TimestampBeacon;
#[cfg(not(target_os = "linux"))]
use portable::control_buffer;

#[cfg(target_os = "linux")]
mod linux {
    use std::io::IoSliceMut;
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;
    use std::time::Duration;

    use nix::errno::Errno;
    use nix::sys::socket::{
        ControlMessageOwned, MsgFlags, recvmsg, send, setsockopt, sockopt::ReceiveTimestampns,
    };
    use socket2::SockRef;
    use tokio::io::Interest;
    use tokio::net::TcpStream;

    use super::{Arrival, ReadContext, Scratch, io};
    use evalscope_model::time::{timespec_ns, wall_ns};

    /// How much of a request the kernel takes ahead of what it may send. It would
    /// take megabytes, and on a slow line the silence of a server that is still
    /// being told its request would begin many seconds too early. What is on its
    /// way is not limited, so a fast line loses nothing.
    const UNSENT_BYTES: u32 = 256 << 10;

    /// The kernel says that a socket is writable only when a third of its buffer
    /// is free, though it takes bytes as soon as there is room for one: on a slow
    /// line that is many seconds, in which an upload would seem to stand still.
    const WRITE_AGAIN: Duration = Duration::from_millis(250);

    pub(super) fn control_buffer() -> Vec<u8> {
        nix::cmsg_space!(nix::sys::time::TimeSpec)
    }

    /// Keeps the kernel stamping. The first socket that asks for receive times
    /// turns stamping on for the whole machine, a moment later and off again
    /// with the last one: hold a beacon from before the first connection on.
    #[derive(Debug)]
    pub struct TimestampBeacon {
        _socket: Option<UdpSocket>,
    }

    impl TimestampBeacon {
        /// Light a beacon, and see it. Without one, the first reads may lack kernel times.
        #[must_use]
        pub fn light() -> Self {
            let socket = UdpSocket::bind(("127.0.0.1", 0)).ok();
            if let Some(socket) = &socket {
                // a kernel that refuses gives no times: the reads will say so
                let _ = setsockopt(socket, ReceiveTimestampns, &true);
                let _ = wait_until_seen(socket);
            }
            Self { _socket: socket }
        }
    }

    /// How often a beacon is looked for; twenty milliseconds in all.
    const LOOKS: usize = 20;

    /// Send datagrams to ourselves until one is stamped as it comes: the time of
    /// one that was not stamped is filled in when it is received.
    fn wait_until_seen(socket: &UdpSocket) -> io::Result<()> {
        socket.set_read_timeout(Some(Duration::from_millis(1)))?;
        socket.connect(socket.local_addr()?)?;
        let mut scratch = Scratch::new();
        for _ in 0..LOOKS {
            socket.send(&[1])?;
            let sent_ns = wall_ns();
            let received = receive(socket, &mut scratch, MsgFlags::empty());
            if received.is_ok_and(|(_, at)| at.is_some_and(|at| at <= sent_ns)) {
                return Ok(());
            }
            // nothing comes of its own accord: this waits
            let _ = receive(socket, &mut scratch, MsgFlags::empty());
        }
        Ok(())
    }

    /// See the module.
    #[derive(Debug)]
    pub struct Socket {
        stream: TcpStream,
    }

    impl Socket {
        /// Take over a connected stream.
        ///
        /// # Errors
        /// As the system reports them.
        pub fn new(stream: TcpStream, context: &ReadContext) -> io::Result<Self> {
            stream.set_nodelay(true)?;
            // refused: an upload looks ahead of what the server has taken
            let _ = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES);
            if !context.user_clock_only {
                // refused: the reads carry no kernel time, and the record says so
                let _ = setsockopt(&stream, ReceiveTimestampns, &true);
            }
            Ok(Self { stream })
        }

        /// Read once and hand the bytes and their arrival to `sink`. `None` at
        /// the orderly end of the stream.
        ///
        /// # Errors
        /// As the system reports them.
        ///
        /// # Cancel safety
        /// Nothing is read unless `sink` is called.
        pub async fn read<R>(
            &self,
            context: &ReadContext,
            sink: impl FnOnce(&[u8], Arrival) -> R,
        ) -> io::Result<Option<R>> {
            loop {
                self.stream.readable().await?;
                let scratch = &mut *context.scratch.borrow_mut();
                let mut received = None;
                let tried = self.stream.try_io(Interest::READABLE, || {
                    let flags = MsgFlags::MSG_DONTWAIT;
                    let (n, kernel_wall_ns) = receive(&self.stream, scratch, flags)?;
                    received = Some((n, kernel_wall_ns));
                    // a read that did not fill the buffer emptied the socket, and
                    // new bytes make a new edge: to say so now spares the read
                    // that would only find nothing
                    if n > 0 && n < scratch.bytes.len() {
                        return Err(io::ErrorKind::WouldBlock.into());
                    }
                    Ok(())
                });
                match (received, tried) {
                    (Some((0, _)), _) => return Ok(None),
                    (Some((n, kernel_wall_ns)), _) => {
                        let arrival = context.stamp(&mut scratch.offset, kernel_wall_ns);
                        return Ok(Some(sink(&scratch.bytes[..n], arrival)));
                    }
                    (None, Err(error)) if is_would_block(&error) => {}
                    (None, Err(error)) => return Err(error),
                    (None, Ok(())) => {}
                }
            }
        }

        /// Write some bytes as soon as any are taken, and say how many were.
        ///
        /// # Errors
        /// As the system reports them.
        pub async fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
            loop {
                match self.stream.try_write(bytes) {
                    Ok(n) => return Ok(n),
                    Err(error) if is_would_block(&error) => {}
                    Err(error) => return Err(error),
                }
                let writable = tokio::time::timeout(WRITE_AGAIN, self.stream.writable());
                if let Ok(ready) = writable.await {
                    ready?;
                    continue;
                }
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                match send(self.stream.as_raw_fd(), bytes, flags) {
                    Ok(n) => return Ok(n),
                    Err(Errno::EAGAIN | Errno::EINTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }

        /// An idle connection on which anything is to be read, an end included,
        /// cannot carry another request.
        pub fn is_stale(&self) -> bool {
            let mut byte = [0];
            let mut iov = [IoSliceMut::new(&mut byte)];
            let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
            !matches!(
                recvmsg::<()>(self.stream.as_raw_fd(), &mut iov, None, flags),
                Err(Errno::EAGAIN)
            )
        }
    }

    fn is_would_block(error: &io::Error) -> bool {
        matches!(
            error.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
        )
    }

    fn receive(
        socket: &impl AsRawFd,
        scratch: &mut Scratch,
        flags: MsgFlags,
    ) -> Result<(usize, Option<u64>), Errno> {
        let mut iov = [IoSliceMut::new(&mut scratch.bytes)];
        let message = recvmsg::<()>(
            socket.as_raw_fd(),
            &mut iov,
            Some(&mut scratch.control),
            flags,
        )?;
        let kernel_wall_ns = message.cmsgs().ok().and_then(|mut messages| {
            messages.find_map(|message| match message {
                ControlMessageOwned::ScmTimestampns(at) => {
                    Some(timespec_ns(at.tv_sec(), at.tv_nsec()))
                }
                _ => None,
            })
        });
        Ok((message.bytes, kernel_wall_ns))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// The loopback stamps within the send, once stamping is on.
    #[test]
    fn a_beacon_is_seen_when_it_is_lit() {
        let (done, waited) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let _beacon = TimestampBeacon::light();
            done.send(()).unwrap();
        });
        let limit = std::time::Duration::from_secs(5);
        waited.recv_timeout(limit).expect("looking for it ends");
    }
}

#[cfg(not(target_os = "linux"))]
mod portable {
    use tokio::net::TcpStream;

    use super::{Arrival, ReadContext, io};

    pub(super) fn control_buffer() -> Vec<u8> {
        Vec::new()
    }

    /// Nothing to hold here: this system gives no receive times.
    #[derive(Debug)]
    pub struct TimestampBeacon;

    impl TimestampBeacon {
        /// Nothing to do.
        #[must_use]
        pub fn light() -> Self {
            Self
        }
    }

    /// See the module.
    #[derive(Debug)]
    pub struct Socket {
        stream: TcpStream,
    }

    impl Socket {
        /// Take over a connected stream.
        ///
        /// # Errors
        /// As the system reports them.
        pub fn new(stream: TcpStream, _context: &ReadContext) -> io::Result<Self> {
            stream.set_nodelay(true)?;
            Ok(Self { stream })
        }

        /// Read once and hand the bytes and their arrival to `sink`. `None` at
        /// the orderly end of the stream.
        ///
        /// # Errors
        /// As the system reports them.
        ///
        /// # Cancel safety
        /// Nothing is read unless `sink` is called.
        pub async fn read<R>(
            &self,
            context: &ReadContext,
            sink: impl FnOnce(&[u8], Arrival) -> R,
        ) -> io::Result<Option<R>> {
            loop {
                self.stream.readable().await?;
                let scratch = &mut *context.scratch.borrow_mut();
                match self.stream.try_read(&mut scratch.bytes) {
                    Ok(0) => return Ok(None),
                    Ok(n) => {
                        let arrival = context.stamp(&mut scratch.offset, None);
                        return Ok(Some(sink(&scratch.bytes[..n], arrival)));
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        }

        /// Write some bytes as soon as any are taken, and say how many were.
        ///
        /// # Errors
        /// As the system reports them.
        pub async fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
            loop {
                self.stream.writable().await?;
                match self.stream.try_write(bytes) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    written => return written,
                }
            }
        }

        /// An idle connection on which anything is to be read, an end included,
        /// cannot carry another request.
        pub fn is_stale(&self) -> bool {
            let mut byte = [0];
            !matches!(
                self.stream.try_read(&mut byte),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock
            )
        }
    }
}
