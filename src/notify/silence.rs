//! Silences: alerts that are known, and need no message for a while. They may come back, as every Saturday night, which is
//! Farol's own, and they may remind before they end.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::interval::{Days, IntervalText, local, minutes, moment, zone};
use super::matcher::{Comparison, Labels, Matcher, all_match};
use crate::scrape::config::Lapse;

/// The longest that one occurrence of a silence may take: a week.
const OCCURRENCE_MS_MAX: i64 = 7 * 86_400_000;

/// A silence as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SilenceText {
    /// Its id, a UUID.
    pub(crate) id: String,
    /// Which alerts.
    pub(crate) matchers: Vec<MatcherText>,
    /// From when, in milliseconds since 1970.
    pub(crate) starts_at_ms: i64,
    /// Until when.
    pub(crate) ends_at_ms: i64,
    /// When it was changed last.
    pub(crate) updated_at_ms: i64,
    /// Who made it.
    pub(crate) created_by: String,
    /// Why.
    pub(crate) comment: String,
    /// What else is to be known of it.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub(crate) annotations: Labels,
    /// When within these times; always if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) recurrence: Option<RecurrenceText>,
    /// How long before its end to remind; the server's setting if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) remind_before: Option<String>,
    /// For which end it has reminded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reminded_for_ms: Option<i64>,
}

/// A matcher as Alertmanager's API has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are Alertmanager's")]
pub(crate) struct MatcherText {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) is_regex: bool,
    #[serde(default = "yes")]
    pub(crate) is_equal: bool,
}

fn yes() -> bool {
    true
}

/// When a silence comes back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct RecurrenceText {
    /// Days of the week, or ranges of them; every day if none is said.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) weekdays: Vec<String>,
    /// Days of the month, from 1 or from -1; every day if none is said.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) days_of_month: Vec<String>,
    /// Months by name or number; every month if none is said.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) months: Vec<String>,
    /// When it begins on such a day, as `22:00`.
    pub(crate) start_time: String,
    /// How long it takes, as `4h`; it may go on into other days.
    pub(crate) duration: String,
    /// The time zone of all that; UTC if it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) location: Option<String>,
}

/// A silence, read.
#[derive(Debug, Clone)]
pub(crate) struct Silence {
    /// As it is kept.
    pub(crate) text: SilenceText,
    matchers: Vec<Matcher>,
    recurrence: Option<Recurrence>,
    remind_before_ms: Option<i64>,
}

#[derive(Debug, Clone)]
struct Recurrence {
    days: Days,
    start_minute: i32,
    duration_ms: i64,
    zone: chrono_tz::Tz,
}

/// Whether a silence holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SilenceState {
    /// It holds.
    Active,
    /// It will.
    Pending,
    /// It does not any more.
    Expired,
}

impl SilenceState {
    /// As the API shows it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Pending => "pending",
            Self::Expired => "expired",
        }
    }
}

impl Silence {
    /// Reads a silence.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn new(text: SilenceText) -> Result<Self, String> {
        if text.matchers.is_empty() {
            return Err("invalid silence: at least one matcher required".to_owned());
        }
        let matchers: Vec<Matcher> = text.matchers.iter().map(matcher).collect::<Result<_, _>>()?;
        let nothing = Labels::new();
        if matchers.iter().all(|matcher| matcher.matches(&nothing)) {
            return Err("invalid silence: at least one matcher must not match the empty string".to_owned());
        }
        if text.ends_at_ms < text.starts_at_ms {
            return Err("invalid silence: end time must not be before start time".to_owned());
        }
        let recurrence = text.recurrence.as_ref().map(Recurrence::new).transpose();
        let recurrence = recurrence.map_err(|why| format!("invalid silence: recurrence: {why}"))?;
        let remind = text.remind_before.as_deref().map(span_ms).transpose();
        let remind_before_ms = remind.map_err(|why| format!("invalid silence: remindBefore: {why}"))?;
        Ok(Self { text, matchers, recurrence, remind_before_ms })
    }

    /// Whether it holds at a time.
    pub(crate) fn state(&self, now_ms: i64) -> SilenceState {
        if now_ms >= self.text.ends_at_ms {
            return SilenceState::Expired;
        }
        let is_occurring = || self.recurrence.as_ref().is_none_or(|recurrence| recurrence.contains(now_ms));
        match now_ms >= self.text.starts_at_ms && is_occurring() {
            true => SilenceState::Active,
            false => SilenceState::Pending,
        }
    }

    /// Whether it is about alerts with these labels, at whatever time.
    pub(crate) fn covers(&self, labels: &Labels) -> bool {
        // What says that a silence ends is not silenced by it.
        let is_own_reminder = labels.get("silence_id").is_some_and(|id| *id == self.text.id);
        !is_own_reminder && all_match(&self.matchers, labels)
    }

    /// When it is to remind of its end, if it is and has not; `default_ms` is for silences that do not say.
    pub(crate) fn reminds_at(&self, default_ms: Option<i64>) -> Option<i64> {
        let end_ms = self.text.ends_at_ms;
        let length_ms = end_ms - self.text.starts_at_ms;
        // Nobody needs to be reminded of a short one that did not ask for it.
        let default_ms = default_ms.filter(|before_ms| length_ms >= 2 * before_ms);
        let before_ms = self.remind_before_ms.or(default_ms).filter(|before_ms| *before_ms > 0)?;
        (self.text.reminded_for_ms != Some(end_ms)).then_some(end_ms - before_ms)
    }

    /// What is asked of labels with `=`.
    pub(crate) fn equal_labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let equal = self.matchers.iter().filter(|matcher| matcher.comparison == Comparison::Equal);
        equal.map(|matcher| (matcher.name.as_str(), matcher.value.as_str()))
    }

    /// The matchers.
    pub(crate) fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }
}

fn matcher(text: &MatcherText) -> Result<Matcher, String> {
    if text.name.is_empty() {
        return Err("invalid silence: a matcher has no name".to_owned());
    }
    let comparison = match (text.is_regex, text.is_equal) {
        (false, true) => Comparison::Equal,
        (false, false) => Comparison::NotEqual,
        (true, true) => Comparison::Regex,
        (true, false) => Comparison::NotRegex,
    };
    Matcher::new(&text.name, comparison, &text.value).map_err(|why| format!("invalid silence: {why}"))
}

fn span_ms(text: &str) -> Result<i64, String> {
    let lapse = Lapse::parse(text)?;
    i64::try_from(lapse.0.as_millis()).map_err(|_| format!("{text:?} is too long"))
}

impl Recurrence {
    fn new(text: &RecurrenceText) -> Result<Self, String> {
        let given = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
        let days = IntervalText {
            weekdays: given(&text.weekdays),
            days_of_month: given(&text.days_of_month),
            months: given(&text.months),
            ..IntervalText::default()
        };
        let duration_ms = span_ms(&text.duration).map_err(|why| format!("duration: {why}"))?;
        if duration_ms == 0 || duration_ms > OCCURRENCE_MS_MAX {
            return Err("duration: it must be longer than 0 and at most 1w".to_owned());
        }
        Ok(Self {
            days: Days::new(&days)?,
            start_minute: minutes(&text.start_time).map_err(|why| format!("startTime: {why}"))?,
            duration_ms,
            zone: zone(text.location.as_deref())?,
        })
    }

    /// Whether an occurrence that began today, or on one of the days before, goes on.
    fn contains(&self, now_ms: i64) -> bool {
        let today = local(now_ms, self.zone).date_naive();
        let days_back = self.duration_ms / 86_400_000 + 1;
        (0..=days_back).any(|back| {
            let Some(day) = today.checked_sub_signed(TimeDelta::days(back)) else { return false };
            let start_ms = self.days.contain(day).then(|| moment(day, self.start_minute, self.zone)).flatten();
            start_ms.is_some_and(|start_ms| now_ms >= start_ms && now_ms < start_ms + self.duration_ms)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
pub(crate) mod tests {
    use chrono::DateTime;

    use super::*;

    pub(crate) fn text(matchers: &[(&str, &str)], starts_at_ms: i64, ends_at_ms: i64) -> SilenceText {
        let matchers = matchers.iter().map(|(name, value)| MatcherText {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
            is_regex: false,
            is_equal: true,
        });
        SilenceText {
            id: "11111111-2222-4333-8444-555555555555".to_owned(),
            matchers: matchers.collect(),
            starts_at_ms,
            ends_at_ms,
            updated_at_ms: starts_at_ms,
            created_by: "ann".to_owned(),
            comment: "known".to_owned(),
            annotations: Labels::new(),
            recurrence: None,
            remind_before: None,
            reminded_for_ms: None,
        }
    }

    fn at(time: &str) -> i64 {
        DateTime::parse_from_rfc3339(time).unwrap().timestamp_millis()
    }

    #[test]
    fn states_follow_the_clock() {
        let silence = Silence::new(text(&[("a", "x")], 100, 200)).unwrap();
        let states = [99, 100, 199, 200].map(|now| silence.state(now));
        use SilenceState::{Active, Expired, Pending};
        assert_eq!(states, [Pending, Active, Active, Expired]);
        let labels = |value: &str| Labels::from([("a".to_owned(), value.to_owned())]);
        assert!(silence.covers(&labels("x")) && !silence.covers(&labels("y")));
        let mut reminder = labels("x");
        reminder.insert("silence_id".to_owned(), silence.text.id.clone());
        assert!(!silence.covers(&reminder));
    }

    /// From Saturday 22:00 in Berlin for four hours: over midnight, and over the change of clocks.
    #[test]
    fn a_weekly_silence_comes_back() {
        let recurrence = RecurrenceText {
            weekdays: vec!["saturday".to_owned()],
            start_time: "22:00".to_owned(),
            duration: "4h".to_owned(),
            location: Some("Europe/Berlin".to_owned()),
            ..RecurrenceText::default()
        };
        let whole = text(&[("a", "x")], at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
        let silence = Silence::new(SilenceText { recurrence: Some(recurrence), ..whole }).unwrap();
        for (time, state) in [
            ("2026-11-28T20:59:59Z", SilenceState::Pending),
            ("2026-11-28T21:00:00Z", SilenceState::Active),
            ("2026-11-29T00:59:59Z", SilenceState::Active),
            ("2026-11-29T01:00:00Z", SilenceState::Pending),
            ("2026-11-29T22:00:00Z", SilenceState::Pending),
            ("2026-07-18T20:00:00Z", SilenceState::Active),
            ("2027-01-02T22:00:00Z", SilenceState::Expired),
        ] {
            assert_eq!(silence.state(at(time)), state, "{time}");
        }
    }

    #[test]
    fn it_reminds_before_it_ends() {
        let silence = |change: fn(&mut SilenceText)| {
            let mut text = text(&[("a", "x")], 0, 3_600_000);
            change(&mut text);
            Silence::new(text).unwrap()
        };
        assert_eq!(silence(|_| {}).reminds_at(None), None);
        assert_eq!(silence(|_| {}).reminds_at(Some(600_000)), Some(3_000_000));
        assert_eq!(silence(|_| {}).reminds_at(Some(3_000_000)), None);
        assert_eq!(silence(|s| s.remind_before = Some("50m".to_owned())).reminds_at(None), Some(600_000));
        assert_eq!(silence(|s| s.reminded_for_ms = Some(3_600_000)).reminds_at(Some(600_000)), None);
    }

    #[test]
    fn mistakes_are_named() {
        let recurring =
            |recurrence: RecurrenceText| SilenceText { recurrence: Some(recurrence), ..text(&[("a", "x")], 0, 1_000) };
        for (text, part) in [
            (text(&[], 0, 1), "at least one matcher"),
            (text(&[("a", "")], 0, 1), "empty string"),
            (text(&[("", "x")], 0, 1), "no name"),
            (text(&[("a", "x")], 2, 1), "before start"),
            (recurring(RecurrenceText::default()), "duration"),
            (recurring(RecurrenceText { duration: "1h".to_owned(), ..RecurrenceText::default() }), "startTime"),
            (recurring(RecurrenceText { duration: "8d".to_owned(), ..RecurrenceText::default() }), "at most 1w"),
        ] {
            let why = Silence::new(text).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
    }
}
