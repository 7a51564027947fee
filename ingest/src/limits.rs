//! How large what is sent may be. Sizes in bytes. A record beyond a limit is refused with a reason; the rest goes on.

/// The limits of one request's records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// A body after decompression.
    pub body_bytes_max: usize,
    /// A record: its text and its attributes.
    pub record_bytes_max: usize,
    /// Attributes of a record.
    pub attributes_max: usize,
    /// Labels of a stream.
    pub labels_max: usize,
    /// A label's or attribute's name.
    pub label_name_bytes_max: usize,
    /// A label's value.
    pub label_value_bytes_max: usize,
    /// Attributes inside attributes; deeper ones become text.
    pub nesting_max: usize,
    /// Labels of a series of samples, its name among them.
    pub series_labels_max: usize,
    /// The value of a series' label.
    pub series_label_value_bytes_max: usize,
    /// What the samples of one request may take in memory; a short body can say much, by references and repetition.
    pub metric_batch_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 64 << 20,
            record_bytes_max: 2 << 20,
            attributes_max: 2000,
            labels_max: 32,
            label_name_bytes_max: 1024,
            label_value_bytes_max: 2048,
            nesting_max: 32,
            series_labels_max: 512,
            series_label_value_bytes_max: 16 << 10,
            metric_batch_bytes_max: 256 << 20,
        }
    }
}
