//! Tenants: whose data it is. Names follow Loki's rules, so that its clients need no change.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::StorageError;

/// Longest name of a tenant, in bytes (as in Loki).
const NAME_BYTES_MAX: usize = 150;

/// Whose data it is: 1 to 150 characters of `A-Z a-z 0-9 ! - _ . * ' ( )`, not `.` or `..`, as Loki allows. It is
/// part of file paths.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant(Arc<str>);

impl Tenant {
    /// Checks a name.
    ///
    /// # Errors
    /// `Refused`, with what is wrong with the name.
    pub fn new(name: &str) -> Result<Self, StorageError> {
        let refuse = |why: &str| Err(StorageError::Refused(format!("tenant name {why}")));
        if name.is_empty() {
            return refuse("is empty");
        }
        if name.len() > NAME_BYTES_MAX {
            return refuse(&format!("is {} bytes long: at most {NAME_BYTES_MAX} are allowed", name.len()));
        }
        if let Some(bad) = name.chars().find(|&c| !c.is_ascii_alphanumeric() && !"!-_.*'()".contains(c)) {
            return refuse(&format!("has the character {bad:?}: allowed are A-Z a-z 0-9 ! - _ . * ' ( )"));
        }
        if name == "." || name == ".." {
            return refuse(&format!("{name:?} is not allowed"));
        }
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `default`, whose data it is when nobody says.
impl Default for Tenant {
    fn default() -> Self {
        Self("default".into())
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Tenant {
    type Err = StorageError;

    fn from_str(name: &str) -> Result<Self, StorageError> {
        Self::new(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, refused_because: Option<&str>) {
        match (Tenant::new(name), refused_because) {
            (Ok(tenant), None) => assert_eq!(tenant.as_str(), name),
            (Err(e), Some(why)) => assert!(e.to_string().contains(why), "{e}"),
            (other, _) => panic!("{name:?}: {other:?}"),
        }
    }

    #[test]
    fn names_are_checked_as_loki_does() {
        check("default", None);
        check("team-a_1.x!*'()", None);
        check("...", None);
        check(&"x".repeat(150), None);
        check(&"x".repeat(151), Some("151 bytes"));
        check("", Some("empty"));
        check(".", Some("not allowed"));
        check("..", Some("not allowed"));
        check("a/b", Some("'/'"));
        check("a|b", Some("'|'"));
        check("é", Some("'é'"));
        check("a\0", Some("'\\0'"));
    }
}
