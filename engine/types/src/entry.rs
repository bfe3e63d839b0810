//! An entry: what one log slot carries. The same bytes go to the log, to the peers and to apply.
//!
//! ```text
//!  0  magic u16 = "SE" │ version u8 = 2 │ flags u8 = 0 │ total length u32
//!  8  meta length u32  │ command count u32
//! 16  time stamp u64   leader's clock, ms since the epoch; 0 for "no newer than before"
//! 24  body length u32  │ reserved u32 = 0
//! 32  meta             rkyv archive of Vec<Command<Span>>, exactly `meta length` bytes
//!     body             key and value bytes of every command, in order
//! ```
//! All integers little-endian. The header is hand-packed and versioned, because an archive alone has no schema evolution;
//! the archive is checked once at the border ([`Entry::check`]) and read in place after that. An entry carries no CRC of its
//! own: the log record or peer frame around it does, and every value has one (`Op::Set::value_crc`).

use crate::command::{ArchivedCommand, Command, Illegal, Op, SessionStamp, Span};
use crate::ids::Namespace;
use crate::limits;
use crate::time::WallMs;
use alloc::vec::Vec;
use rkyv::rancor::Failure;
use rkyv::vec::ArchivedVec;

/// Bytes of the fixed header.
pub const ENTRY_HEADER_BYTES: usize = 32;
const MAGIC: [u8; 2] = *b"SE";
/// 2: conditions by version made a command's archive longer.
const VERSION: u8 = 2;

/// Why bytes are not an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EntryError {
    /// Too few bytes, or more or fewer than the header says.
    #[error("entry length does not match its header")]
    Length,
    /// Not an entry, or of a version this build cannot read.
    #[error("entry magic or version unknown")]
    Version,
    /// The archive does not validate.
    #[error("entry archive is malformed")]
    Archive,
    /// The spans do not add up to the body, or there are too many commands.
    #[error("entry spans do not fit its body")]
    Spans,
    /// A command is none.
    #[error("a command of the entry cannot be: {0}")]
    Illegal(Illegal),
}

/// Collects commands into one entry. Keys and values are copied once, into the entry when it is finished.
#[derive(Debug)]
pub struct EntryBuilder<B> {
    commands: Vec<Command<B>>,
    body_len: usize,
}

impl<B> Default for EntryBuilder<B> {
    fn default() -> Self {
        Self { commands: Vec::new(), body_len: 0 }
    }
}

impl<B: AsRef<[u8]>> EntryBuilder<B> {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }
    /// Whether `command` still fits a batch that is not empty.
    pub fn fits(&self, command: &Command<B>) -> bool {
        self.commands.is_empty()
            || (self.commands.len() < limits::BATCH_COMMANDS_MAX
                && self.body_len + command_bytes(command) <= limits::BATCH_BYTES_MAX)
    }
    /// Adds a command; its place in the batch is returned.
    ///
    /// # Panics
    /// When it does not fit ([`EntryBuilder::fits`]) or is none ([`Command::check`]): the border checks that.
    pub fn push(&mut self, command: Command<B>) -> u32 {
        assert!(self.fits(&command), "command pushed into a full batch");
        if let Err(illegal) = command.check() {
            panic!("a command that no entry can hold was let in: {illegal}");
        }
        self.put(command)
    }
    fn put(&mut self, command: Command<B>) -> u32 {
        let position = self.commands.len() as u32; // bounded by BATCH_COMMANDS_MAX
        self.body_len += command_bytes(&command);
        self.commands.push(command);
        position
    }
    /// Commands so far.
    pub fn len(&self) -> usize {
        self.commands.len()
    }
    /// Whether no command was added.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }
    /// The entry's bytes; the builder is empty afterwards. With no command this is a no-op (or a tick) that only carries
    /// the time stamp.
    pub fn finish(&mut self, ts: WallMs) -> Vec<u8> {
        let metas: Vec<Command<Span>> = self.commands.iter().map(spans).collect();
        let expected = ENTRY_HEADER_BYTES + metas.len() * META_BYTES_EACH + META_BYTES_ONCE + self.body_len;
        let mut out = Vec::with_capacity(expected);
        out.resize(ENTRY_HEADER_BYTES, 0);
        // Behind the header in place: the archive's pointers are relative and it needs no alignment. Serialising plain
        // structs into a growing buffer cannot fail.
        let Ok(mut out) = rkyv::api::high::to_bytes_in::<_, rkyv::rancor::Panic>(&metas, out);
        let meta_len = out.len() - ENTRY_HEADER_BYTES;
        for command in &self.commands {
            out.extend_from_slice(command.key.as_ref());
            if let Some(operand) = command.op.operand() {
                out.extend_from_slice(operand.as_ref());
            }
        }
        let total = out.len();
        assert!(total == ENTRY_HEADER_BYTES + meta_len + self.body_len);
        assert!(total <= limits::ENTRY_BYTES_MAX, "entry over the limit");
        out[0..2].copy_from_slice(&MAGIC);
        out[2] = VERSION;
        out[4..8].copy_from_slice(&(total as u32).to_le_bytes());
        out[8..12].copy_from_slice(&(meta_len as u32).to_le_bytes());
        out[12..16].copy_from_slice(&(metas.len() as u32).to_le_bytes());
        out[16..24].copy_from_slice(&ts.0.to_le_bytes());
        out[24..28].copy_from_slice(&(self.body_len as u32).to_le_bytes());
        self.commands.clear();
        self.body_len = 0;
        out
    }
}

/// Bytes of one command's meta, and of the list of them (only sizes a buffer).
const META_BYTES_EACH: usize = size_of::<ArchivedCommand<Span>>();
const META_BYTES_ONCE: usize = size_of::<ArchivedCommands>();
const HEAD_BYTES: usize = ENTRY_HEADER_BYTES + META_BYTES_ONCE;
// The largest command there is, and every batch, make an entry.
const _: () = assert!(
    HEAD_BYTES + META_BYTES_EACH + limits::KEY_BYTES_MAX + limits::OPERAND_BYTES_MAX
        <= limits::ENTRY_BYTES_MAX
);
const _: () =
    assert!(HEAD_BYTES + limits::BATCH_COMMANDS_MAX * META_BYTES_EACH <= limits::ENTRY_OVERHEAD_BYTES_MAX);
const _: () = assert!(limits::ENTRY_BYTES_MAX <= u32::MAX as usize);

/// A command with lengths in place of its bytes.
fn spans<B: AsRef<[u8]>>(command: &Command<B>) -> Command<Span> {
    let span = |bytes: &B| Span { len: bytes.as_ref().len() as u32 }; // bounded when it was pushed
    Command {
        namespace: command.namespace,
        key: span(&command.key),
        op: command.op.as_ref().map(span),
        stamp: command.stamp,
    }
}

fn command_bytes<B: AsRef<[u8]>>(command: &Command<B>) -> usize {
    command.key.as_ref().len() + command.op.operand().map_or(0, |operand| operand.as_ref().len())
}

/// Bytes that were checked to be an entry. Only [`Entry::check`] makes one, so holding it is the proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<P>(P);

/// One command of an entry, borrowed from its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommandRef<'a> {
    /// Its place in the batch, from 0.
    pub position: u32,
    /// The key's namespace.
    pub namespace: Namespace,
    /// The key.
    pub key: &'a [u8],
    /// What to do.
    pub op: Op<&'a [u8]>,
    /// The session.
    pub stamp: SessionStamp,
    /// Where the operand (or, without one, the end of the key) lies: byte offset from the start of the entry.
    pub value_offset: u32,
}

impl<P: AsRef<[u8]>> Entry<P> {
    /// Checks untrusted bytes: header, archive, spans, limits.
    ///
    /// # Errors
    /// [`EntryError`] says what is wrong; the bytes are to be refused as a whole.
    pub fn check(bytes: P) -> Result<Self, EntryError> {
        check(bytes.as_ref())?;
        Ok(Self(bytes))
    }
    /// The bytes.
    pub fn bytes(&self) -> &P {
        &self.0
    }
    /// Gives the bytes back.
    pub fn into_bytes(self) -> P {
        self.0
    }
    /// The leader's time stamp.
    pub fn ts(&self) -> WallMs {
        WallMs(u64_at(self.0.as_ref(), 16))
    }
    /// Number of commands.
    pub fn command_count(&self) -> u32 {
        u32_at(self.0.as_ref(), 12)
    }
    /// The commands in order, borrowed.
    pub fn commands(&self) -> impl Iterator<Item = CommandRef<'_>> {
        let (archived, body, body_at) = split(self.0.as_ref()).unwrap_or_else(|error| {
            // Checked at the border and immutable since; a failure here is memory corruption.
            panic!("a checked entry no longer validates: {error}")
        });
        let mut rest = body;
        let mut take = move |len: u32| {
            let (bytes, tail) = rest.split_at(len as usize);
            rest = tail;
            bytes
        };
        let mut at = body_at;
        archived.iter().enumerate().map(move |(position, archived)| {
            let command = deserialize(archived);
            let key = take(command.key.len);
            at += key.len();
            let value_offset = at as u32; // within ENTRY_BYTES_MAX
            let op = command.op.map(|span| take(span.len));
            at += op.operand().map_or(0, |operand| operand.len());
            CommandRef {
                position: position as u32,
                namespace: command.namespace,
                key,
                op,
                stamp: command.stamp,
                value_offset,
            }
        })
    }
}

type ArchivedCommands = ArchivedVec<ArchivedCommand<Span>>;

fn deserialize(archived: &ArchivedCommand<Span>) -> Command<Span> {
    let result = rkyv::api::deserialize_using::<Command<Span>, _, Failure>(archived, &mut ());
    result.unwrap_or_else(|_| panic!("plain fields always deserialize"))
}

fn split(bytes: &[u8]) -> Result<(&ArchivedCommands, &[u8], usize), EntryError> {
    if bytes.len() < ENTRY_HEADER_BYTES || bytes.len() > limits::ENTRY_BYTES_MAX {
        return Err(EntryError::Length);
    }
    if bytes[0..2] != MAGIC || bytes[2] != VERSION || bytes[3] != 0 || bytes[28..32] != [0; 4] {
        return Err(EntryError::Version);
    }
    let total = u32_at(bytes, 4) as usize;
    let meta_len = u32_at(bytes, 8) as usize;
    let body_len = u32_at(bytes, 24) as usize;
    if total != bytes.len() || meta_len.checked_add(body_len) != Some(total - ENTRY_HEADER_BYTES) {
        return Err(EntryError::Length);
    }
    let (meta, body) = bytes[ENTRY_HEADER_BYTES..].split_at(meta_len);
    let archived =
        rkyv::api::low::access::<ArchivedCommands, Failure>(meta).map_err(|_| EntryError::Archive)?;
    if archived.len() != u32_at(bytes, 12) as usize {
        return Err(EntryError::Archive);
    }
    Ok((archived, body, ENTRY_HEADER_BYTES + meta_len))
}

fn check(bytes: &[u8]) -> Result<(), EntryError> {
    let (archived, body, _) = split(bytes)?;
    if archived.len() > limits::BATCH_COMMANDS_MAX {
        return Err(EntryError::Spans);
    }
    let mut used = 0_usize;
    for archived in archived.iter() {
        let command = deserialize(archived);
        let key = command.key.len as usize;
        if !command.op.is_write() {
            return Err(EntryError::Archive);
        }
        let operand = command.op.operand().map_or(0, |span| span.len as usize);
        let start = used + key;
        let (end, missing) = (start + operand, EntryError::Spans); // at most 512 commands of 8 GiB each: no overflow
        let key = body.get(used..start).ok_or(missing)?;
        let operand = body.get(start..end).ok_or(missing)?;
        command.op.map(|_| operand).check(key).map_err(EntryError::Illegal)?;
        used = end;
    }
    if used == body.len() { Ok(()) } else { Err(EntryError::Spans) }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Compare, Condition, Expiry, ExpiryTest, Op};
    use crate::ids::SessionId;
    use crate::operand;
    use proptest::prelude::*;

    fn set(key: &[u8], value: &[u8]) -> Command<Vec<u8>> {
        Command {
            namespace: Namespace::new(3),
            key: key.to_vec(),
            op: Op::Set {
                value: value.to_vec(),
                value_crc: crate::checksum::crc32c(value),
                condition: Condition::IfAbsent,
                expiry: Expiry::After(7),
                return_old: true,
            },
            stamp: SessionStamp { session: SessionId::new(4), sequence: 5, lowest_open: 2 },
        }
    }

    #[test]
    fn commands_come_back_in_order_with_their_bytes_where_they_say() {
        let mut builder = EntryBuilder::new();
        let compare = Op::IfEqual { value: b"token".to_vec(), then: crate::command::Then::ExtendBy(9) };
        let batch = [set(b"a", b"one"), Command::plain(b"b".to_vec(), compare), set(b"c", b"")];
        for command in &batch {
            builder.push(command.clone());
        }
        let bytes = builder.finish(WallMs(42));
        let entry = Entry::check(bytes.as_slice()).expect("well formed");
        assert_eq!(entry.ts(), WallMs(42));
        assert_eq!(entry.command_count(), 3);
        for (got, want) in entry.commands().zip(&batch) {
            assert_eq!(got.key, want.key);
            assert_eq!(got.stamp, want.stamp);
            assert_eq!(got.op.map(<[u8]>::to_vec), want.op.clone().map(|v| v));
            if let Op::Set { value, .. } = got.op {
                let at = got.value_offset as usize;
                assert_eq!(&bytes[at..at + value.len()], value);
            }
        }
    }

    #[test]
    fn every_operation_comes_back_as_it_was_put() {
        let (mut compared, mut pairs) = (Vec::new(), Vec::new());
        operand::put_compared(&mut compared, b"old", b"new");
        operand::put_pair(&mut pairs, b"k", b"v");
        operand::put_pair(&mut pairs, b"other", b"");
        let ops = [
            Op::Delete,
            Op::IncrementBy(-3),
            Op::SetExpiry(Expiry::None),
            Op::OpenSession,
            Op::GetDelete,
            Op::GetExpire(Expiry::After(3)),
            Op::SetExpiryIf { expiry: Expiry::At(WallMs(9)), test: ExpiryTest::SetEarlier },
            Op::SetIf {
                compared,
                value_crc: 4,
                compare: Compare::Equal,
                expiry: Expiry::Keep,
                return_old: true,
            },
            Op::DeleteIf { wanted: b"a digest".to_vec(), compare: Compare::DigestNotEqual },
            Op::SetMany { pairs, condition: Condition::IfAbsent, expiry: Expiry::None },
            Op::Rename { target: b"to".to_vec(), replace: true },
            Op::Copy { target: b"to".to_vec(), replace: false },
            Op::Flush,
        ];
        let mut builder = EntryBuilder::new();
        for op in &ops {
            let key = if op.is_keyless() { Vec::new() } else { b"k".to_vec() };
            builder.push(Command::plain(key, op.clone()));
        }
        let bytes = builder.finish(WallMs(1));
        let entry = Entry::check(bytes.as_slice()).expect("well formed");
        assert!(entry.commands().map(|command| command.op.map(<[u8]>::to_vec)).eq(ops));
        for command in entry.commands() {
            let (at, operand) = (command.value_offset as usize, command.op.operand().copied().unwrap_or(&[]));
            assert_eq!(&bytes[at..at + operand.len()], operand);
        }
    }

    #[test]
    fn what_is_no_command_is_refused_and_never_put_in() {
        let on = |key: &[u8], op| Command::plain(key.to_vec(), op);
        let command = |op| on(b"k", op);
        let keep = Expiry::Keep;
        let value = |len| alloc::vec![7_u8; len];
        let compared = |wanted: &[u8], value: &[u8], compare| {
            let mut compared = Vec::new();
            operand::put_compared(&mut compared, wanted, value);
            Op::SetIf { compared, value_crc: 0, compare, expiry: keep, return_old: false }
        };
        let many = |pairs: Vec<u8>| Op::SetMany { pairs, condition: Condition::Always, expiry: Expiry::None };
        let pairs = |key: &[u8], len| {
            let mut pairs = Vec::new();
            operand::put_pair(&mut pairs, key, &value(len));
            many(pairs)
        };
        let set = |value| Op::Set {
            value,
            value_crc: 0,
            condition: Condition::Always,
            expiry: keep,
            return_old: false,
        };
        let malformed = Op::SetIf {
            compared: b"\x09\0\0\0x".to_vec(),
            value_crc: 0,
            compare: Compare::Equal,
            expiry: keep,
            return_old: false,
        };
        let then = crate::command::Then::Delete;
        let (key_max, value_max) = (limits::KEY_BYTES_MAX, limits::VALUE_BYTES_MAX);
        let [version, digest] = [operand::VERSION_BYTES, operand::DIGEST_BYTES];
        let refused = [
            (command(many(b"x".to_vec())), Illegal::Operand),
            (command(many(Vec::new())), Illegal::Operand),
            (command(pairs(b"other", 1)), Illegal::Operand),
            (command(pairs(b"k", value_max)), Illegal::ValueTooLong),
            (command(malformed), Illegal::Operand),
            (command(compared(b"short", b"", Compare::Version)), Illegal::Operand),
            (command(compared(b"short", b"", Compare::DigestNotEqual)), Illegal::Operand),
            (
                command(compared(&value(version), &value(value_max + 1), Compare::Version)),
                Illegal::ValueTooLong,
            ),
            (command(compared(b"x", &value(value_max), Compare::NotEqual)), Illegal::ValueTooLong),
            (
                command(Op::DeleteIf { wanted: value(value_max + 1), compare: Compare::Equal }),
                Illegal::ValueTooLong,
            ),
            (command(Op::DeleteIf { wanted: value(9), compare: Compare::DigestEqual }), Illegal::Operand),
            (command(Op::Rename { target: Vec::new(), replace: true }), Illegal::KeyEmpty),
            (command(Op::Copy { target: value(key_max + 1), replace: true }), Illegal::KeyTooLong),
            (command(Op::GetExpire(keep)), Illegal::Operand),
            (command(Op::SetExpiryIf { expiry: keep, test: ExpiryTest::Set }), Illegal::Operand),
            (command(set(value(value_max + 1))), Illegal::ValueTooLong),
            (command(Op::IfEqual { value: value(value_max + 1), then }), Illegal::ValueTooLong),
            (command(Op::Flush), Illegal::Operand),
            (on(b"", Op::Delete), Illegal::KeyEmpty),
            (on(&value(key_max + 1), Op::Delete), Illegal::KeyTooLong),
        ];
        for (command, illegal) in refused {
            assert_eq!(command.check(), Err(illegal), "{:?}", command.op);
            let mut builder = EntryBuilder::new();
            builder.put(command);
            if builder.body_len <= limits::OPERAND_BYTES_MAX {
                assert_eq!(Entry::check(builder.finish(WallMs(0))), Err(EntryError::Illegal(illegal)));
            }
        }
        let longest = [
            compared(&value(version), &value(value_max), Compare::Version),
            compared(&value(digest), &value(value_max), Compare::DigestEqual),
            compared(&value(value_max - 1), b"x", Compare::Equal),
            compared(b"", &value(value_max), Compare::NotEqual),
            Op::DeleteIf { wanted: value(value_max), compare: Compare::NotEqual },
            Op::IfEqual { value: value(value_max), then },
            Op::Rename { target: value(key_max), replace: true },
            set(value(value_max)),
        ];
        let first = core::iter::once(command(pairs(b"k", value_max - 13)));
        for command in longest.map(|op| on(&value(key_max), op)).into_iter().chain(first) {
            let mut builder = EntryBuilder::new();
            builder.push(command.clone());
            let entry = Entry::check(builder.finish(WallMs(0))).expect("the longest there is");
            assert!(entry.commands().all(|got| got.key == command.key));
        }
    }

    #[test]
    fn an_empty_entry_carries_time() {
        let bytes = EntryBuilder::<Vec<u8>>::new().finish(WallMs(9));
        let entry = Entry::check(bytes).expect("well formed");
        assert_eq!((entry.ts(), entry.command_count()), (WallMs(9), 0));
    }

    #[test]
    fn reads_are_not_entries() {
        let mut builder = EntryBuilder::new();
        for op in [Op::Get, Op::CountKeys, Op::ExpireTime, Op::Scan { position: 0, count: 1 }] {
            let key = if op.is_keyless() { Vec::new() } else { b"k".to_vec() };
            builder.push(Command::plain(key, op));
            assert_eq!(Entry::check(builder.finish(WallMs(0))), Err(EntryError::Archive));
        }
    }

    proptest! {
        #[test]
        fn any_damage_is_an_error_or_a_consistent_entry(
            at in any::<proptest::sample::Index>(), bit in 0_u8..8, cut in any::<proptest::sample::Index>(),
        ) {
            let mut builder = EntryBuilder::new();
            builder.push(set(b"key", b"value"));
            builder.push(set(b"other", &[7; 100]));
            let good = builder.finish(WallMs(1));
            let mut bad = good.clone();
            let index = at.index(bad.len());
            bad[index] ^= 1 << bit;
            if let Ok(entry) = Entry::check(bad) {
                for command in entry.commands() {
                    prop_assert!(command.key.len() <= limits::KEY_BYTES_MAX);
                }
            }
            let short = &good[..cut.index(good.len())];
            prop_assert!(Entry::check(short).is_err());
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Entry::check(bytes).is_err());
        }
    }
}
