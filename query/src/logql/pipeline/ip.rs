//! `ip("...")`: an address, a network or a range of addresses, looked for in a text.

use std::net::IpAddr;

use crate::logql::units::quote;

/// What addresses are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IpPattern {
    Address(IpAddr),
    Network { base: IpAddr, bits: u8 },
    Range { first: IpAddr, last: IpAddr },
}

impl IpPattern {
    /// `192.168.0.1`, `192.168.0.0/16`, `192.168.0.1-192.168.0.23`, and the same in IPv6.
    pub(crate) fn new(pattern: &str) -> Result<Self, String> {
        let invalid = || format!("ip: invalid pattern: {}", quote(pattern));
        if let Ok(address) = pattern.parse() {
            return Ok(Self::Address(address));
        }
        if let Some((base, bits)) = pattern.split_once('/') {
            let base: IpAddr = base.parse().map_err(|_| invalid())?;
            let plain =
                !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
            let bits: u8 = bits.parse().ok().filter(|_| plain).ok_or_else(invalid)?;
            let width = if base.is_ipv4() { 32 } else { 128 };
            return if bits <= width { Ok(Self::Network { base, bits }) } else { Err(invalid()) };
        }
        let (first, last) = pattern.split_once('-').ok_or_else(invalid)?;
        let first: IpAddr = first.trim().parse().map_err(|_| invalid())?;
        let last: IpAddr = last.trim().parse().map_err(|_| invalid())?;
        if first.is_ipv4() != last.is_ipv4() || first > last { Err(invalid()) } else { Ok(Self::Range { first, last }) }
    }

    fn holds(&self, address: IpAddr) -> bool {
        match *self {
            Self::Address(wanted) => wanted == address,
            Self::Network { base, bits } => match (base, address) {
                (IpAddr::V4(base), IpAddr::V4(address)) => {
                    u32::from(base).checked_shr(32 - u32::from(bits))
                        == u32::from(address).checked_shr(32 - u32::from(bits))
                }
                (IpAddr::V6(base), IpAddr::V6(address)) => {
                    u128::from(base).checked_shr(128 - u32::from(bits))
                        == u128::from(address).checked_shr(128 - u32::from(bits))
                }
                _ => false,
            },
            Self::Range { first, last } => first.is_ipv4() == address.is_ipv4() && (first..=last).contains(&address),
        }
    }

    /// Whether an address in `text` is one of these. Addresses are found where Loki finds them: at a digit with a dot
    /// within three characters, or at hexadecimal digits before a colon.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let byte = |i: usize| bytes.get(at + i).copied().unwrap_or_default();
            let is_v4 = at + 3 < bytes.len() && byte(0).is_ascii_digit() && (1..4).any(|i| byte(i) == b'.');
            let is_v6 = (byte(0) == b':' && byte(1) == b':' && byte(2).is_ascii_hexdigit())
                || (1..5).any(|n| byte(n) == b':' && (0..n).all(|i| byte(i).is_ascii_hexdigit()));
            if is_v4 || is_v6 {
                let part = |b: u8| b.is_ascii_digit() || b == b'.' || (!is_v4 && (b.is_ascii_hexdigit() || b == b':'));
                let end = bytes.iter().skip(at).position(|&b| !part(b)).map_or(bytes.len(), |n| at + n);
                if text.get(at..end).and_then(|s| s.parse().ok()).is_some_and(|address| self.holds(address)) {
                    return true;
                }
                at = end;
            }
            at += 1;
        }
        false
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn finds_addresses() {
        let check = |pattern: &str, text: &str, found: bool| {
            assert_eq!(IpPattern::new(pattern).unwrap().is_in(text), found, "{pattern} in {text}");
        };
        check("10.0.0.1", "from 10.0.0.1 port 5", true);
        check("10.0.0.1", "from 10.0.0.12", false);
        check("10.0.0.1", "10.0.0.1", true);
        check("10.0.0.0/8", "src=10.200.1.9;", true);
        check("10.0.0.0/8", "11.0.0.1", false);
        check("0.0.0.0/0", "1.2.3.4", true);
        check("10.1.2.3/25", "10.1.2.127", true);
        check("10.1.2.3/25", "10.1.2.128", false);
        check("192.168.0.1-192.168.0.23", "x 192.168.0.7 y", true);
        check("192.168.0.1-192.168.0.23", "192.168.0.24", false);
        check("::1", "listening on ::1", true);
        check("2001:db8::/32", "peer 2001:db8:5::9 up", true);
        check("2001:db8::/32", "peer 2001:db9::1 up", false);
        check("10.0.0.1", "", false);
        check("10.0.0.1", "é 10.0.0.1", true);
    }

    #[test]
    fn refuses_what_is_no_address() {
        for pattern in
            ["999.1.1.1", "bad", "10.0.0.0/33", "10.0.0.9-10.0.0.1", "10.0.0.1-", "1.2.3.4/", "1.1.1.1-::1", ""]
        {
            assert_eq!(IpPattern::new(pattern), Err(format!("ip: invalid pattern: \"{pattern}\"")));
        }
    }
}
