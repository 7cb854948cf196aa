//! Owns one row: from an [`Exchange`] to bound parameters, from columns back
//! to a [`RequestRecord`]. The one walks `schema::COLUMNS`, the other `schema::record_columns`.
//!
//! It must not know transactions, nor when a row is written.

use std::time::Duration;

use evalscope_model::conversation::TurnPlace;
use evalscope_model::metrics::Metric;
use evalscope_model::mix::{ModelId, UrlId};
use evalscope_model::prompt::TraceEntry;
use evalscope_model::record::{
    ArrivalClock, ConnectCost, CountedTokens, Ending, EventLog, EventLogFormat, Exchange, Failure,
    FailureKind, Phase, PluginTokens, RequestRecord, RequestTimes, TokenSource, Usage,
};
use evalscope_model::time::Timestamp;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Row, Statement, ToSql};

use super::encode::{Encoder, text};
use crate::model::RecordBodies;

/// Bytes known to be text: they are not looked through again.
struct Text<'a>(&'a [u8]);

impl ToSql for Text<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}

/// Any `u64` in SQLite's signed 64 bits, bit by bit.
fn signed(value: u64) -> i64 {
    value.cast_signed()
}

/// Binds values to the parameters of a statement, one after another.
struct Binder<'a, 'conn> {
    statement: &'a mut Statement<'conn>,
    next: usize,
}

impl Binder<'_, '_> {
    fn put<T: ToSql>(&mut self, value: T) -> rusqlite::Result<()> {
        let at = self.next;
        self.next += 1;
        self.statement.raw_bind_parameter(at, value)
    }

    fn text(&mut self, value: &[u8]) -> rusqlite::Result<()> {
        self.put(Text(value))
    }

    fn count(&mut self, value: Option<u64>) -> rusqlite::Result<()> {
        self.put(value.map(signed))
    }

    fn moment(&mut self, value: Option<Timestamp>) -> rusqlite::Result<()> {
        self.count(value.map(Timestamp::as_nanos))
    }

    /// A figure that only a success has, from nanoseconds to seconds.
    fn seconds(&mut self, metric: Metric, record: &RequestRecord) -> rusqlite::Result<()> {
        let value = record
            .succeeded()
            .then(|| metric.of_request(record))
            .flatten();
        self.put(value.map(|ns| ns / 1e9))
    }
}

/// Mean gap between the data events, seconds.
fn mean_gap_s(events: &EventLog) -> Option<f64> {
    let first = events.arrivals().next()?;
    let last = events.arrivals().next_back()?;
    let gaps = events.len() - 1;
    (gaps > 0).then(|| last.nanos_since(first) as f64 / gaps as f64 / 1e9)
}

/// Store one request.
pub(super) fn insert(
    statement: &mut Statement<'_>,
    exchange: &Exchange,
    bodies: RecordBodies,
    gpu_memory: Option<f64>,
    encoder: &mut Encoder,
) -> rusqlite::Result<()> {
    let Exchange {
        record,
        bodies: wire,
    } = exchange;
    let mut row = Binder { statement, next: 1 };
    insert_record(&mut row, record, gpu_memory)?;
    let keep = match bodies {
        RecordBodies::All => true,
        RecordBodies::Failed => !record.succeeded(),
        RecordBodies::None => false,
    };
    if keep {
        row.text(encoder.request(&wire.request))?;
        row.text(encoder.responses(&wire.responses))?;
    } else {
        row.text(b"")?;
        row.text(b"")?;
    }
    row.put((keep && !wire.final_event.is_empty()).then(|| text(&wire.final_event)))?;
    // why a request failed is worth its 4 KiB in any mode
    row.put((!wire.error_excerpt.is_empty()).then(|| text(&wire.error_excerpt)))?;
    statement.raw_execute()?;
    Ok(())
}

fn insert_record(
    row: &mut Binder<'_, '_>,
    record: &RequestRecord,
    gpu_memory: Option<f64>,
) -> rusqlite::Result<()> {
    let times = &record.times;
    let succeeded = record.succeeded();
    row.put(signed(record.index))?;
    row.text(record.phase.as_str().as_bytes())?;
    let (input, input_source) = record.prompt_tokens();
    row.count(input)?;
    // an estimate is only useful where the whole response came
    let (output, source) = if succeeded || record.usage.completion_tokens.is_some() {
        record.output_tokens()
    } else {
        (None, TokenSource::Unknown)
    };
    row.count(output)?;
    row.text(source.as_str().as_bytes())?;
    row.text(input_source.as_str().as_bytes())?;
    row.count(record.asked_prompt_tokens)?;
    row.count(record.counted.prompt_tokens)?;
    row.count(record.counted.completion_tokens)?;
    row.count(record.usage.cached_tokens)?;
    row.count(record.usage.reasoning_tokens)?;
    row.put(record.usage.reasoning_from_total)?;
    row.put(record.streamed)?;
    row.put(record.http_status)?;
    row.put(record.finish_reason.as_deref())?;
    row.put(record.response_id.as_deref())?;
    row.put(record.model.as_deref())?;
    row.text(record.ending.as_str().as_bytes())?;
    row.count(Some(record.skipped_events))?;
    row.put(record.compressed)?;
    row.put(record.peer.map(|peer| peer.to_string()))?;
    row.put(record.failure.as_ref().map(|f| f.kind.to_string()))?;
    row.put(record.failure.as_ref().map(|f| f.message.as_str()))?;
    row.text(record.clock.as_str().as_bytes())?;
    row.moment(Some(times.scheduled))?;
    row.moment(Some(times.slot_free))?;
    row.moment(Some(times.dispatched))?;
    row.moment(times.connected)?;
    row.moment(times.write_begun)?;
    row.moment(times.write_done)?;
    row.moment(times.first_byte)?;
    row.moment(times.headers)?;
    row.moment(times.last_data)?;
    row.moment(Some(times.ended))?;
    row.put(record.connect.reused)?;
    row.count(Some(record.connect.dns_ns))?;
    row.count(Some(record.connect.tcp_ns))?;
    row.count(Some(record.connect.tls_ns))?;
    insert_place(row, record)?;
    row.put(gpu_memory)?;
    row.seconds(Metric::Ttft, record)?;
    row.seconds(Metric::Tpot, record)?;
    row.put(signed(record.events.len() as u64))?;
    row.put(mean_gap_s(&record.events))?;
    row.put(record.events.to_bytes())
}

/// Where a request stands in a conversation and in a trace.
fn insert_place(row: &mut Binder<'_, '_>, record: &RequestRecord) -> rusqlite::Result<()> {
    let turn = record.turn.as_ref();
    row.count(turn.map(|turn| turn.conversation))?;
    row.put(turn.map(|turn| turn.turn))?;
    // no delay is longer than the 584 years that 64 bits hold
    let delay = turn.map(|turn| u64::try_from(turn.delay.as_nanos()).unwrap_or(u64::MAX));
    row.count(delay)?;
    row.count(turn.and_then(|turn| turn.asked_increment))?;
    row.count(record.asked_output_tokens)?;
    row.count(record.trace.map(|entry| entry.line))?;
    row.count(record.trace.and_then(|entry| entry.possible_cached_tokens))?;
    row.count(record.inputs)?;
    row.put(record.asked_model.map(|model| model.0))?;
    row.put(record.url.map(|url| url.0))
}

/// Takes the columns of a row, one after another.
struct Cells<'a, 'stmt> {
    row: &'a Row<'stmt>,
    next: usize,
    /// Columns that are known to be null, a bit for each.
    null: u64,
}

/// A value that cannot be: the column's number in the query, and why.
pub(super) type BadCell = (usize, String);

impl Cells<'_, '_> {
    /// The place of the next cell; whether the cell is known to be null.
    #[inline]
    fn step(&mut self) -> (usize, bool) {
        let at = self.next;
        self.next += 1;
        (at, self.null >> at & 1 == 1)
    }

    fn take<T: rusqlite::types::FromSql>(&mut self) -> Result<T, BadCell> {
        let (at, is_null) = self.step();
        if is_null {
            return T::column_result(ValueRef::Null).map_err(|error| (at, error.to_string()));
        }
        self.row.get(at).map_err(|error| (at, error.to_string()))
    }

    /// Half of the cells are counts or moments: as directly as it goes.
    fn count(&mut self) -> Result<Option<u64>, BadCell> {
        let (at, is_null) = self.step();
        if is_null {
            return Ok(None);
        }
        match self.row.get_ref(at) {
            Ok(ValueRef::Null) => Ok(None),
            Ok(ValueRef::Integer(count)) => Ok(Some(count.cast_unsigned())),
            Ok(other) => Err((at, format!("a number is {}", other.data_type()))),
            Err(error) => Err((at, error.to_string())),
        }
    }

    fn moment(&mut self) -> Result<Option<Timestamp>, BadCell> {
        Ok(self.count()?.map(Timestamp::from_nanos))
    }

    fn required<T>(
        &mut self,
        take: impl FnOnce(&mut Self) -> Result<Option<T>, BadCell>,
    ) -> Result<T, BadCell> {
        let at = self.next;
        take(self)?.ok_or_else(|| (at, "it is missing".to_owned()))
    }

    /// A text that stands for something.
    fn named<T>(&mut self, read: impl FnOnce(&str) -> Option<T>) -> Result<T, BadCell> {
        let (at, _) = self.step();
        let cell = self.row.get_ref(at).map_err(|e| (at, e.to_string()))?;
        let name = cell.as_str().map_err(|e| (at, e.to_string()))?;
        read(name).ok_or_else(|| (at, format!("`{name}` is unknown")))
    }
}

/// Where a request stands: in a conversation, in a trace; and what it has of its own.
type Place = (Option<TurnPlace>, Option<u64>, Option<TraceEntry>);

fn place(cells: &mut Cells<'_, '_>) -> Result<Place, BadCell> {
    let conversation = cells.count()?;
    let turn = cells.take::<Option<u32>>()?;
    let delay = Duration::from_nanos(cells.count()?.unwrap_or(0));
    let asked_increment = cells.count()?;
    let turn = conversation
        .zip(turn)
        .map(|(conversation, turn)| TurnPlace {
            conversation,
            turn,
            delay,
            asked_increment,
        });
    let asked_output_tokens = cells.count()?;
    let (line, possible_cached_tokens) = (cells.count()?, cells.count()?);
    let trace = line.map(|line| TraceEntry {
        line,
        possible_cached_tokens,
    });
    Ok((turn, asked_output_tokens, trace))
}

/// Token counts, wherever they come from.
type Counts = (Usage, PluginTokens, Option<u64>, CountedTokens);

fn counts(cells: &mut Cells<'_, '_>) -> Result<Counts, BadCell> {
    let prompt_tokens = cells.count()?;
    let completion_tokens = cells.count()?;
    // the counts of a tokenizer here have columns of their own
    let reported = |name: &str| {
        let mut reporters = [TokenSource::ServerUsage, TokenSource::Plugin].into_iter();
        Some(reporters.find(|source| source.as_str() == name))
    };
    let output_by = cells.named(reported)?;
    let prompt_by = cells.named(reported)?;
    let of = |source| PluginTokens {
        prompt_tokens: prompt_tokens.filter(|_| prompt_by == Some(source)),
        completion_tokens: completion_tokens.filter(|_| output_by == Some(source)),
    };
    let (server, plugin) = (of(TokenSource::ServerUsage), of(TokenSource::Plugin));
    let asked_prompt_tokens = cells.count()?;
    let counted = CountedTokens {
        prompt_tokens: cells.count()?,
        completion_tokens: cells.count()?,
    };
    let usage = Usage {
        prompt_tokens: server.prompt_tokens,
        completion_tokens: server.completion_tokens,
        cached_tokens: cells.count()?,
        reasoning_tokens: cells.count()?,
        reasoning_from_total: cells.take::<Option<bool>>()?.unwrap_or(false),
    };
    Ok((usage, plugin, asked_prompt_tokens, counted))
}

/// Read a record from a row of `schema::select`. `null`: columns that are known to be null, a bit for
/// each by its place in the query.
pub(super) fn read(
    row: &Row<'_>,
    format: EventLogFormat,
    null: u64,
) -> Result<RequestRecord, BadCell> {
    // the row's number comes first
    let mut cells = Cells { row, next: 1, null };
    let index = cells.required(Cells::count)?;
    let phase = cells.named(|name| {
        [Phase::Warmup, Phase::Measured]
            .into_iter()
            .find(|phase| phase.as_str() == name)
    })?;
    let (usage, plugin, asked_prompt_tokens, counted) = counts(&mut cells)?;
    let streamed = cells.take()?;
    let http_status = cells.take()?;
    let finish_reason = cells.take()?;
    let response_id = cells.take()?;
    let model = cells.take()?;
    // what follows is null in files of earlier versions
    let ending = match cells.take::<Option<String>>()?.as_deref() {
        Some(name) if name == Ending::Grace.as_str() => Ending::Grace,
        _ => Ending::Marked,
    };
    let skipped_events = cells.count()?.unwrap_or(0);
    let compressed = cells.take::<Option<bool>>()?.unwrap_or(false);
    let peer: Option<String> = cells.take()?;
    let peer = peer.and_then(|peer| peer.parse().ok());
    let kind_at = cells.next;
    let kind: Option<String> = cells.take()?;
    let message: Option<String> = cells.take()?;
    let failure = kind
        .map(|name| {
            FailureKind::from_name(&name)
                .map(|kind| Failure::new(kind, message.unwrap_or_default()))
                .ok_or_else(|| (kind_at, format!("`{name}` is unknown")))
        })
        .transpose()?;
    let clock = cells.named(|name| {
        [ArrivalClock::Kernel, ArrivalClock::User]
            .into_iter()
            .find(|clock| clock.as_str() == name)
    })?;
    let times = RequestTimes {
        scheduled: cells.required(Cells::moment)?,
        slot_free: cells.required(Cells::moment)?,
        dispatched: cells.required(Cells::moment)?,
        connected: cells.moment()?,
        write_begun: cells.moment()?,
        write_done: cells.moment()?,
        first_byte: cells.moment()?,
        headers: cells.moment()?,
        last_data: cells.moment()?,
        ended: cells.required(Cells::moment)?,
    };
    let connect = ConnectCost {
        reused: cells.take()?,
        dns_ns: cells.required(Cells::count)?,
        tcp_ns: cells.required(Cells::count)?,
        tls_ns: cells.required(Cells::count)?,
    };
    let (turn, asked_output_tokens, trace) = place(&mut cells)?;
    let inputs = cells.count()?;
    let asked_model = cells.take::<Option<u16>>()?.map(ModelId);
    let url = cells.take::<Option<u16>>()?.map(UrlId);
    let events_at = cells.next;
    let events = row
        .get_ref(events_at)
        .map_err(|e| (events_at, e.to_string()))?
        .as_blob()
        .ok()
        .and_then(|bytes| EventLog::from_bytes(bytes, format))
        .ok_or_else(|| (events_at, "it is no log of events".to_owned()))?;
    Ok(RequestRecord {
        index,
        phase,
        failure,
        streamed,
        times,
        connect,
        clock,
        events,
        http_status,
        usage,
        plugin,
        asked_prompt_tokens,
        counted,
        finish_reason,
        response_id,
        model,
        ending,
        skipped_events,
        compressed,
        peer,
        asked_model,
        url,
        asked_output_tokens,
        inputs,
        turn,
        trace,
    })
}
