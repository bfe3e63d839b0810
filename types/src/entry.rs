//! An entry: the content of one log slot. The same bytes go to the log, to the peers and to apply.
//!
//! ```text
//!  0  magic u16 = "SE" │ version u8 = 3 │ flags u8 = 0 │ total length u32
//!  8  meta length u32  │ command count u32
//! 16  time stamp u64   leader's clock, ms since the epoch; 0 for "no newer than before"
//! 24  body length u32  │ origin node u16 │ reserved u16 = 0
//! 32  origin round u64 the ballot it was first proposed in
//! 40  meta             rkyv archive of Vec<Command<Span>>, exactly `meta length` bytes
//!     body             key and operand of every command, in order
//! ```
//! Origin and slot identify an entry: a ballot proposes at most one value of its own per slot, and a later
//! leader that proposes the value again keeps the origin (rule P-05d). So two entries with the same bytes
//! after the header can still be different entries.
//!
//! All integers are little-endian. The header is packed by hand and versioned, because an archive alone has
//! no schema evolution. The archive is checked once, when the entry is received ([`Entry::check`]), and read
//! in place after that. An entry has no CRC of its own: the log record or peer frame around it has one, and
//! so has every value (`Op::Set::value_crc`).

use crate::command::{ArchivedCommand, Command, Illegal, Op, SessionStamp, Span};
use crate::ids::{Ballot, Namespace, NodeId};
use crate::limits;
use crate::time::WallMs;
use alloc::vec::Vec;
use rkyv::rancor::Failure;
use rkyv::vec::ArchivedVec;

/// The length of the fixed header, bytes.
pub const ENTRY_HEADER_BYTES: usize = 40;
const MAGIC: [u8; 2] = *b"SE";
/// 2: conditions by version made a command's archive longer. 3: the origin was added, and operands were
/// separated from operations.
const VERSION: u8 = 3;

/// Why bytes are not an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EntryError {
    /// The length is too short for a header, or is not the one in the header.
    #[error("entry length does not match its header")]
    Length,
    /// It is not an entry, or has a version that this build cannot read.
    #[error("entry magic or version unknown")]
    Version,
    /// The archive does not validate.
    #[error("entry archive is malformed")]
    Archive,
    /// The spans do not add up to the body, or there are too many commands.
    #[error("entry spans do not fit its body")]
    Spans,
    /// A command is not valid.
    #[error("a command of the entry cannot be: {0}")]
    Illegal(Illegal),
    /// An operation of leaders is not alone in its entry, or has a session.
    #[error("a command of the leader's own is not alone in its entry")]
    NotAlone,
}

/// Collects commands into one entry. Keys and values are copied once, when the entry is finished.
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
                && self.body_len + command.byte_len() <= limits::BATCH_BYTES_MAX)
    }
    /// Adds a command and returns its position in the batch.
    ///
    /// # Panics
    /// When it does not fit ([`EntryBuilder::fits`]), or is not valid ([`Command::check`]): the caller has
    /// checked both.
    pub fn push(&mut self, command: Command<B>) -> u32 {
        assert!(self.fits(&command), "command pushed into a full batch");
        if let Err(illegal) = command.check() {
            panic!("a command that no entry can hold was let in: {illegal}");
        }
        self.put(command)
    }
    fn put(&mut self, command: Command<B>) -> u32 {
        let position = self.commands.len() as u32; // bounded by BATCH_COMMANDS_MAX
        self.body_len += command.byte_len();
        self.commands.push(command);
        position
    }
    /// The number of commands so far.
    pub fn len(&self) -> usize {
        self.commands.len()
    }
    /// Whether there are no commands.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }
    /// The entry's bytes, first proposed in `origin`; the builder is empty afterwards. With no command this
    /// is a no-op (or a tick) that only carries the time stamp.
    pub fn finish(&mut self, origin: Ballot, ts: WallMs) -> Vec<u8> {
        let metas: Vec<Command<Span>> = self.commands.iter().map(spans).collect();
        let expected = ENTRY_HEADER_BYTES + metas.len() * META_BYTES_EACH + META_BYTES_ONCE + self.body_len;
        let mut out = Vec::with_capacity(expected);
        out.resize(ENTRY_HEADER_BYTES, 0);
        // Directly after the header: the archive's pointers are relative, and it needs no alignment.
        // Serialising plain structs into a growing buffer cannot fail.
        let Ok(mut out) = rkyv::api::high::to_bytes_in::<_, rkyv::rancor::Panic>(&metas, out);
        let meta_len = out.len() - ENTRY_HEADER_BYTES;
        for command in &self.commands {
            out.extend_from_slice(command.key.as_ref());
            out.extend_from_slice(command.operand.as_ref());
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
        out[28..30].copy_from_slice(&origin.node().get().to_le_bytes());
        out[32..40].copy_from_slice(&origin.round().to_le_bytes());
        debug_assert!(origin_of(&out) == origin, "an entry that does not say where it comes from");
        self.commands.clear();
        self.body_len = 0;
        out
    }
}

/// The length of one command's meta, and of the list around the metas; they only size a buffer.
const META_BYTES_EACH: usize = size_of::<ArchivedCommand<Span>>();
const META_BYTES_ONCE: usize = size_of::<ArchivedCommands>();
const HEAD_BYTES: usize = ENTRY_HEADER_BYTES + META_BYTES_ONCE;
// The largest command and every batch fit an entry.
const _: () = assert!(
    HEAD_BYTES + META_BYTES_EACH + limits::KEY_BYTES_MAX + limits::OPERAND_BYTES_MAX
        <= limits::ENTRY_BYTES_MAX
);
const _: () =
    assert!(HEAD_BYTES + limits::BATCH_COMMANDS_MAX * META_BYTES_EACH <= limits::ENTRY_OVERHEAD_BYTES_MAX);
const _: () = assert!(limits::ENTRY_BYTES_MAX <= u32::MAX as usize);

/// A command with lengths in place of its bytes.
fn spans<B: AsRef<[u8]>>(command: &Command<B>) -> Command<Span> {
    command.as_ref().map(|bytes| Span { len: bytes.as_ref().len() as u32 }) // bounded when it was pushed
}

/// Bytes that were checked to be an entry. Only [`Entry::check`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<P>(P);

/// One command of an entry, borrowed from its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommandRef<'a> {
    /// Its position in the batch, from 0.
    pub position: u32,
    /// The key's namespace.
    pub namespace: Namespace,
    /// The key.
    pub key: &'a [u8],
    /// The operation.
    pub op: Op,
    /// The bytes that the operation needs besides the key.
    pub operand: &'a [u8],
    /// The session.
    pub stamp: SessionStamp,
    /// The operand's byte offset from the start of the entry.
    pub value_offset: u32,
}

impl<'a> CommandRef<'a> {
    /// A command that is in no entry yet.
    pub fn of<B: AsRef<[u8]>>(command: &'a Command<B>) -> Self {
        Self {
            position: 0,
            namespace: command.namespace,
            key: command.key.as_ref(),
            op: command.op,
            operand: command.operand.as_ref(),
            stamp: command.stamp,
            value_offset: 0,
        }
    }

    /// The command with bytes of its own.
    pub fn to_command<B: From<Vec<u8>>>(&self) -> Command<B> {
        Command {
            namespace: self.namespace,
            key: B::from(self.key.to_vec()),
            op: self.op,
            operand: B::from(self.operand.to_vec()),
            stamp: self.stamp,
        }
    }
}

impl<P: AsRef<[u8]>> Entry<P> {
    /// Checks untrusted bytes: header, archive, spans, limits.
    ///
    /// # Errors
    /// [`EntryError`] says what is wrong; the bytes must be refused as a whole.
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
    /// The ballot it was first proposed in.
    pub fn origin(&self) -> Ballot {
        origin_of(self.0.as_ref())
    }
    /// Number of commands.
    pub fn command_count(&self) -> u32 {
        u32_at(self.0.as_ref(), 12)
    }
    /// The commands in order, borrowed.
    pub fn commands(&self) -> impl Iterator<Item = CommandRef<'_>> {
        let (archived, body, body_at) = split(self.0.as_ref()).unwrap_or_else(|error| {
            // Checked when received and immutable since: a failure here is memory corruption.
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
            let operand = take(command.operand.len);
            at += operand.len();
            CommandRef {
                position: position as u32,
                namespace: command.namespace,
                key,
                op: command.op,
                operand,
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
    if bytes[0..2] != MAGIC || bytes[2] != VERSION || bytes[3] != 0 || bytes[30..32] != [0; 2] {
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
    for one in archived.iter() {
        let command = deserialize(one);
        let key = command.key.len as usize;
        if !command.op.is_write() {
            return Err(EntryError::Archive);
        }
        let start = used + key;
        // at most 512 commands of 8 GiB each: no overflow
        let (end, missing) = (start + command.operand.len as usize, EntryError::Spans);
        let key = body.get(used..start).ok_or(missing)?;
        let operand = body.get(start..end).ok_or(missing)?;
        command.op.check(key, operand).map_err(EntryError::Illegal)?;
        if command.op.is_of_leaders() && (archived.len() != 1 || command.stamp != SessionStamp::default()) {
            return Err(EntryError::NotAlone);
        }
        used = end;
    }
    if used == body.len() { Ok(()) } else { Err(EntryError::Spans) }
}

/// The ballot in which an entry was first proposed, read from its header without checking the entry.
/// [`Ballot::ZERO`] if the bytes are too short for a header.
pub fn origin_of(bytes: &[u8]) -> Ballot {
    if bytes.len() < ENTRY_HEADER_BYTES {
        return Ballot::ZERO;
    }
    Ballot::new(u64_at(bytes, 32), NodeId::new(u32_at(bytes, 28) as u16)) // the lower half
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
    use crate::ids::{Boot, CoreId, SessionId};
    use crate::operand;
    use proptest::prelude::*;

    const ORIGIN: Ballot = Ballot::new(0x0123_4567_89AB_CDEF, NodeId::new(0xFEDC));

    fn set(key: &[u8], value: &[u8]) -> Command<Vec<u8>> {
        Command {
            namespace: Namespace::new(3),
            key: key.to_vec(),
            op: Op::Set {
                value_crc: crate::checksum::crc32c(value),
                condition: Condition::IfAbsent,
                expiry: Expiry::After(7),
                return_old: true,
            },
            operand: value.to_vec(),
            stamp: SessionStamp { session: SessionId::new(4), sequence: 5, lowest_open: 2 },
        }
    }

    #[test]
    fn commands_come_back_in_order_with_their_bytes_where_they_say() {
        let mut builder = EntryBuilder::new();
        let compare = Op::IfEqual { then: crate::command::IfEqualAction::ExtendBy(9) };
        let compare = Command::new(b"b".to_vec(), compare, b"token".to_vec());
        let batch = [set(b"a", b"one"), compare, set(b"c", b"")];
        for command in &batch {
            builder.push(command.clone());
        }
        let bytes = builder.finish(ORIGIN, WallMs(42));
        let entry = Entry::check(bytes.as_slice()).expect("well formed");
        assert_eq!(entry.ts(), WallMs(42));
        assert_eq!(entry.command_count(), 3);
        for (got, want) in entry.commands().zip(&batch) {
            assert_eq!(got.key, want.key);
            assert_eq!(got.stamp, want.stamp);
            assert_eq!((got.op, got.operand), (want.op, want.operand.as_slice()));
            let at = got.value_offset as usize;
            assert_eq!(&bytes[at..at + got.operand.len()], got.operand);
        }
    }

    #[test]
    fn every_operation_comes_back_as_it_was_put() {
        let (mut compared, mut pairs, mut ranges) = (Vec::new(), Vec::new(), Vec::new());
        operand::put_compared(&mut compared, b"old", b"new");
        operand::put_range(&mut ranges, 7, 3);
        let boot = Boot { counter: 1 << 40, random: u64::MAX };
        operand::put_pair(&mut pairs, b"k", b"v");
        operand::put_pair(&mut pairs, b"other", b"");
        let to = || b"to".to_vec();
        let ops = [
            (Op::Delete, Vec::new()),
            (Op::IncrementBy(-3), Vec::new()),
            (Op::SetExpiry(Expiry::None), Vec::new()),
            (Op::OpenSession, Vec::new()),
            (Op::GetDelete, Vec::new()),
            (Op::GetExpire(Expiry::After(3)), Vec::new()),
            (Op::SetExpiryIf { expiry: Expiry::At(WallMs(9)), test: ExpiryTest::SetEarlier }, Vec::new()),
            (
                Op::SetIf { value_crc: 4, compare: Compare::Equal, expiry: Expiry::Keep, return_old: true },
                compared,
            ),
            (Op::DeleteIf { compare: Compare::DigestNotEqual }, b"a digest".to_vec()),
            (Op::SetMany { condition: Condition::IfAbsent, expiry: Expiry::None }, pairs),
            (Op::Rename { replace: true }, to()),
            (Op::Copy { replace: false }, to()),
            (Op::Flush, Vec::new()),
            (Op::OpenNodeSession { node: NodeId::new(2), core: CoreId::new(3), boot }, Vec::new()),
            (Op::CloseSequences, ranges),
        ];
        let mut builder = EntryBuilder::new();
        for (op, operand) in &ops {
            let key = if op.is_keyless() { Vec::new() } else { b"k".to_vec() };
            builder.push(Command::new(key, *op, operand.clone()));
        }
        let spelled: alloc::collections::BTreeSet<_> = ops.iter().map(|(op, _)| op.to_bytes()).collect();
        assert_eq!(spelled.len(), ops.len(), "each has a spelling of its own");
        let bytes = builder.finish(ORIGIN, WallMs(1));
        let entry = Entry::check(bytes.as_slice()).expect("well formed");
        for (command, (op, _)) in entry.commands().zip(&ops) {
            assert_eq!(command.op.to_bytes(), op.to_bytes());
        }
        assert!(entry.commands().map(|command| (command.op, command.operand.to_vec())).eq(ops));

        // An operation of leaders is alone.
        let raise = || Command::new(Vec::new(), Op::RaiseLevel(crate::ids::Level::new(9)), Vec::new());
        let mut builder = EntryBuilder::new();
        builder.push(raise());
        assert!(Entry::check(builder.finish(ORIGIN, WallMs(1))).is_ok());
        builder.push(raise());
        builder.push(Command::new(Vec::new(), Op::Flush, Vec::new()));
        assert_eq!(Entry::check(builder.finish(ORIGIN, WallMs(1))), Err(EntryError::NotAlone));
        let stamp = SessionStamp { session: SessionId::new(1), ..SessionStamp::default() };
        builder.push(Command { stamp, ..raise() });
        assert_eq!(Entry::check(builder.finish(ORIGIN, WallMs(1))), Err(EntryError::NotAlone));
        for command in entry.commands() {
            let (at, operand) = (command.value_offset as usize, command.operand);
            assert_eq!(&bytes[at..at + operand.len()], operand);
        }
    }

    #[test]
    fn what_is_no_command_is_refused_and_never_put_in() {
        type Asked = (Op, Vec<u8>);
        let on = |key: &[u8], (op, operand): Asked| Command::new(key.to_vec(), op, operand);
        let command = |asked: Asked| on(b"k", asked);
        let plain = |op| (op, Vec::new());
        let keep = Expiry::Keep;
        let value = |len| alloc::vec![7_u8; len];
        let compared = |wanted: &[u8], value: &[u8], compare| {
            let mut compared = Vec::new();
            operand::put_compared(&mut compared, wanted, value);
            (Op::SetIf { value_crc: 0, compare, expiry: keep, return_old: false }, compared)
        };
        let many =
            |pairs: Vec<u8>| (Op::SetMany { condition: Condition::Always, expiry: Expiry::None }, pairs);
        let pairs = |key: &[u8], len| {
            let mut pairs = Vec::new();
            operand::put_pair(&mut pairs, key, &value(len));
            many(pairs)
        };
        let set = |value| {
            let condition = Condition::Always;
            (Op::Set { value_crc: 0, condition, expiry: keep, return_old: false }, value)
        };
        let malformed = (
            Op::SetIf { value_crc: 0, compare: Compare::Equal, expiry: keep, return_old: false },
            b"\x09\0\0\0x".to_vec(),
        );
        let then = crate::command::IfEqualAction::Delete;
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
                command((Op::DeleteIf { compare: Compare::Equal }, value(value_max + 1))),
                Illegal::ValueTooLong,
            ),
            (command((Op::DeleteIf { compare: Compare::DigestEqual }, value(9))), Illegal::Operand),
            (command((Op::Rename { replace: true }, Vec::new())), Illegal::KeyEmpty),
            (command((Op::Copy { replace: true }, value(key_max + 1))), Illegal::KeyTooLong),
            (command(plain(Op::GetExpire(keep))), Illegal::Operand),
            (command(plain(Op::SetExpiryIf { expiry: keep, test: ExpiryTest::Set })), Illegal::Operand),
            (command(set(value(value_max + 1))), Illegal::ValueTooLong),
            (command((Op::IfEqual { then }, value(value_max + 1))), Illegal::ValueTooLong),
            (command(plain(Op::Flush)), Illegal::Operand),
            (command((Op::Delete, value(1))), Illegal::Operand),
            (command((Op::IncrementBy(1), value(1))), Illegal::Operand),
            (on(b"k", plain(Op::CloseSequences)), Illegal::Operand),
            (on(b"", (Op::CloseSequences, value(11))), Illegal::Operand),
            (on(b"", plain(Op::Delete)), Illegal::KeyEmpty),
            (on(&value(key_max + 1), plain(Op::Delete)), Illegal::KeyTooLong),
        ];
        for (command, illegal) in refused {
            assert_eq!(command.check(), Err(illegal), "{:?}", command.op);
            let mut builder = EntryBuilder::new();
            builder.put(command);
            if builder.body_len <= limits::OPERAND_BYTES_MAX {
                assert_eq!(
                    Entry::check(builder.finish(ORIGIN, WallMs(0))),
                    Err(EntryError::Illegal(illegal))
                );
            }
        }
        let longest = [
            compared(&value(version), &value(value_max), Compare::Version),
            compared(&value(digest), &value(value_max), Compare::DigestEqual),
            compared(&value(value_max - 1), b"x", Compare::Equal),
            compared(b"", &value(value_max), Compare::NotEqual),
            (Op::DeleteIf { compare: Compare::NotEqual }, value(value_max)),
            (Op::IfEqual { then }, value(value_max)),
            (Op::Rename { replace: true }, value(key_max)),
            set(value(value_max)),
        ];
        let first = core::iter::once(command(pairs(b"k", value_max - 13)));
        for command in longest.map(|asked| on(&value(key_max), asked)).into_iter().chain(first) {
            let mut builder = EntryBuilder::new();
            builder.push(command.clone());
            let entry = Entry::check(builder.finish(ORIGIN, WallMs(0))).expect("the longest there is");
            assert!(entry.commands().all(|got| got.key == command.key));
        }
    }

    #[test]
    fn an_empty_entry_carries_time() {
        let bytes = EntryBuilder::<Vec<u8>>::new().finish(ORIGIN, WallMs(9));
        let entry = Entry::check(bytes).expect("well formed");
        assert_eq!((entry.ts(), entry.origin(), entry.command_count()), (WallMs(9), ORIGIN, 0));
    }

    #[test]
    fn reads_are_not_entries() {
        let mut builder = EntryBuilder::new();
        for op in [Op::Get, Op::CountKeys, Op::ExpireTime, Op::Scan { position: 0, count: 1 }] {
            let key = if op.is_keyless() { Vec::new() } else { b"k".to_vec() };
            builder.push(Command::plain(key, op));
            assert_eq!(Entry::check(builder.finish(ORIGIN, WallMs(0))), Err(EntryError::Archive));
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
            let good = builder.finish(ORIGIN, WallMs(1));
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
