//! Owns the only kind of I/O object of this crate: a connected TCP socket that reports when the
//! bytes of each read arrived.
//!
//! On Linux the kernel's receive time comes with every read (`SO_TIMESTAMPNS`, `recvmsg`);
//! elsewhere, and if the kernel gives none, the monotonic clock right after the read is used.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::kernel_clock::{Arrival, OffsetTracker};
use evalscope_model::metrics::{HANDLING_BITS, SharedHistogram};
use evalscope_model::record::ArrivalClock;
use evalscope_model::time::{RunClock, Timestamp};

/// Maximum size of one read. Larger than what a socket usually holds; shared by all streams of a
/// thread.
const READ_BYTES: usize = 128 << 10;

/// A connection to read from and write to: a socket, or a test script.
pub(super) trait Wire {
    /// Read once and pass the bytes and their arrival to `sink`. `None` after an orderly close.
    /// Cancel safe: nothing is read unless `sink` is called.
    async fn read<R>(
        &self,
        context: &ReadContext,
        sink: impl FnOnce(&[u8], Arrival) -> R,
    ) -> io::Result<Option<R>>;

    /// Write some bytes of the pieces as soon as any can be written, and return how many were.
    async fn write_some(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize>;
}

/// Write all pieces, one behind the other; `moved` is called whenever some bytes were written.
pub(super) async fn write_all(
    wire: &impl Wire,
    mut pieces: &mut [IoSlice<'_>],
    moved: impl Fn(),
) -> io::Result<()> {
    // empty ones at the front are passed over
    IoSlice::advance_slices(&mut pieces, 0);
    while !pieces.is_empty() {
        let n = wire.write_some(pieces).await?;
        IoSlice::advance_slices(&mut pieces, n);
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

    async fn write_some(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        Socket::write_some(self, pieces).await
    }
}

/// Counters of a receive thread; other threads may read them at any time.
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
    /// Bytes that arrived, before decryption.
    pub bytes: AtomicU64,
    /// CPU time of the thread, nanoseconds.
    pub cpu_ns: AtomicU64,
}

impl Default for ReadStats {
    fn default() -> Self {
        Self {
            handling: SharedHistogram::new(HANDLING_BITS),
            kernel_reads: AtomicU64::new(0),
            user_reads: AtomicU64::new(0),
            clock_steps: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            cpu_ns: AtomicU64::new(0),
        }
    }
}

/// State shared by all streams of one receive thread: the read buffer, and the thread's clocks. Not
/// shared between threads, so the receive path has no lock.
#[derive(Debug, Clone)]
pub struct ReadContext {
    clock: RunClock,
    scratch: Rc<RefCell<Scratch>>,
    stats: Arc<ReadStats>,
    /// Do not ask the kernel for timestamps.
    user_clock_only: bool,
    /// When a test on the runtime's time began.
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

    /// A context that uses the runtime's time, which a test may pause.
    #[cfg(test)]
    pub(super) fn of_runtime() -> Self {
        let mut context = Self::new(RunClock::start(), Arc::default(), true);
        context.runtime_time = Some(tokio::time::Instant::now());
        context
    }

    /// The current moment.
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

    /// Stamp a read of so many bytes.
    fn stamp(
        &self,
        offset: &mut OffsetTracker,
        kernel_wall_ns: Option<u64>,
        bytes: usize,
    ) -> Arrival {
        let arrival = offset.stamp(&self.clock, kernel_wall_ns);
        // only this thread writes: a load and a store are enough
        let add = |counter: &AtomicU64, more: u64| {
            counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
        };
        match arrival.clock {
            ArrivalClock::Kernel => add(&self.stats.kernel_reads, 1),
            ArrivalClock::User => add(&self.stats.user_reads, 1),
        }
        add(&self.stats.bytes, bytes as u64);
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
        ControlMessageOwned, MsgFlags, recvmsg, sendmsg, setsockopt, sockopt::ReceiveTimestampns,
    };
    use socket2::SockRef;
    use tokio::io::Interest;
    use tokio::net::TcpStream;

    use super::{Arrival, IoSlice, ReadContext, Scratch, io};
    use evalscope_model::time::{timespec_ns, wall_ns};

    /// How much of a request the kernel buffers beyond what it can send. By default it would take
    /// megabytes, and on a slow connection the server would seem silent many seconds before it has
    /// received its request. Data in transit is not limited, so a fast connection loses nothing.
    const UNSENT_BYTES: u32 = 256 << 10;

    /// The kernel reports a socket as writable only when a third of its buffer is free, though it
    /// accepts bytes as soon as there is room for one: on a slow connection an upload would seem to
    /// stand still for many seconds.
    const WRITE_AGAIN: Duration = Duration::from_millis(250);

    pub(super) fn control_buffer() -> Vec<u8> {
        nix::cmsg_space!(nix::sys::time::TimeSpec)
    }

    /// Keeps kernel timestamps enabled. The first socket that requests receive times enables them
    /// for the whole machine, with a delay, and the last one disables them: hold a beacon from
    /// before the first connection.
    #[derive(Debug)]
    pub struct TimestampBeacon {
        _socket: Option<UdpSocket>,
    }

    impl TimestampBeacon {
        /// Create a beacon and wait until timestamps are enabled. Without one, the first reads may
        /// lack kernel timestamps.
        #[must_use]
        pub fn light() -> Self {
            let socket = UdpSocket::bind(("127.0.0.1", 0)).ok();
            if let Some(socket) = &socket {
                // a kernel that refuses gives no timestamps, which shows in the reads
                let _ = setsockopt(socket, ReceiveTimestampns, &true);
                let _ = wait_until_seen(socket);
            }
            Self { _socket: socket }
        }
    }

    /// How often to check; twenty milliseconds in total.
    const LOOKS: usize = 20;

    /// Send datagrams to ourselves until one is stamped on arrival: one that was not gets the time
    /// at which it is received.
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
            // no other datagram arrives: this waits
            let _ = receive(socket, &mut scratch, MsgFlags::empty());
        }
        Ok(())
    }

    /// See the module documentation.
    #[derive(Debug)]
    pub struct Socket {
        stream: TcpStream,
    }

    impl Socket {
        /// Take over a connected stream.
        /// As reported by the system.
        /// # Errors
        /// As the system reports them.
        pub fn new(stream: TcpStream, context: &ReadContext) -> io::Result<Self> {
            stream.set_nodelay(true)?;
            // if refused, uploads run ahead of what the server has received
            let _ = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES);
            if !context.user_clock_only {
                // if refused, reads have no kernel timestamp, and the record says so
                let _ = setsockopt(&stream, ReceiveTimestampns, &true);
            }
            Ok(Self { stream })
        }

        /// Read once and pass the bytes and their arrival to `sink`. `None` after an orderly close
        /// of the stream.
        ///
        /// # Errors
        /// As reported by the system.
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
                    // a read that did not fill the buffer has emptied the socket, and new bytes
                    // cause a new edge: clearing readiness now saves a read that would find nothing
                    if n > 0 && n < scratch.bytes.len() {
                        return Err(io::ErrorKind::WouldBlock.into());
                    }
                    Ok(())
                });
                match (received, tried) {
                    (Some((0, _)), _) => return Ok(None),
                    (Some((n, kernel_wall_ns)), _) => {
                        let arrival = context.stamp(&mut scratch.offset, kernel_wall_ns, n);
                        return Ok(Some(sink(&scratch.bytes[..n], arrival)));
                    }
                    (None, Err(error)) if is_would_block(&error) => {}
                    (None, Err(error)) => return Err(error),
                    (None, Ok(())) => {}
                }
            }
        }

        /// Write some bytes of the pieces as soon as any can be written, and return how many were.
        ///
        /// # Errors
        /// As reported by the system.
        pub async fn write_some(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
            loop {
                match self.stream.try_write_vectored(pieces) {
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
                match sendmsg::<()>(self.stream.as_raw_fd(), pieces, &[], flags, None) {
                    Ok(n) => return Ok(n),
                    Err(Errno::EAGAIN | Errno::EINTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }

        /// An idle connection with anything to read, including its end, cannot carry another
        /// request.
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

    /// Once enabled, the loopback stamps during the send.
    #[test]
    fn a_beacon_is_seen_when_it_is_lit() {
        let (done, waited) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let _beacon = TimestampBeacon::light();
            done.send(()).unwrap();
        });
        let limit = std::time::Duration::from_secs(5);
        waited.recv_timeout(limit).expect("waiting for it ends");
    }
}

#[cfg(not(target_os = "linux"))]
mod portable {
    use tokio::net::TcpStream;

    use super::{Arrival, IoSlice, ReadContext, io};

    pub(super) fn control_buffer() -> Vec<u8> {
        Vec::new()
    }

    /// Empty: this system gives no receive times.
    #[derive(Debug)]
    pub struct TimestampBeacon;

    impl TimestampBeacon {
        /// Does nothing.
        #[must_use]
        pub fn light() -> Self {
            Self
        }
    }

    /// See the module documentation.
    #[derive(Debug)]
    pub struct Socket {
        stream: TcpStream,
    }

    impl Socket {
        /// Take over a connected stream.
        ///
        /// # Errors
        /// As reported by the system.
        pub fn new(stream: TcpStream, _context: &ReadContext) -> io::Result<Self> {
            stream.set_nodelay(true)?;
            Ok(Self { stream })
        }

        /// Read once and pass the bytes and their arrival to `sink`. `None` after an orderly close
        /// of the stream.
        ///
        /// # Errors
        /// As reported by the system.
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
                        let arrival = context.stamp(&mut scratch.offset, None, n);
                        return Ok(Some(sink(&scratch.bytes[..n], arrival)));
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        }

        /// Write some bytes of the pieces as soon as any can be written, and return how many were.
        ///
        /// # Errors
        /// As reported by the system.
        pub async fn write_some(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
            loop {
                self.stream.writable().await?;
                match self.stream.try_write_vectored(pieces) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    written => return written,
                }
            }
        }

        /// An idle connection with anything to read, including its end, cannot carry another
        /// request.
        pub fn is_stale(&self) -> bool {
            let mut byte = [0];
            !matches!(
                self.stream.try_read(&mut byte),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock
            )
        }
    }
}
