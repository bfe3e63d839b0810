//! CLIENT: what a connection says of itself and what it may ask of others.

use super::ConnectionConfig;
use super::resp::{Replies, Session};
use crate::resp::number::parse_i64;
use crate::resp::parser::Args;
use crate::resp::plan::{lossy, wrong_arity};
use crate::resp::reply::Proto;

pub(super) const BAD_NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

impl Session {
    pub(super) fn client(&mut self, config: &ConnectionConfig, out: &mut Vec<u8>, args: &Args<'_>) {
        let sub = args.get(1).to_ascii_lowercase();
        let arity_error = |name: &str| wrong_arity(&format!("client|{name}"));
        match (sub.as_slice(), args.len()) {
            (b"id", 2) => self.write(out, |writer| writer.int(config.id.cast_signed())),
            (b"getname", 2) => {
                let name = self.name.clone();
                self.write(
                    out,
                    |writer| if name.is_empty() { writer.nil() } else { writer.bulk(name.as_bytes()) },
                );
            }
            (b"setname", 3) => match client_name(args.get(2)) {
                Some(name) => {
                    self.name = name;
                    self.write(out, |writer| writer.simple("OK"));
                }
                None => self.write(out, |writer| writer.error(BAD_NAME)),
            },
            (b"setinfo", 4) => self.client_set_info(out, args),
            (b"list", 4..) if args.get(2).eq_ignore_ascii_case(b"id") => {
                let line = self.describe(config);
                match ids(args) {
                    Some(ids) => {
                        let own = ids.contains(&config.id.cast_signed());
                        self.write(out, |writer| writer.verbatim(if own { &line } else { "" }));
                    }
                    None => self.write(out, |writer| writer.error("ERR Invalid client ID")),
                }
            }
            // LIST knows this connection only: the others may live on other cores.
            (b"info", 2) | (b"list", _) => {
                let line = self.describe(config);
                self.write(out, |writer| writer.verbatim(&line));
            }
            (b"no-evict" | b"no-touch", 3) => {
                let known =
                    [b"on".as_slice(), b"off"].iter().any(|word| args.get(2).eq_ignore_ascii_case(word));
                self.write(
                    out,
                    |writer| {
                        if known { writer.simple("OK") } else { writer.error("ERR syntax error") }
                    },
                );
            }
            (b"capa", 3..) => self.write(out, |writer| writer.simple("OK")),
            (b"reply", 3) => self.client_reply(out, args.get(2)),
            (b"kill", 3..) => self.client_kill(config, out, args),
            (b"unpause", 2) => self.write(out, |writer| writer.simple("OK")),
            (b"pause", 3 | 4) => self.write(out, |writer| {
                writer
                    .error("ERR CLIENT PAUSE is not supported: a node cannot hold back the others' clients");
            }),
            (b"tracking", 3..) if args.get(2).eq_ignore_ascii_case(b"off") => {
                self.write(out, |writer| writer.simple("OK"));
            }
            (b"tracking", 3..) => {
                self.write(out, |writer| writer.error("ERR CLIENT TRACKING is not supported"));
            }
            (b"getredir", 2) => self.write(out, |writer| writer.int(-1)),
            (b"unblock", 3 | 4) => {
                let error = unblock_error(args);
                self.write(out, |writer| match error {
                    Some(error) => writer.error(error),
                    None => writer.int(0), // nothing blocks
                });
            }
            (
                b"id" | b"getname" | b"setname" | b"setinfo" | b"info" | b"no-evict" | b"no-touch" | b"reply"
                | b"kill" | b"pause" | b"unpause" | b"tracking" | b"getredir" | b"unblock",
                _,
            ) => {
                let error = arity_error(&String::from_utf8_lossy(&sub));
                self.write(out, |writer| writer.error(&error));
            }
            _ => self.unknown_subcommand(out, "CLIENT", args),
        }
    }

    fn client_set_info(&mut self, out: &mut Vec<u8>, args: &Args<'_>) {
        let (option, value) = (args.get(2), client_name(args.get(3)));
        let attribute = if option.eq_ignore_ascii_case(b"lib-name") {
            &mut self.library_name
        } else if option.eq_ignore_ascii_case(b"lib-ver") {
            &mut self.library_version
        } else {
            let error = format!("ERR Unrecognized option '{}'", lossy(option));
            return self.write(out, |writer| writer.error(&error));
        };
        if let Some(value) = value {
            *attribute = value;
            self.write(out, |writer| writer.simple("OK"));
        } else {
            let error =
                format!("ERR {} cannot contain spaces, newlines or special characters.", lossy(option));
            self.write(out, |writer| writer.error(&error));
        }
    }

    fn describe(&self, config: &ConnectionConfig) -> String {
        format!(
            "id={} addr={} laddr={} name={} age=0 idle=0 flags=N db=0 sub=0 psub=0 ssub=0 multi=-1 cmd=client|info \
             user=default resp={} lib-name={} lib-ver={}\n",
            config.id,
            config.peer_address,
            config.local_address,
            self.name,
            if self.proto == Proto::Resp3 { 3 } else { 2 },
            self.library_name,
            self.library_version,
        )
    }

    /// CLIENT REPLY ON | OFF | SKIP
    fn client_reply(&mut self, out: &mut Vec<u8>, word: &[u8]) {
        match word.to_ascii_lowercase().as_slice() {
            b"on" => {
                self.replies = Replies::On;
                self.unmute();
                self.write(out, |writer| writer.simple("OK"));
            }
            b"off" => self.replies = Replies::Off,
            b"skip" if self.replies == Replies::On => self.replies = Replies::Skip,
            b"skip" => {}
            _ => self.write(out, |writer| writer.error("ERR syntax error")),
        }
    }

    /// CLIENT KILL: a connection can end itself; the others are out of its sight and count as not found.
    fn client_kill(&mut self, config: &ConnectionConfig, out: &mut Vec<u8>, args: &Args<'_>) {
        if args.len() == 3 {
            let own = args.get(2) == config.peer_address.as_bytes();
            self.write(
                out,
                |writer| {
                    if own { writer.simple("OK") } else { writer.error("ERR No such client") }
                },
            );
            self.over |= own;
            return;
        }
        let filters: Vec<&[u8]> = args.iter_from(2).collect();
        let mut own = filters.len().is_multiple_of(2);
        let (mut skips_own, mut known) = (true, own);
        let is_id = |filter: &[&[u8]]| filter[0].eq_ignore_ascii_case(b"id");
        if filters.chunks_exact(2).any(|filter| is_id(filter) && parse_i64(filter[1]).is_none_or(|id| id < 1))
        {
            return self.write(out, |writer| writer.error("ERR client-id should be greater than 0"));
        }
        for filter in filters.chunks_exact(2) {
            match filter[0].to_ascii_lowercase().as_slice() {
                b"id" => own &= parse_i64(filter[1]) == Some(config.id.cast_signed()),
                b"addr" => own &= filter[1] == config.peer_address.as_bytes(),
                b"laddr" => own &= filter[1] == config.local_address.as_bytes(),
                b"user" => own &= filter[1] == b"default",
                b"type" => own &= filter[1].eq_ignore_ascii_case(b"normal"),
                b"skipme" => skips_own = !filter[1].eq_ignore_ascii_case(b"no"),
                _ => known = false,
            }
        }
        let killed = known && own && !skips_own;
        self.write(
            out,
            |writer| {
                if known { writer.int(i64::from(killed)) } else { writer.error("ERR syntax error") }
            },
        );
        self.over |= killed;
    }
}

/// The numbers of CLIENT LIST ID.
fn ids(args: &Args<'_>) -> Option<Vec<i64>> {
    args.iter_from(3).map(parse_i64).collect()
}

/// What is wrong with CLIENT UNBLOCK id [TIMEOUT | ERROR].
fn unblock_error(args: &Args<'_>) -> Option<&'static str> {
    let known = |word: &[u8]| word.eq_ignore_ascii_case(b"timeout") || word.eq_ignore_ascii_case(b"error");
    if args.len() == 4 && !known(args.get(3)) {
        return Some("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
    }
    parse_i64(args.get(2)).is_none().then_some("ERR value is not an integer or out of range")
}

/// A client's name for itself: printable ASCII without blanks, and not long.
pub(super) fn client_name(bytes: &[u8]) -> Option<String> {
    if bytes.len() > 256 || !bytes.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    String::from_utf8(bytes.to_vec()).ok()
}
