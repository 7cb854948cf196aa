//! Owns the download of one file: from a partial file to the complete one, over as many connections
//! as needed.
//!
//! It must not know the layout of the cache or when a download is needed.

use std::cell::Cell;
use std::io::{self, Read as _};

use url::Url;

use crate::client::{Answer, Client, bare_etag, broken, number, text};
use crate::config::Patience;
use crate::error::{HubError, Wanted};
use crate::partial::{Partial, Stated, as_sha256};
use crate::tries::{Setback, Tries};
use crate::watch::Watch;

/// Size of a read, and the granularity of progress.
const BLOCK_BYTES: usize = 1 << 16;

/// Makes sure that a watcher is notified of the end exactly once, if it was notified of a
/// beginning.
pub(crate) struct Watched<'a> {
    watch: &'a dyn Watch,
    begun: Cell<bool>,
}

impl<'a> Watched<'a> {
    pub(crate) fn new(watch: &'a dyn Watch) -> Self {
        Watched {
            watch,
            begun: Cell::new(false),
        }
    }

    fn begin(&self, file: &str, total_bytes: Option<u64>, already_bytes: u64) {
        self.begun.set(true);
        self.watch.begin(file, total_bytes, already_bytes);
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        if self.begun.get() {
            self.watch.end();
        }
    }
}

/// A file to fetch, and what is needed for it.
pub(crate) struct Fetch<'a> {
    pub(crate) client: &'a Client,
    pub(crate) patience: &'a Patience,
    pub(crate) wanted: &'a Wanted,
    /// Path inside the repository.
    pub(crate) name: &'a str,
    pub(crate) url: &'a Url,
    /// What the hub's file listing states.
    pub(crate) listed: Stated,
    pub(crate) watched: &'a Watched<'a>,
}

impl Fetch<'_> {
    /// Fetch what is missing and verify the complete file.
    pub(crate) fn complete(&self, partial: &mut Partial<'_>) -> Result<(), HubError> {
        let mut tries = Tries::new(self.patience, self.wanted, partial.progress());
        let mut started_over = 0;
        loop {
            match self.attempt(partial, &mut tries) {
                Ok(()) => return partial.check(self.wanted),
                Err(Setback::Final(error)) => return Err(error),
                Err(Setback::Again(trouble)) => {
                    tries.again(trouble, partial.progress(), self.watched.watch)?;
                }
                Err(Setback::StartOver) => {
                    partial.start_over()?;
                    started_over += 1;
                    if started_over > self.patience.tries {
                        return Err(self.malformed(
                            self.url.host_str().unwrap_or_default(),
                            format!("the file changed {started_over} times during the download"),
                        ));
                    }
                }
            }
        }
    }

    /// Make one request, and read as much of its response as arrives.
    fn attempt(&self, partial: &mut Partial<'_>, tries: &mut Tries<'_>) -> Result<(), Setback> {
        if partial.is_full() {
            return Ok(());
        }
        let from = Some(partial.length_bytes()).filter(|&from| from > 0);
        let answer = self
            .client
            .get(self.url, from)
            .map_err(|failure| tries.failed(failure))?;
        tries.reached();
        let stated = self.stated(&answer);
        match (answer.status, from) {
            (206, Some(from)) => {
                let goes_on = content_range(&answer).is_some_and(|(begin, _)| begin == from);
                if !goes_on || !partial.is_part_of(&stated) {
                    return Err(Setback::StartOver);
                }
            }
            // the server does not support ranges, or not for this file: it sends everything again
            (200, Some(_)) => partial.start_over()?,
            (200, None) => {}
            (206, None) => {
                let reason = "it is a part, but the whole was requested".to_owned();
                return Err(Setback::Final(self.malformed(&answer.host, reason)));
            }
            // the file ends before our position, so what we have is not part of it
            (416, Some(_)) => return Err(Setback::StartOver),
            _ => return Err(tries.refused(self.client, answer)),
        }
        partial.note(stated)?;
        self.watched.begin(
            self.name,
            partial.progress().total_bytes,
            partial.length_bytes(),
        );
        self.receive(answer, partial, tries)
    }

    fn receive(
        &self,
        answer: Answer,
        partial: &mut Partial<'_>,
        tries: &Tries<'_>,
    ) -> Result<(), Setback> {
        let has_length = number(&answer.headers, "content-length").is_some();
        let host = answer.host;
        let mut reader = answer.body.into_reader();
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            if self.watched.watch.cancelled() {
                return Err(Setback::Final(HubError::Cancelled {
                    wanted: Box::new(self.wanted.clone()),
                }));
            }
            match reader.read(&mut block) {
                Ok(0) => break,
                Ok(n) => {
                    partial.append(&block[..n])?;
                    self.watched.watch.advance(n as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(tries.failed(broken(error, &host))),
            }
            // it is wrong already: an endless response must not fill the disk
            if partial.is_overfull() {
                return Ok(());
            }
        }
        let is_short = !partial.is_full() && partial.progress().total_bytes.is_some();
        if is_short && !has_length && partial.length_bytes() > 0 {
            // the end of the connection marked the end of the body, so it may have been cut off
            let error = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Err(tries.failed(broken(error, &host)));
        }
        Ok(())
    }

    /// What is known about the file: Hugging Face states it before it redirects, `ModelScope` in
    /// its file listing, and every server some of it in its headers.
    fn stated(&self, answer: &Answer) -> Stated {
        let linked = &answer.linked;
        let length = match answer.status {
            206 => content_range(answer).and_then(|(_, total)| total),
            _ => number(&answer.headers, "content-length"),
        };
        let own_etag = || text(&answer.headers, "etag").map(bare_etag);
        Stated {
            sha256: linked
                .etag
                .as_deref()
                .and_then(as_sha256)
                .or_else(|| self.listed.sha256.clone()),
            etag: linked.etag.clone().or_else(own_etag),
            size_bytes: linked.size_bytes.or(self.listed.size_bytes).or(length),
        }
    }

    fn malformed(&self, host: &str, reason: String) -> HubError {
        HubError::Malformed {
            wanted: Box::new(self.wanted.clone()),
            host: host.to_owned(),
            reason,
        }
    }
}

/// `bytes 10-99/100`: where the part starts, and the total length if given.
fn content_range(answer: &Answer) -> Option<(u64, Option<u64>)> {
    let range = text(&answer.headers, "content-range")?.trim();
    let (part, total) = range.strip_prefix("bytes")?.trim().split_once('/')?;
    let (begin, _) = part.split_once('-')?;
    Some((begin.trim().parse().ok()?, total.trim().parse().ok()))
}
