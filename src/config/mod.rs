//! Configuration: as written (`read`, a file), then as meant ([`settings`]). Building the settings is
//! the validation, and it names every problem at once.

mod desk;
mod evidence;
mod load;
mod read;
pub mod settings;

pub use desk::{Desk, Vault, desk, vault};
pub use load::load;

use std::fmt;

/// Everything that is wrong with a configuration.
#[derive(Debug)]
pub struct ConfigError {
    /// In the order of the file's sections; never empty.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, such as `lists[0].category`; empty for the file as a whole.
    pub path: String,
    /// What, and what to do about it.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.path, self.message) }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests;
