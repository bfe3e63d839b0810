//! Connection strings, from text to settings. An error names the part that is wrong and never repeats
//! credentials.

use std::time::Duration;
use synod_net::client::Address;
use synod_types::Consistency;

/// The port of a server that was not told otherwise.
pub(crate) const DEFAULT_PORT: u16 = 6379;

const SCHEME: &str = "synod://";
const OPTIONS: &str =
    "timeout, attempt_timeout, connect_timeout, namespace, consistency, exactly_once and routing";

/// The parts of a connection string.
#[derive(Default)]
pub(crate) struct Parsed {
    pub(crate) addresses: Vec<Address>,
    pub(crate) password: Option<Vec<u8>>,
    pub(crate) options: Options,
}

/// The options that were given.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) timeout: Option<Duration>,
    pub(crate) attempt_timeout: Option<Duration>,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) namespace: Option<u16>,
    pub(crate) consistency: Option<Consistency>,
    pub(crate) exactly_once: Option<bool>,
    pub(crate) routing: Option<bool>,
}

/// Parses `synod://[:PASSWORD@]HOST[:PORT][,HOST[:PORT]]…[/][?OPTION=VALUE[&…]]`.
pub(crate) fn parse(text: &str) -> Result<Parsed, String> {
    let rest = text.strip_prefix(SCHEME).ok_or("a connection string begins with synod://")?;
    // Whatever stands before the last '@' is a secret, even if it is not written as it should be.
    let (credentials, rest) = match rest.rsplit_once('@') {
        Some((credentials, rest)) => (Some(credentials), rest),
        None => (None, rest),
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let hosts = rest.strip_suffix('/').unwrap_or(rest);
    if hosts.contains('/') {
        return Err("nothing but options may follow the hosts: synod://HOST:PORT/?OPTION=VALUE".into());
    }
    Ok(Parsed {
        password: credentials.map(password).transpose()?.flatten(),
        addresses: hosts.split(',').map(address).collect::<Result<_, _>>()?,
        options: options(query)?,
    })
}

fn password(credentials: &str) -> Result<Option<Vec<u8>>, String> {
    let (user, password) =
        credentials.split_once(':').ok_or("a password is written as synod://:PASSWORD@HOST, with a colon")?;
    if !user.is_empty() {
        return Err("there are no user names: write synod://:PASSWORD@HOST".into());
    }
    if password.contains(['/', '?', '#', '@', '[', ']']) {
        return Err(
            "the password has one of the characters / ? # @ [ ]: write %2F %3F %23 %40 %5B %5D".into()
        );
    }
    let decoded = decode_percent(password)
        .ok_or("a '%' in the password is not followed by two hex digits: write %25 for '%' itself")?;
    Ok((!decoded.is_empty()).then_some(decoded))
}

fn decode_percent(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(out)
}

fn address(text: &str) -> Result<Address, String> {
    if text.is_empty() {
        return Err("a host is missing: synod://HOST:PORT,HOST:PORT".into());
    }
    // A password without a host looks like a port: it is not repeated.
    if text.starts_with(':') {
        return Err(
            "a host is missing before a ':': synod://HOST:PORT, or synod://:PASSWORD@HOST:PORT".into()
        );
    }
    let has_port = match text.rsplit_once(']') {
        Some((_, after)) => !after.is_empty(), // [::1] or [::1]:port
        None => text.contains(':'),
    };
    let whole = if has_port { text.to_owned() } else { format!("{text}:{DEFAULT_PORT}") };
    whole.parse().map_err(|_| {
        // What stands around a ':' may be a user and a password that no '@' follows: it is not repeated.
        let subject = if text.contains(':') {
            "after synod:// a ':' is not followed by a port from 1 to 65535, or a host is wrong".to_owned()
        } else {
            format!("'{text}' is no address")
        };
        format!(
            "{subject}: HOST or HOST:PORT is wanted, and an IPv6 address in brackets; a password is written \
             synod://:PASSWORD@HOST:PORT"
        )
    })
}

fn options(query: &str) -> Result<Options, String> {
    let mut options = Options::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| format!("the option '{pair}' has no value: write NAME=VALUE"))?;
        let wrong = |wanted: &str| format!("the option {name} is '{value}': {wanted}");
        match name {
            "timeout" => once(&mut options.timeout, name, span(value).map_err(wrong)?)?,
            "attempt_timeout" => once(&mut options.attempt_timeout, name, span(value).map_err(wrong)?)?,
            "connect_timeout" => once(&mut options.connect_timeout, name, span(value).map_err(wrong)?)?,
            "namespace" => {
                let number = value.parse().map_err(|_| wrong("a number from 0 to 65535 is wanted"))?;
                once(&mut options.namespace, name, number)?;
            }
            "consistency" => once(&mut options.consistency, name, consistency(value).map_err(wrong)?)?,
            "exactly_once" => once(&mut options.exactly_once, name, yes_or_no(value).map_err(wrong)?)?,
            "routing" => once(&mut options.routing, name, yes_or_no(value).map_err(wrong)?)?,
            _ => return Err(format!("there is no option '{name}': there are {OPTIONS}")),
        }
    }
    Ok(options)
}

fn once<T>(place: &mut Option<T>, name: &str, value: T) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("the option {name} is given twice")),
    }
}

fn span(text: &str) -> Result<Duration, &'static str> {
    const WANTED: &str = "a whole number with ms, s or m is wanted, as in 500ms or 2s";
    let at = text.find(|letter: char| !letter.is_ascii_digit()).ok_or(WANTED)?;
    let (digits, unit) = text.split_at(at);
    let count: u64 = digits.parse().map_err(|_| WANTED)?;
    match unit {
        "ms" => Ok(Duration::from_millis(count)),
        "s" => Ok(Duration::from_secs(count)),
        "m" => count.checked_mul(60).map(Duration::from_secs).ok_or(WANTED),
        _ => Err(WANTED),
    }
}

fn consistency(text: &str) -> Result<Consistency, &'static str> {
    match text {
        "linearizable" => Ok(Consistency::Linearizable),
        "quorum" => Ok(Consistency::Quorum),
        _ => Err("linearizable or quorum is wanted"),
    }
}

fn yes_or_no(text: &str) -> Result<bool, &'static str> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("yes or no is wanted"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_ports_and_passwords_are_found() {
        type Row<'a> = (&'a str, &'a [&'a str], Option<&'a [u8]>);
        let table: &[Row<'_>] = &[
            ("synod://a", &["a:6379"], None),
            ("synod://a/", &["a:6379"], None),
            (
                "synod://a:1,[::1],[fe80::2]:3,10.0.0.1:4/",
                &["a:1", "[::1]:6379", "[fe80::2]:3", "10.0.0.1:4"],
                None,
            ),
            ("synod://:pw@a:1", &["a:1"], Some(b"pw")),
            ("synod://:a%3ab%2F%ff@a:1", &["a:1"], Some(b"a:b/\xff")),
            ("synod://:with:colon@a:1?", &["a:1"], Some(b"with:colon")),
            ("synod://:@a:1", &["a:1"], None),
        ];
        for (text, addresses, password) in table {
            let parsed = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let found: Vec<String> = parsed.addresses.iter().map(ToString::to_string).collect();
            assert_eq!(found, *addresses, "{text}");
            assert_eq!(parsed.password.as_deref(), *password, "{text}");
        }
    }

    #[test]
    fn errors_name_the_part_that_is_wrong() {
        let table = [
            ("redis://a", "begins with synod://"),
            ("synod://", "host is missing"),
            ("synod://a,,b", "host is missing"),
            ("synod://:7000", "host is missing"),
            ("synod://a:x", "a ':' is not followed by a port"),
            ("synod://a:0", "a ':' is not followed by a port"),
            ("synod://[ab", "'[ab' is no address"),
            ("synod://::1", "host is missing"),
            ("synod://fe80::1", "brackets"),
            ("synod://a/0", "nothing but options"),
            ("synod://a/?timeout", "'timeout' has no value"),
            ("synod://a/?timeout=2", "timeout is '2'"),
            ("synod://a/?timeout=1.5s", "ms, s or m"),
            ("synod://a/?timeout=1s&timeout=2s", "twice"),
            ("synod://a/?namespace=65536", "0 to 65535"),
            ("synod://a/?consistency=stale", "linearizable or quorum"),
            ("synod://a/?exactly_once=1", "yes or no"),
            ("synod://a/?time=1s", "no option 'time'"),
        ];
        for (text, wanted) in table {
            let error = parse(text).err().unwrap_or_else(|| panic!("{text} is taken"));
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }

    #[test]
    fn no_error_repeats_a_password() {
        let texts = [
            "synod://:Rose/bud@a",
            "synod://:Rose?bud@a",
            "synod://:Rosebud@",
            "synod://Rosebud@a",
            "synod://user:Rosebud@a",
            "synod://:Rosebud%@a",
            "synod://:Rosebud%4@a",
            "synod://:Rosebud",
            "synod://user:Rosebud",
            "synod://a:1,user:Rose,bud:no/?timeout=2s",
            "synod://:Rosebud@a:x",
            "synod://:Rosebud@a/?none=1",
        ];
        for text in texts {
            let error = parse(text).err().unwrap_or_else(|| panic!("{text} is taken"));
            assert!(!error.contains("Rose") && !error.contains("bud"), "{error}");
        }
    }
}
