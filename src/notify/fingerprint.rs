//! Numbers that stand for sets of labels: the same as Alertmanager's, because people and tools meet them in its API.

use super::matcher::Labels;

const OFFSET: u64 = 0xCBF2_9CE4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01B3;

/// What stands for a set of labels: FNV-1a of names and values, each followed by a byte that no UTF-8 text has.
pub(crate) fn of(labels: &Labels) -> u64 {
    labels.iter().flat_map(|(name, value)| [name, value]).fold(OFFSET, |hash, text| {
        let bytes = text.bytes().chain([0xFF]);
        bytes.fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
    })
}

/// As the API shows it.
pub(crate) fn show(fingerprint: u64) -> String {
    format!("{fingerprint:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_in_the_models_own_tests() {
        assert_eq!(show(of(&Labels::new())), "cbf29ce484222325");
        let labels = [("name", "garland, briggs"), ("fear", "love is not enough")];
        let labels = labels.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        assert_eq!(of(&labels), 5_799_056_148_416_392_346);
    }
}
