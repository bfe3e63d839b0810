//! `Filter`: which events are written, by level and module, as in `info,peer=debug`.

use std::fmt;
use tracing::Level;
use tracing::level_filters::LevelFilter;

/// The modules that events belong to.
pub const MODULES: [&str; 6] = ["client", "clock", "election", "log", "node", "peer"];
/// The levels, the least talkative first.
pub const LEVELS: [(&str, LevelFilter); 5] = [
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// The level of each module: its own, or else the general one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filter {
    general: LevelFilter,
    /// By the place of the module in [`MODULES`].
    modules: [Option<LevelFilter>; MODULES.len()],
}

impl Filter {
    /// Reads levels separated by commas: a bare one holds for all modules that have none of their own.
    ///
    /// # Errors
    /// A sentence that says which part is wrong, and what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut general = None;
        let mut modules = [None; MODULES.len()];
        for part in text.split(',').map(str::trim) {
            let (place, word) = match part.split_once('=') {
                None => (&mut general, part),
                Some((module, word)) => {
                    let index = MODULES.iter().position(|known| *known == module.trim());
                    let index = index.ok_or_else(|| {
                        format!("'{}' is no module of the log; use {}", module.trim(), listed(&MODULES))
                    })?;
                    (&mut modules[index], word.trim())
                }
            };
            if place.replace(level(word)?).is_some() {
                return Err(format!("'{text}' gives two levels for the same events"));
            }
        }
        Ok(Self { general: general.unwrap_or(LevelFilter::INFO), modules })
    }

    /// Whether events of `module` at `level` are written.
    pub fn lets_through(&self, module: &str, level: Level) -> bool {
        let index = MODULES.iter().position(|known| *known == module);
        let own = index.and_then(|index| self.modules[index]);
        level <= own.unwrap_or(self.general)
    }

    /// The most talkative level of any module.
    pub fn most(&self) -> LevelFilter {
        self.modules.iter().flatten().copied().fold(self.general, LevelFilter::max)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.general)?;
        for (module, level) in MODULES.iter().zip(self.modules) {
            if let Some(level) = level {
                write!(f, ",{module}={level}")?;
            }
        }
        Ok(())
    }
}

fn level(word: &str) -> Result<LevelFilter, String> {
    let found = LEVELS.iter().find(|(name, _)| *name == word);
    found.map(|(_, level)| *level).ok_or_else(|| {
        let names = LEVELS.map(|(name, _)| name);
        format!("'{word}' is no level of the log; use {}", listed(&names))
    })
}

/// "a, b or c"
fn listed(words: &[&str]) -> String {
    let Some((last, first)) = words.split_last() else { return String::new() };
    format!("{} or {last}", first.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_has_its_own_level_or_the_general_one() {
        let filter = Filter::parse("warn, peer=debug,log=error").unwrap();
        for (module, level, is_written) in [
            ("election", Level::WARN, true),
            ("election", Level::INFO, false),
            ("peer", Level::DEBUG, true),
            ("peer", Level::TRACE, false),
            ("log", Level::ERROR, true),
            ("log", Level::WARN, false),
            ("a library's own", Level::WARN, true),
            ("a library's own", Level::INFO, false),
        ] {
            assert_eq!(filter.lets_through(module, level), is_written, "{module} {level}");
        }
        assert_eq!(filter.most(), LevelFilter::DEBUG);
        assert_eq!(filter.to_string(), "warn,log=error,peer=debug");
        assert!(Filter::parse("peer=debug").unwrap().lets_through("node", Level::INFO), "info by default");
    }

    #[test]
    fn every_level_is_read_and_shown_alike() {
        for (word, level) in LEVELS {
            let filter = Filter::parse(word).unwrap();
            assert_eq!((filter.most(), filter.to_string().as_str()), (level, word));
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        for (text, why) in [
            ("loud", "'loud' is no level of the log; use error, warn, info, debug or trace"),
            ("", "'' is no level of the log"),
            ("INFO", "'INFO' is no level"),
            ("info,", "'' is no level"),
            ("pier=debug", "'pier' is no module of the log; use client, clock, election, log, node or peer"),
            ("peer=", "'' is no level"),
            ("info,debug", "'info,debug' gives two levels for the same events"),
            ("peer=info,peer=info", "gives two levels"),
        ] {
            let said = Filter::parse(text).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}
