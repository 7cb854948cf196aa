//! Owns one request on an established connection: writing it, and reading the response until its
//! end or a limit.
//!
//! It must not know how the connection was made, or what the bytes mean.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::net::SocketAddr;

use super::coding::Decoder;
use super::connect::Connected;
use super::deadline::{Deadline, Stage, wait};
use super::error::{TransportError, not_http, plain};
use super::kernel_clock::Arrival;
use super::socket::{ReadContext, Wire, write_all};
use super::tls::PeerState;
use crate::http1::{Head, Progress, Receiver, ResponseReader};
use evalscope_model::record::{ConnectCost, FailureKind};
use evalscope_model::time::Timestamp;

/// Interprets a response as it arrives.
pub trait ResponseHandler {
    /// The head has arrived.
    fn head(&mut self, head: Head, at: Arrival);
    /// Bytes of the body have arrived. All calls of one read have the same arrival, and `read`
    /// distinguishes reads.
    fn body(&mut self, bytes: &[u8], at: Arrival, read: u64);
    /// Nothing more is needed: how the response ends does not matter.
    fn is_satisfied(&self) -> bool;
    /// The moment after which we stop waiting, as things stand; `None` while something is missing.
    /// Data that arrives earlier may move it.
    fn ends_at(&self) -> Option<Timestamp>;
    /// Nothing more can be understood: there is no point in reading on.
    fn is_lost(&self) -> bool;
}

/// What is known about the sending of a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct SendTimes {
    /// A connection was ready.
    pub connected: Option<Timestamp>,
    /// Just before the first byte was passed to the kernel.
    pub write_begun: Option<Timestamp>,
    /// Just after the last byte was.
    pub write_done: Option<Timestamp>,
    /// Arrival of the first byte of the response.
    pub first_byte: Option<Timestamp>,
    /// What the connection cost.
    pub cost: ConnectCost,
    /// The peer of the connection.
    pub peer: Option<SocketAddr>,
}

/// One request and its response.
pub(super) struct Exchanging<'a, W> {
    pub(super) connection: Connected<W>,
    context: &'a ReadContext,
    deadline: Deadline,
    reads: &'a mut u64,
    /// The server stopped accepting the request, but may still have responded.
    write_error: Option<TransportError>,
}

/// The result of a read.
enum Step {
    /// More is to come.
    Go,
    /// The peer will send no more; whether the response is complete is not decided yet.
    Closed,
    /// The response is complete.
    Complete { reusable: bool },
}

/// How much of a response has been read.
#[derive(Default)]
struct Reading {
    reader: ResponseReader,
    keep_alive: bool,
    coding: Coding,
}

/// The content coding of the body.
#[derive(Default)]
enum Coding {
    #[default]
    None,
    Known(Box<Decoder>),
    Unknown(String),
    /// No more of it can be read.
    Broken(TransportError),
}

impl<'a, W: Wire> Exchanging<'a, W> {
    pub(super) fn new(
        connection: Connected<W>,
        context: &'a ReadContext,
        deadline: Deadline,
        reads: &'a mut u64,
    ) -> Self {
        Self {
            connection,
            context,
            deadline,
            reads,
            write_error: None,
        }
    }

    /// Send the request, in pieces that are not copied.
    pub(super) async fn send(
        &mut self,
        request: [&[u8]; 3],
        times: &mut SendTimes,
    ) -> Result<(), TransportError> {
        times.write_begun = Some(self.context.now());
        let written = self.write(request).await;
        times.write_done = Some(self.context.now());
        match written {
            Ok(()) => Ok(()),
            // a server that rejects a request early closes while we still write: its response says
            // more than the broken pipe
            Err(error) if error.kind == FailureKind::Reset => {
                self.write_error = Some(error);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Read the response. Returns whether the connection can be reused.
    pub(super) async fn receive(
        &mut self,
        times: &mut SendTimes,
        handler: &mut impl ResponseHandler,
        kept_header: Option<&str>,
    ) -> Result<bool, TransportError> {
        let mut reading = Reading {
            reader: ResponseReader::keeping(kept_header),
            ..Reading::default()
        };
        let mut last_read = self.context.now();
        let mut ends_at: Option<Timestamp> = None;
        // when the limits are checked again
        let mut due = self.due(last_read, ends_at);
        let alarm = tokio::time::sleep(wait(last_read, due));
        tokio::pin!(alarm);
        loop {
            let step = {
                let read = self.read(&mut reading, times, handler);
                tokio::select! {
                    biased;
                    step = read => Some(step),
                    () = &mut alarm => None,
                }
            };
            let now = self.context.now();
            match step {
                Some(Ok(Step::Complete { reusable })) => {
                    return Ok(reusable && reading.keep_alive && self.write_error.is_none());
                }
                Some(Ok(Step::Go | Step::Closed)) => last_read = now,
                Some(Err(error)) => {
                    // everything requested has arrived: how the connection ends does not matter
                    if handler.is_satisfied() {
                        return Ok(false);
                    }
                    let untouched = reading.reader.untouched();
                    let unsent = self.write_error.take().filter(|_| untouched);
                    return Err(unsent.unwrap_or(error));
                }
                None => {}
            }
            if handler.is_lost() {
                return Ok(false);
            }
            let ends = handler.ends_at();
            let sooner = ends.is_some_and(|new| ends_at.is_none_or(|old| new < old));
            // a server that always has data ready must not starve the timer, so the clock is
            // checked too. If a read moves an end or a limit to a later time, that is noticed when
            // the old time has come: once per period, not once per read.
            if !sooner && now < due {
                continue;
            }
            ends_at = ends;
            if ends_at.is_some_and(|at| now >= at) {
                return Ok(false);
            }
            if let Some(failure) = self.deadline.failure(Stage::Answer, now, last_read) {
                // nothing is missing; we only waited for a late end
                if ends_at.is_some() {
                    return Ok(false);
                }
                let untouched = reading.reader.untouched();
                let unsent = self.write_error.take().filter(|_| untouched);
                return Err(unsent.unwrap_or(failure));
            }
            due = self.due(last_read, ends_at);
            let again = tokio::time::Instant::now() + wait(now, due);
            alarm.as_mut().reset(again);
        }
    }

    /// When to check the limits again if nothing is read.
    fn due(&self, last_read: Timestamp, ends_at: Option<Timestamp>) -> Timestamp {
        let limit = self.deadline.look_at(Stage::Answer, last_read);
        ends_at.map_or(limit, |at| at.min(limit))
    }

    async fn write(&mut self, request: [&[u8]; 3]) -> Result<(), TransportError> {
        let sealed;
        let mut pieces = match &mut self.connection.tls {
            None => request.map(IoSlice::new),
            Some(session) => {
                sealed = session
                    .write(request)
                    .map_err(|error| TransportError::new(FailureKind::Tls, plain(&error)))?;
                [&sealed[..], &[], &[]].map(IoSlice::new)
            }
        };
        let moved = Cell::new(self.context.now());
        let writing = async {
            write_all(&self.connection.socket, &mut pieces, || {
                moved.set(self.context.now());
            })
            .await
            .map_err(|error| broken(&error, "sending the request"))
        };
        self.deadline
            .hold(self.context, Stage::Upload, &moved, writing)
            .await
    }

    /// Read once. Cancel safe: bytes that were read have been handled.
    async fn read(
        &mut self,
        reading: &mut Reading,
        times: &mut SendTimes,
        handler: &mut impl ResponseHandler,
    ) -> Result<Step, TransportError> {
        let tls = &mut self.connection.tls;
        let reads = &mut *self.reads;
        let Reading {
            reader,
            keep_alive,
            coding,
        } = reading;
        let outcome = self
            .connection
            .socket
            .read(self.context, |bytes, arrival| {
                *reads += 1;
                let mut sink = Sink {
                    handler,
                    arrival,
                    read: *reads,
                    keep_alive,
                    coding,
                };
                let Some(session) = tls else {
                    times.first_byte.get_or_insert(arrival.at);
                    return consume(reader, bytes, &mut sink);
                };
                let mut result = Ok(Step::Go);
                let mut past_the_end = false;
                let opened = session.read(bytes, |plaintext| {
                    times.first_byte.get_or_insert(arrival.at);
                    if let Ok(Step::Go) = result {
                        result = consume(reader, plaintext, &mut sink);
                    } else {
                        past_the_end = true;
                    }
                });
                match (opened, result) {
                    (Err(error), Ok(Step::Go)) => Err(TransportError::new(
                        FailureKind::Tls,
                        format!("TLS: {error}"),
                    )),
                    (Ok(PeerState::Closed), Ok(Step::Go)) => Ok(Step::Closed),
                    // a complete response stays complete whatever follows, but a connection that
                    // was closed, broke, or sent more than was requested cannot be reused
                    (opened, Ok(Step::Complete { reusable })) => Ok(Step::Complete {
                        reusable: reusable
                            && !past_the_end
                            && matches!(opened, Ok(PeerState::Open)),
                    }),
                    (_, result) => result,
                }
            })
            .await;
        match outcome {
            Ok(Some(Ok(Step::Closed)) | None) => {}
            Ok(Some(step)) => return step,
            Err(error) => return Err(broken(&error, "reading the response")),
        }
        if reader.complete_at_close() {
            coding.ended()?;
            return Ok(Step::Complete { reusable: false });
        }
        let message = if reader.untouched() && self.connection.cost.reused {
            "the server closed the connection, reused from an earlier request, without a response"
        } else if reader.untouched() {
            "the server closed the connection without a response"
        } else {
            "the connection was closed in the middle of the response"
        };
        Err(TransportError::new(FailureKind::Truncated, message))
    }
}

fn broken(error: &io::Error, doing: &str) -> TransportError {
    TransportError::new(
        FailureKind::Reset,
        format!("{} while {doing}", plain(error)),
    )
}

fn consume(
    reader: &mut ResponseReader,
    bytes: &[u8],
    sink: &mut Sink<'_, impl ResponseHandler>,
) -> Result<Step, TransportError> {
    let pushed = reader.push(bytes, sink);
    if let Coding::Broken(error) = sink.coding {
        return Err(error.clone());
    }
    match pushed {
        Ok((used, Progress::Complete)) => {
            sink.coding.ended()?;
            Ok(Step::Complete {
                // bytes after a response belong to no request
                reusable: used == bytes.len(),
            })
        }
        Ok((_, Progress::Incomplete)) => Ok(Step::Go),
        Err(error) => Err(not_http(&error)),
    }
}

impl Coding {
    fn of(content_encoding: &str) -> Self {
        if content_encoding.is_empty() {
            return Self::None;
        }
        Decoder::of(content_encoding)
            .map_or_else(|| Self::Unknown(content_encoding.to_owned()), Self::Known)
    }

    /// The body has ended.
    fn ended(&self) -> Result<(), TransportError> {
        match self {
            Self::Known(decoder) if !decoder.is_whole() => Err(TransportError::new(
                FailureKind::Truncated,
                "the compressed response is truncated",
            )),
            _ => Ok(()),
        }
    }
}

struct Sink<'a, H> {
    handler: &'a mut H,
    arrival: Arrival,
    read: u64,
    keep_alive: &'a mut bool,
    coding: &'a mut Coding,
}

impl<H: ResponseHandler> Receiver for Sink<'_, H> {
    fn head(&mut self, head: Head) {
        *self.keep_alive = head.keep_alive;
        *self.coding = Coding::of(&head.content_encoding);
        self.handler.head(head, self.arrival);
    }

    fn body(&mut self, bytes: &[u8]) {
        let broken = match self.coding {
            Coding::None => return self.handler.body(bytes, self.arrival, self.read),
            Coding::Broken(_) => return,
            Coding::Unknown(coding) => TransportError::new(
                FailureKind::Malformed,
                format!("the response is encoded as {coding}: only gzip and deflate are supported"),
            ),
            Coding::Known(decoder) => {
                let handler = &mut *self.handler;
                let (arrival, read) = (self.arrival, self.read);
                let pushed = decoder.push(bytes, |piece| {
                    handler.body(piece, arrival, read);
                    !handler.is_lost()
                });
                match pushed {
                    Ok(()) => return,
                    Err(error) => TransportError::new(
                        FailureKind::Malformed,
                        format!(
                            "the compressed response cannot be decoded: {}",
                            plain(&error)
                        ),
                    ),
                }
            }
        };
        *self.coding = Coding::Broken(broken);
    }
}
