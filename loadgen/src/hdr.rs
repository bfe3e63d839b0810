//! The HdrHistogram interval log (V2, compressed), for the tools that read such logs: one line per second and
//! operation, tagged with the name of the operation. Values are in microseconds.

use crate::error::LoadError;
use crate::phase::Phase;
use crate::series::Moment;
use crate::workload::Kind;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// An interval log that is being written.
pub(crate) struct HdrLog {
    path: PathBuf,
    out: BufWriter<File>,
    serializer: V2DeflateSerializer,
    origin_ns: u64,
    /// The first error; nothing is written after it.
    failed: Option<io::Error>,
}

impl HdrLog {
    /// Begins the log; `now_ns` is the current time on the clock of the seconds.
    pub(crate) fn create(path: &Path, now_ns: u64) -> Result<Self, LoadError> {
        let refuse = |source| LoadError::File { what: format!("interval log {}", path.display()), source };
        let mut out = BufWriter::new(File::create(path).map_err(refuse)?);
        let mut serializer = V2DeflateSerializer::new();
        let now = SystemTime::now();
        IntervalLogWriterBuilder::new()
            .add_comment("[Histogram log format version 1.3]")
            .add_comment(
                "latencies in microseconds, counted from the planned send time; Tag is the operation",
            )
            .with_start_time(now)
            .with_base_time(now)
            .begin_log_with(&mut out, &mut serializer)
            .map_err(refuse)?;
        writeln!(
            out,
            "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\""
        )
        .map_err(refuse)?;
        Ok(Self { path: path.to_owned(), out, serializer, origin_ns: now_ns, failed: None })
    }
    /// Adds the answers of a second of load, including late answers after the end of the phase. Seconds of
    /// warm-up, preload and audit are not added.
    pub(crate) fn add(&mut self, moment: &Moment) {
        if !(moment.phase.is_measured() || moment.phase == Phase::Drain) || self.failed.is_some() {
            return;
        }
        self.failed = self.try_add(moment).err();
    }
    /// Ends the log.
    pub(crate) fn close(mut self) -> Result<(), LoadError> {
        let ended = match self.failed.take() {
            Some(error) => Err(error),
            None => self.out.flush(),
        };
        ended.map_err(|source| LoadError::File {
            what: format!("interval log {}", self.path.display()),
            source,
        })
    }

    fn try_add(&mut self, moment: &Moment) -> io::Result<()> {
        // Without headers, which were written at the start.
        let mut log = IntervalLogWriterBuilder::new().begin_log_with(&mut self.out, &mut self.serializer)?;
        let since = Duration::from_nanos(moment.start_ns.saturating_sub(self.origin_ns));
        let length = Duration::from_nanos(moment.end_ns - moment.start_ns);
        for (kind, counted) in Kind::ALL.iter().zip(&moment.kinds) {
            if let Some(latencies) = &counted.latencies {
                let written = log.write_histogram(latencies.counts(), since, length, Tag::new(kind.name()));
                written.map_err(|error| io::Error::other(error.to_string()))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::KindSecond;
    use crate::histogram::Latencies;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    #[test]
    fn the_log_is_read_again_by_another_decoder() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("run.hlog");
        let mut log = HdrLog::create(&path, 1_000_000_000).expect("a file can be made");
        let counted = |from_us: u64| {
            let mut latencies = Latencies::default();
            (from_us..from_us + 100).for_each(|us| latencies.record_ns(us * 1000));
            KindSecond {
                offered: 100,
                achieved: 100,
                latencies: Some(Box::new(latencies)),
                ..KindSecond::default()
            }
        };
        let mut moment = Moment {
            phase: Phase::Mixed,
            phase_start_ns: 3_000_000_000,
            start_ns: 3_000_000_000,
            end_ns: 4_000_000_000,
            is_long: true,
            kinds: [counted(1), counted(1001), KindSecond::default(), KindSecond::default()],
        };
        log.add(&moment);
        log.add(&Moment { phase: Phase::Warmup, ..moment.clone() });
        (moment.start_ns, moment.end_ns, moment.phase) = (4_000_000_000, 4_250_000_000, Phase::Drain);
        moment.kinds = Default::default();
        moment.kinds[3] = counted(50_000);
        log.add(&moment);
        log.close().expect("all was written");

        let bytes = std::fs::read(&path).expect("it was written");
        let mut found = Vec::new();
        for entry in IntervalLogIterator::new(&bytes) {
            // This decoder does not know the line of column headings; it is skipped, as the tools do.
            let Ok(LogEntry::Interval(interval)) = entry else { continue };
            let raw = decode_base64(interval.encoded_histogram());
            let decoded: Histogram<u64> =
                Deserializer::new().deserialize(&mut raw.as_slice()).expect("a V2 histogram");
            let tag = interval.tag().map(|tag| tag.as_str().to_owned()).unwrap_or_default();
            let times = (interval.start_timestamp().as_millis(), interval.duration().as_millis());
            found.push((tag, times, decoded.len(), decoded.min(), interval.max()));
        }
        let expected = [
            ("write".to_owned(), (2000, 1000), 100, 1, 100.0),
            ("read".to_owned(), (2000, 1000), 100, 1001, 1100.0),
            ("read_modify_write".to_owned(), (3000, 250), 100, 49_984, 50_111.0),
        ];
        assert_eq!(found.len(), expected.len(), "{}", String::from_utf8_lossy(&bytes));
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!((&found.0, found.1, found.2), (&expected.0, expected.1, expected.2));
            assert!(found.3.abs_diff(expected.3) <= 32, "three digits: {found:?}");
            assert!((found.4 - expected.4).abs() <= 32.0, "three digits: {found:?}");
        }
        assert!(bytes.starts_with(b"#[Histogram log format version 1.3]\n"));
    }

    /// The alphabet of RFC 4648, section 4.
    fn decode_base64(text: &str) -> Vec<u8> {
        let value = |byte: u8| match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        let (mut bits, mut count, mut out) = (0_u32, 0, Vec::new());
        for byte in text.bytes().filter(|&byte| byte != b'=') {
            (bits, count) = (bits << 6 | u32::from(value(byte)), count + 6);
            if count >= 8 {
                count -= 8;
                out.push((bits >> count) as u8);
            }
        }
        out
    }

    #[test]
    fn a_log_that_cannot_be_made_is_an_error_that_names_it() {
        let error = HdrLog::create(Path::new("/nonexistent/run.hlog"), 0).err().expect("no such directory");
        assert!(error.to_string().contains("/nonexistent/run.hlog"), "{error}");
    }
}
