//! Names of parsed labels: letters, digits and `_`; what else is in a key becomes `_`.

use std::borrow::Cow;

fn is_plain(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

/// A key as a label's name; empty when nothing is left of it.
pub(crate) fn label_name(key: &str) -> Cow<'_, str> {
    let first = key.as_bytes().first().copied().unwrap_or_default();
    if !first.is_ascii_digit() && key.bytes().all(is_plain) {
        return Cow::Borrowed(key);
    }
    let mut name = String::with_capacity(key.len() + 1);
    append(&mut name, key);
    Cow::Owned(name)
}

/// Appends a key to the name of the object that it is in.
pub(crate) fn append(name: &mut String, key: &str) {
    let key = key.trim();
    if name.is_empty() && key.as_bytes().first().is_some_and(u8::is_ascii_digit) {
        name.push('_');
    }
    name.extend(key.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (key, name) in [("a_B1", "a_B1"), ("a.b-c", "a_b_c"), ("1a", "_1a"), (" é x ", "__x"), ("", ""), ("  ", "")]
        {
            assert_eq!(label_name(key), name);
        }
    }
}
