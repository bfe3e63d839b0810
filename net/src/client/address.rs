//! Addresses of servers.

use ::core::fmt;
use ::core::str::FromStr;

/// A host name or address, and a port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Address {
    /// Host name, or IPv4 or IPv6 address without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// A text that is no address.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("'{0}' is not an address: host:port is wanted")]
pub struct BadAddress(String);

impl FromStr for Address {
    type Err = BadAddress;
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let bad = || BadAddress(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let host = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').ok_or_else(bad)?,
            None if host.contains(':') => return Err(bad()), // an IPv6 address needs brackets
            None => host,
        };
        let port = port.parse().map_err(|_| bad())?;
        // No server listens at port 0.
        if host.is_empty() || port == 0 { Err(bad()) } else { Ok(Self { host: host.to_owned(), port }) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_their_text() {
        for text in ["localhost:6379", "10.0.0.1:1", "[::1]:65535"] {
            assert_eq!(text.parse::<Address>().map(|address| address.to_string()), Ok(text.to_owned()));
        }
        for text in
            ["", "host", ":1", "host:", "host:x", "host:65536", "host:0", "host:-1", "::1:5", "[::1:5"]
        {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
