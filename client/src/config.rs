//! The settings of a client: where the cluster is, how to get in, and how long to try.

use crate::connection_string::{self, Options};
use crate::error::Error;
use std::str::FromStr;
use std::time::Duration;
use synod_net::access::Secret;
use synod_net::client::{Address, ClientConfig};
use synod_types::{Consistency, Nanos};

/// The port of a server that was not told otherwise.
pub const DEFAULT_PORT: u16 = connection_string::DEFAULT_PORT;

/// An operation is given up after this long.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A single attempt is given up after this long. Longer than the server's own timeouts, so that its answer
/// comes first.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that is not established after this long is given up, and another node is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Nothing is given up sooner than this.
const SPAN_MIN: Duration = Duration::from_millis(1);
/// No system tries longer than this to connect; more would overflow a sum of times.
const CONNECT_SPAN_MAX: Duration = Duration::from_secs(3600);

/// The settings of a client. They come from a connection string, or from methods.
///
/// ```
/// use std::time::Duration;
/// use synod_client::Config;
///
/// let parsed: Config = "synod://:secret@node1,node2:7000/?timeout=2s".parse()?;
/// let built = Config::new()
///     .address("node1", 6379)
///     .address("node2", 7000)
///     .password("secret")
///     .timeout(Duration::from_secs(2));
/// assert_eq!(parsed, built);
/// assert!(!format!("{parsed:?}").contains("secret"));
/// # Ok::<(), synod_client::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    addresses: Vec<Address>,
    password: Option<Secret>,
    namespace: u16,
    timeout: Duration,
    attempt_timeout: Duration,
    connect_timeout: Duration,
    consistency: Consistency,
    is_exactly_once: bool,
    is_routed: bool,
}

impl Config {
    /// No address yet, no password, and the defaults of the connection string.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node. Some nodes of the cluster are enough: the client learns of the others, and one that does
    /// not answer is passed over.
    #[must_use]
    pub fn address(mut self, host: impl Into<String>, port: u16) -> Self {
        self.addresses.push(Address { host: host.into(), port });
        self
    }

    /// The cluster's password.
    #[must_use]
    pub fn password(mut self, password: impl Into<Vec<u8>>) -> Self {
        self.password = Some(Secret::new(password.into()));
        self
    }

    /// The namespace of keys. Redis clients see namespace 0, which is the default.
    #[must_use]
    pub fn namespace(mut self, namespace: u16) -> Self {
        self.namespace = namespace;
        self
    }

    /// How long an operation is tried; a request may have a timeout of its own. Default: 10 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long the client waits for one answer before it gives the connection up and tries again. Default: 5
    /// s, and never more than half of the timeout.
    #[must_use]
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self
    }

    /// How long a connection may take to be established before another node is tried. Default: 1 s, and never
    /// more than an equal part of the timeout for each address.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How fresh reads are that say nothing else. Default: [`Consistency::Linearizable`].
    #[must_use]
    pub fn consistency(mut self, consistency: Consistency) -> Self {
        self.consistency = consistency;
        self
    }

    /// Whether each write belongs to a session, so that the cluster recognises a retry and executes the write
    /// once. Default: yes. Without sessions, a write whose answer is lost ends as [`Error::Unknown`].
    #[must_use]
    pub fn exactly_once(mut self, is_exactly_once: bool) -> Self {
        self.is_exactly_once = is_exactly_once;
        self
    }

    /// Whether to talk to the leader of each key directly. Default: yes. Without it, everything goes to the
    /// given addresses, which forward it: for networks in which only those can be reached.
    #[must_use]
    pub fn routing(mut self, is_routed: bool) -> Self {
        self.is_routed = is_routed;
        self
    }

    /// Checks the settings: each constructor of a client calls it first.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] with the first setting that is wrong.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |text: String| Err(Error::InvalidArgument(text));
        if self.addresses.is_empty() {
            return wrong("no address is given: add at least one host".into());
        }
        for address in &self.addresses {
            // Host names have no such bytes, and the resolver's complaint would be harder to understand.
            let is_host = |byte: u8| byte.is_ascii_graphic() && !b"/@[]?#".contains(&byte);
            if address.host.is_empty() || !address.host.bytes().all(is_host) || address.port == 0 {
                return wrong(format!("'{address}' is no address: a host and a port from 1 to 65535"));
            }
        }
        let spans = [
            ("timeout", self.timeout),
            ("attempt timeout", self.attempt_timeout),
            ("connect timeout", self.connect_timeout),
        ];
        match spans.iter().find(|(_, span)| span.is_zero()) {
            Some((name, _)) => wrong(format!("the {name} is 0: nothing could be done in that time")),
            None => Ok(()),
        }
    }

    pub(crate) fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// What a request gets that says nothing else.
    pub(crate) fn defaults(&self) -> Defaults {
        Defaults { namespace: self.namespace, timeout: self.timeout, consistency: self.consistency }
    }

    /// How long a connection may take to be established: if all addresses but one are dead, the last is still
    /// tried within the timeout.
    pub(crate) fn connect_span(&self) -> Duration {
        let tries = u32::try_from(self.addresses.len()).map_or(u32::MAX, |count| count.saturating_add(1));
        self.connect_timeout.min(self.timeout / tries).clamp(SPAN_MIN, CONNECT_SPAN_MAX)
    }

    /// The settings of the machine that does the work.
    pub(crate) fn machine(&self) -> ClientConfig {
        ClientConfig {
            deadline: nanos(self.timeout),
            attempt_timeout: nanos(self.attempt_timeout.min(self.timeout / 2).max(SPAN_MIN)),
            // The timeout ends an operation, not a number of attempts.
            attempts_max: u32::MAX,
            sessions: self.is_exactly_once,
            routing: self.is_routed,
            password: self.password.clone(),
            ..ClientConfig::default()
        }
    }
}

/// What a request gets that says nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Defaults {
    pub(crate) namespace: u16,
    pub(crate) timeout: Duration,
    pub(crate) consistency: Consistency,
}

/// A span in the units of the machine.
pub(crate) fn nanos(span: Duration) -> Nanos {
    Nanos(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}

impl Default for Config {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            password: None,
            namespace: 0,
            timeout: TIMEOUT,
            attempt_timeout: ATTEMPT_TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
            consistency: Consistency::default(),
            is_exactly_once: true,
            is_routed: true,
        }
    }
}

/// A connection string: `synod://[:PASSWORD@]HOST[:PORT][,HOST[:PORT]]…[/][?OPTION=VALUE[&…]]`.
impl FromStr for Config {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parsed = connection_string::parse(text).map_err(Error::InvalidArgument)?;
        let Options { namespace, timeout, attempt_timeout, connect_timeout, consistency, .. } =
            parsed.options;
        let default = Self::default();
        let config = Self {
            addresses: parsed.addresses,
            password: parsed.password.map(Secret::new),
            namespace: namespace.unwrap_or(default.namespace),
            timeout: timeout.unwrap_or(default.timeout),
            attempt_timeout: attempt_timeout.unwrap_or(default.attempt_timeout),
            connect_timeout: connect_timeout.unwrap_or(default.connect_timeout),
            consistency: consistency.unwrap_or(default.consistency),
            is_exactly_once: parsed.options.exactly_once.unwrap_or(default.is_exactly_once),
            is_routed: parsed.options.routing.unwrap_or(default.is_routed),
        };
        config.check()?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_and_the_methods_give_the_same_settings() {
        let text = "synod://:p%40ss@[::1]:7001,b/?timeout=1m&attempt_timeout=250ms&connect_timeout=3s\
                    &namespace=9&consistency=quorum&exactly_once=no&routing=no";
        let built = Config::new()
            .address("::1", 7001)
            .address("b", DEFAULT_PORT)
            .password("p@ss")
            .timeout(Duration::from_secs(60))
            .attempt_timeout(Duration::from_millis(250))
            .connect_timeout(Duration::from_secs(3))
            .namespace(9)
            .consistency(Consistency::Quorum)
            .exactly_once(false)
            .routing(false);
        assert_eq!(text.parse(), Ok(built));
        assert_eq!("synod://a".parse(), Ok(Config::new().address("a", DEFAULT_PORT)));
    }

    #[test]
    fn settings_that_cannot_work_are_named() {
        let told = |config: Config| config.check().expect_err("refused").to_string();
        assert!(told(Config::new()).contains("no address"));
        assert!(told(Config::new().address("", 1)).contains("no address"));
        assert!(told(Config::new().address("a", 0)).contains("a:0"));
        assert!(told(Config::new().address("a b", 1)).contains("a b"));
        let config = Config::new().address("a", 1);
        assert_eq!(config.check(), Ok(()));
        assert!(told(config.clone().timeout(Duration::ZERO)).contains("the timeout is 0"));
        assert!(told(config.clone().connect_timeout(Duration::ZERO)).contains("the connect timeout is 0"));
        assert!("synod://a/?timeout=0s".parse::<Config>().is_err());
    }

    #[test]
    fn dead_addresses_leave_time_for_the_last_one() {
        let three = Config::new().address("a", 1).address("b", 1).address("c", 1);
        let span = three.clone().timeout(Duration::from_secs(2)).connect_span();
        assert_eq!(span, Duration::from_millis(500));
        assert_eq!(three.connect_span(), CONNECT_TIMEOUT);
        let endless = three.timeout(Duration::MAX).connect_timeout(Duration::MAX);
        assert_eq!(endless.connect_span(), CONNECT_SPAN_MAX);
        let quick = Config::new().address("a", 1).timeout(Duration::from_millis(500)).machine();
        assert_eq!(quick.attempt_timeout, Nanos::from_ms(250));
    }
}
