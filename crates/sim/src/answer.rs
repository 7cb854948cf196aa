//! Owns sending one response on one connection: its timing, and the faults that affect bytes and
//! connections rather than text.
//!
//! It must not know how requests are read or connections accepted.

use std::io;

use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::config::SimConfig;
use crate::engine::{Engine, Turn, Work};
use crate::fault::Fault;
use crate::http::{Framing, write_all, write_head};
use crate::outbox::Outbox;
use crate::prefix::{Chain, PrefixCache};
use crate::truth::Recorder;
use crate::wire::{Answer, Beat, Refusal, Script};

/// A server without latency writes events in pieces of about this many bytes.
const BATCH_BYTES: usize = 64 << 10;

/// More room than any single event needs, except those with usage in each; those overshoot
/// harmlessly.
const EVENT_ROOM: usize = 1 << 10;

/// Events per write of the `batched` oddity.
const EVENTS_PER_BATCH: usize = 4;

/// Size of the `oversized-event` fault in units of 1 MiB.
const OVERSIZED_PIECES: usize = 64;

/// What happens to the connection after a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    KeepAlive,
    Close,
}

/// Everything needed to send a response.
#[derive(Debug)]
pub(crate) struct Player<'a> {
    pub(crate) stream: &'a TcpStream,
    pub(crate) config: &'a SimConfig,
    pub(crate) engine: &'a Engine,
    pub(crate) answer: &'a Answer,
    /// The prefix cache, and the blocks of each prompt.
    pub(crate) cached: Option<(&'a PrefixCache, &'a [Chain])>,
    pub(crate) sequence: u64,
    pub(crate) wants_stream: bool,
    pub(crate) keep_alive: bool,
    pub(crate) knows_chunks: bool,
    /// Complete header lines with their line ends.
    pub(crate) extra: String,
}

/// Send a non-streaming JSON response.
pub(crate) async fn respond(
    stream: &TcpStream,
    status: u16,
    extra: &str,
    body: &[u8],
    keep_alive: bool,
) -> io::Result<Then> {
    let mut out = Vec::with_capacity(256 + body.len());
    let framing = Framing::Length(body.len());
    write_head(
        &mut out,
        status,
        "application/json",
        framing,
        keep_alive,
        extra,
    );
    out.extend_from_slice(body);
    write_all(stream, &out).await?;
    Ok(if keep_alive {
        Then::KeepAlive
    } else {
        Then::Close
    })
}

/// Completes when the client has closed its side; never completes if it has sent more bytes.
async fn peer_closed(stream: &TcpStream) {
    if let Ok(1..) = stream.peek(&mut [0]).await {
        std::future::pending::<()>().await;
    }
}

/// Log when the service began, once it has. Called early, as the response may end at any time.
fn note_start(turn: &Turn<'_>, recorder: &mut Option<Recorder>) {
    if let (Some(recorder), Some(start)) = (recorder, turn.start()) {
        recorder.began(start);
    }
}

fn gone() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

impl Player<'_> {
    /// Send the response to its end, and log its truth however it ends.
    pub(crate) async fn play(&self, mut recorder: Option<Recorder>) -> io::Result<Then> {
        let then = match self.instead().await? {
            Some(then) => then,
            None if self.wants_stream && !self.answer.has(Fault::JsonInsteadOfStream) => {
                self.stream_events(&mut recorder).await?
            }
            None => self.whole_document(&mut recorder).await?,
        };
        if let Some(recorder) = recorder {
            recorder.finish().await;
        }
        Ok(then)
    }

    /// The faults that replace a response.
    async fn instead(&self) -> io::Result<Option<Then>> {
        let Some(fault) = self.answer.fault else {
            return Ok(None);
        };
        if !fault.replaces_response(self.wants_stream) {
            return Ok(None);
        }
        if let Some(status) = fault.status() {
            let extra = if status == 429 {
                "retry-after: 1\r\n"
            } else {
                ""
            };
            let body = self.refusal(status, format!("simulated status {status}"));
            return respond(self.stream, status, extra, &body, self.keep_alive)
                .await
                .map(Some);
        }
        match fault {
            Fault::Redirect307 => {
                // Reserved never to resolve, so that a client that follows it does no harm.
                let extra = "location: http://redirected.invalid/v1/chat/completions\r\n";
                respond(self.stream, 307, extra, b"", self.keep_alive)
                    .await
                    .map(Some)
            }
            Fault::ErrorBody | Fault::ErrorEvent | Fault::ErrorEventNamed | Fault::ErrorString => {
                self.error_body().await.map(Some)
            }
            Fault::ResetBefore => {
                self.stream.set_zero_linger()?;
                Ok(Some(Then::Close))
            }
            Fault::CloseBefore => Ok(Some(Then::Close)),
            Fault::Garbage => {
                write_all(
                    self.stream,
                    b"\x16\x03\x01\x00this is not HTTP\r\n\r\n\0\xff",
                )
                .await?;
                Ok(Some(Then::Close))
            }
            Fault::StallBefore => {
                self.stall().await;
                Ok(Some(Then::Close))
            }
            _ => Ok(None),
        }
    }

    fn refusal(&self, status: u16, message: String) -> Vec<u8> {
        let refusal = Refusal::new(status, message);
        self.answer.protocol.refusal(&refusal, &self.answer.id)
    }

    async fn error_body(&self) -> io::Result<Then> {
        let body = self.refusal(500, "simulated failure with status 200".to_owned());
        respond(self.stream, 200, "", &body, self.keep_alive).await
    }

    /// Keep the connection open and silent until the client closes it.
    async fn stall(&self) {
        tokio::select! {
            () = sleep(self.config.stall) => {}
            () = peer_closed(self.stream) => {}
        }
    }

    fn work(&self) -> Work {
        Work {
            sequence: self.sequence,
            prefill_tokens: self.answer.prompt_tokens - self.answer.cached_tokens,
            tokens: self.answer.emitted_tokens(),
        }
    }

    /// Cache what was computed for the response: all tokens but the last one, which no other token
    /// came from. A client that has seen the end of the response may already send the next turn.
    fn keep_blocks(&self) {
        let Some((cache, prompts)) = self.cached else {
            return;
        };
        let choices_per_prompt = (self.answer.choices as usize / prompts.len().max(1)).max(1);
        for choice in 0..self.answer.choices {
            let Some(prompt) = prompts.get(choice as usize / choices_per_prompt) else {
                return;
            };
            let mut sequence = prompt.clone();
            let computed = self.answer.emitted_tokens().saturating_sub(1) as usize;
            sequence.extend(self.answer.token_ids(choice).take(computed));
            cache.keep(&sequence);
        }
    }

    /// Wait until the service begins, in order of arrival.
    async fn begin(&self) -> io::Result<Turn<'_>> {
        tokio::select! {
            biased;
            turn = self.engine.begin(self.work()) => Ok(turn),
            () = peer_closed(self.stream) => Err(gone()),
        }
    }

    /// Wait until token number `token`, from 1, is due.
    async fn until(
        &self,
        turn: &mut Turn<'_>,
        token: u32,
        recorder: &mut Option<Recorder>,
    ) -> io::Result<()> {
        let outcome = tokio::select! {
            biased;
            due = turn.until(token) => due.map_err(|_| gone()),
            () = peer_closed(self.stream) => Err(gone()),
        };
        note_start(turn, recorder);
        outcome
    }

    async fn whole_document(&self, recorder: &mut Option<Recorder>) -> io::Result<Then> {
        let mut turn = self.begin().await?;
        note_start(&turn, recorder);
        let last = self.answer.emitted_tokens().max(1);
        self.until(&mut turn, last, recorder).await?;
        turn.served();
        self.keep_blocks();
        let document = self.answer.protocol.document(self.answer);
        let half = document.len() / 2;
        let fault = self.answer.fault;
        let keep_alive = self.keep_alive && fault != Some(Fault::NoKeepAlive);
        let framing = match fault {
            Some(Fault::BrokenJson) => Framing::Length(half),
            Some(Fault::NoKeepAlive) => Framing::UntilClose,
            Some(Fault::GarbageChunk) => Framing::Chunked {
                extensions: false,
                trailers: false,
            },
            _ => Framing::Length(document.len()),
        };
        let tempo = &self.engine.tempo;
        // Only streams are compressed.
        let of_bytes = fault.filter(|fault| *fault != Fault::Gzip);
        let mut outbox = Outbox::new(self.stream, tempo, of_bytes, framing, recorder);
        write_head(
            &mut outbox.buffer,
            200,
            "application/json",
            framing,
            keep_alive,
            &self.extra,
        );
        outbox.start_body().await?;
        let ends_early = matches!(
            fault,
            Some(
                Fault::BrokenJson
                    | Fault::Cut
                    | Fault::CutChunked
                    | Fault::Reset
                    | Fault::Stall
                    | Fault::GarbageChunk
            )
        );
        let length = if ends_early { half } else { document.len() };
        outbox.buffer.extend_from_slice(&document[..length]);
        outbox.flush().await?;
        match fault {
            Some(Fault::GarbageChunk) => self.garbage_chunk().await?,
            Some(Fault::Reset) => self.stream.set_zero_linger()?,
            Some(Fault::Stall) => {
                drop(turn);
                self.stall().await;
            }
            Some(Fault::Cut | Fault::CutChunked) => {}
            _ if keep_alive => return Ok(Then::KeepAlive),
            _ => {}
        }
        Ok(Then::Close)
    }

    async fn garbage_chunk(&self) -> io::Result<()> {
        write_all(self.stream, b"zz is not a size\r\ndata: {\r\n").await
    }

    fn stream_framing(&self, script: &Script<'_>) -> Framing {
        match self.answer.fault {
            Some(Fault::NoKeepAlive) => Framing::UntilClose,
            _ if !self.knows_chunks => Framing::UntilClose,
            Some(Fault::ContentLengthStream) => Framing::Length(script.length()),
            fault => Framing::Chunked {
                extensions: fault == Some(Fault::ChunkExtensions),
                trailers: fault == Some(Fault::Trailers),
            },
        }
    }

    async fn stream_events(&self, recorder: &mut Option<Recorder>) -> io::Result<Then> {
        let mut script = Script::new(self.answer);
        let framing = self.stream_framing(&script);
        let keep_alive = self.keep_alive && framing != Framing::UntilClose;
        // If a slot is free there is no waiting, and the head can go with the first events.
        let turn = self.engine.try_begin(self.work());

        let tempo = &self.engine.tempo;
        let mut outbox = Outbox::new(self.stream, tempo, self.answer.fault, framing, recorder);
        write_head(
            &mut outbox.buffer,
            200,
            "text/event-stream; charset=utf-8",
            framing,
            keep_alive,
            &format!(
                "cache-control: no-cache\r\n{}{}",
                if self.answer.has(Fault::Gzip) {
                    "content-encoding: gzip\r\n"
                } else {
                    ""
                },
                self.extra
            ),
        );
        // Real servers send the head before the model has done anything.
        outbox.start_body().await?;
        if turn.is_none() || self.config.profile.waits_for_first_token() {
            outbox.flush().await?;
        }
        let mut turn = match turn {
            Some(turn) => turn,
            None => self.begin().await?,
        };
        note_start(&turn, outbox.recorder);

        let batches = self.config.profile.sends_at_once();
        let events_per_write = match self.answer.fault {
            Some(Fault::SplitUtf8 | Fault::SplitBytes) => 1,
            Some(Fault::Batched) => EVENTS_PER_BATCH,
            _ if batches => usize::MAX,
            _ => 1,
        };
        let mut waited = false;
        let mut tokens = 0;
        while let Some(beat) = script.write_next(&mut outbox.buffer) {
            if !waited && !matches!(beat, Beat::Early | Beat::Closing) {
                waited = true;
                self.until(&mut turn, 1, outbox.recorder).await?;
            }
            match beat {
                Beat::Early if !batches || self.config.profile.waits_for_first_token() => {
                    outbox.flush().await?;
                }
                Beat::Opening if self.config.role_first && events_per_write == 1 => {
                    outbox.flush().await?;
                }
                Beat::Early | Beat::Opening | Beat::Closing => {}
                Beat::Tokens { count, new_step } => {
                    if new_step && !batches {
                        // An event is due with its last token.
                        tokens += count;
                        self.until(&mut turn, tokens, outbox.recorder).await?;
                    }
                    outbox.events += 1;
                    let full = outbox.buffer.len() + EVENT_ROOM > BATCH_BYTES;
                    if outbox.events >= events_per_write || full {
                        outbox.flush().await?;
                        tokio::task::consume_budget().await;
                    }
                }
            }
        }
        turn.served();
        self.keep_blocks();
        self.end_stream(&mut outbox, turn, keep_alive).await
    }

    async fn end_stream(
        &self,
        outbox: &mut Outbox<'_, '_>,
        turn: Turn<'_>,
        keep_alive: bool,
    ) -> io::Result<Then> {
        match self.answer.fault {
            Some(Fault::CutChunked) => {
                outbox.flush().await?;
                // A size of 500 bytes, then fewer bytes.
                write_all(self.stream, b"1f4\r\ndata: {\"id\":\"chat").await?;
                return Ok(Then::Close);
            }
            Some(Fault::Reset) => {
                outbox.flush().await?;
                self.stream.set_zero_linger()?;
                return Ok(Then::Close);
            }
            Some(Fault::GarbageChunk) => {
                outbox.flush().await?;
                self.garbage_chunk().await?;
                return Ok(Then::Close);
            }
            Some(Fault::Stall) => {
                outbox.flush().await?;
                // A stalled request must not block the queue for an hour.
                drop(turn);
                self.stall().await;
                return Ok(Then::Close);
            }
            Some(Fault::OversizedEvent) => {
                let begin = self.answer.protocol.endless_event();
                outbox.buffer.extend_from_slice(begin);
                for _ in 0..OVERSIZED_PIECES {
                    let length = outbox.buffer.len() + (1 << 20);
                    outbox.buffer.resize(length, b'x');
                    outbox.flush().await?;
                    tokio::task::consume_budget().await;
                }
            }
            _ => {}
        }
        outbox.end_body().await?;
        Ok(if keep_alive {
            Then::KeepAlive
        } else {
            Then::Close
        })
    }
}
