//! The labels of a data point: its attributes, what is taken of the resource and the scope, `job` and `instance`.

use std::borrow::Cow;
use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::names;
use super::{Fail, OtlpMetricsOptions, PromotedAttributes};
use crate::decoded::{DecodeError, RefusalReason};
use crate::gather::{Gather, NAME, Refused};
use crate::otlp_any::{Any, each_pair, pair};
use crate::protobuf::Fields;

/// Resource attributes that `job` and `instance` are made of.
const IDENTIFYING: [&str; 3] = ["service.namespace", "service.name", "service.instance.id"];

/// A label's value.
#[derive(Debug, Clone)]
enum Text<'a> {
    /// Of one data point.
    Own(Cow<'a, str>),
    /// Of all data points of a resource or a scope.
    Shared(Rc<str>),
}

impl AsRef<str> for Text<'_> {
    fn as_ref(&self) -> &str {
        match self {
            Self::Own(text) => text,
            Self::Shared(text) => text,
        }
    }
}

/// Labels by name, each name once.
type Sorted<T> = Vec<(Rc<str>, T)>;

/// Makes labels. The labels of the resource, of the scope and of the point are set in this order.
#[derive(Debug)]
pub(super) struct Labeller<'a, 'o> {
    options: &'o OtlpMetricsOptions,
    nesting_max: usize,
    /// Names of attributes as they come, and as labels.
    names: FxHashMap<Cow<'a, [u8]>, Result<Rc<str>, String>>,
    job: Option<Rc<str>>,
    instance: Option<Rc<str>>,
    promoted: Sorted<Rc<str>>,
    scope: Sorted<Rc<str>>,
    /// The attributes of the point that is being read.
    pub(super) attributes: Vec<(&'a [u8], Any<'a>)>,
    labels: Sorted<Text<'a>>,
}

impl<'a, 'o> Labeller<'a, 'o> {
    pub(super) fn new(options: &'o OtlpMetricsOptions, nesting_max: usize) -> Self {
        Self {
            options,
            nesting_max,
            names: FxHashMap::default(),
            job: None,
            instance: None,
            promoted: Vec::new(),
            scope: Vec::new(),
            attributes: Vec::new(),
            labels: Vec::new(),
        }
    }

    fn name(&mut self, attribute: Cow<'a, [u8]>) -> Result<Rc<str>, String> {
        if let Some(known) = self.names.get(attribute.as_ref()) {
            return known.clone();
        }
        let text = String::from_utf8_lossy(&attribute);
        let name = names::label(&text, self.options.translation).map(|name| Rc::from(name.as_ref()));
        self.names.insert(attribute, name.clone());
        name
    }

    /// Takes what is wanted of a resource. Attributes whose names cannot be labels are not among it.
    pub(super) fn set_resource(&mut self, attributes: &[(&'a [u8], Any<'a>)]) -> Result<(), DecodeError> {
        let nesting = self.nesting_max;
        let text = |wanted: &str| {
            let found = attributes.iter().rev().find(|(key, _)| *key == wanted.as_bytes());
            found.map(|(_, any)| any.text(nesting)).transpose()
        };
        let [namespace, service, instance] = IDENTIFYING.map(text);
        let namespace = namespace?.map_or(String::new(), |namespace| format!("{namespace}/"));
        self.job = service?.map(|service| Rc::from(format!("{namespace}{service}")));
        self.instance = instance?.map(Rc::from);
        let mut promoted = Vec::new();
        for &(key, any) in attributes {
            let is_wanted = match &self.options.promote_resource_attributes {
                PromotedAttributes::Only(wanted) => wanted.iter().any(|name| name.as_bytes() == key),
                PromotedAttributes::AllBut(others) => !others.iter().any(|name| name.as_bytes() == key),
            };
            if is_wanted && let Ok(name) = self.name(Cow::Borrowed(key)) {
                set(&mut promoted, name, Rc::from(any.text(nesting)?));
            }
        }
        self.promoted = promoted;
        Ok(())
    }

    /// Takes what is wanted of an `InstrumentationScope`.
    pub(super) fn set_scope(&mut self, scope: &'a [u8], schema_url: &[u8]) -> Result<(), DecodeError> {
        self.scope.clear();
        if !self.options.promote_scope_metadata {
            return Ok(());
        }
        let (mut name, mut version): (&[u8], &[u8]) = (b"", b"");
        let mut attributes = Vec::new();
        let mut fields = Fields::of(scope);
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => name = value.bytes()?,
                2 => version = value.bytes()?,
                3 => attributes.push(pair(value.bytes()?)?),
                _ => {}
            }
        }
        if name.is_empty() {
            return Ok(());
        }
        let mut labels = Vec::new();
        for (key, any) in attributes {
            if let Ok(label) = self.name(Cow::Owned([b"otel_scope_", key].concat())) {
                set(&mut labels, label, Rc::from(any.text(self.nesting_max)?));
            }
        }
        for (label, content) in
            [("otel_scope_name", name), ("otel_scope_version", version), ("otel_scope_schema_url", schema_url)]
        {
            set(&mut labels, Rc::from(label), Rc::from(String::from_utf8_lossy(content)));
        }
        self.scope = labels;
        Ok(())
    }

    /// Makes the labels of the point whose attributes were read.
    pub(super) fn set_point(&mut self) -> Result<(), Fail> {
        self.labels.clear();
        let mut attributes = std::mem::take(&mut self.attributes);
        let outcome = self.put_attributes(&mut attributes, &[NAME]);
        attributes.clear();
        self.attributes = attributes;
        outcome?;
        for (name, value) in &self.promoted {
            if let Err(at) = find(&self.labels, name) {
                self.labels.insert(at, (Rc::clone(name), Text::Shared(Rc::clone(value))));
            }
        }
        self.put_identity();
        for (name, value) in &self.scope {
            set(&mut self.labels, Rc::clone(name), Text::Shared(Rc::clone(value)));
        }
        Ok(())
    }

    /// Makes the labels of `target_info`; false when there is nothing to tell of the resource, or nobody to tell it of.
    pub(super) fn set_target_info(&mut self, resource: &[(&'a [u8], Any<'a>)]) -> Result<bool, Fail> {
        self.labels.clear();
        let keeps = self.options.keep_identifying_resource_attributes;
        let is_identifying = |key: &[u8]| IDENTIFYING.iter().any(|name| name.as_bytes() == key);
        if resource.iter().all(|(key, _)| is_identifying(key)) || (self.job.is_none() && self.instance.is_none()) {
            return Ok(false);
        }
        let mut attributes = resource.to_vec();
        self.put_attributes(&mut attributes, if keeps { &[] } else { &IDENTIFYING })?;
        self.put_identity();
        Ok(true)
    }

    /// Attributes whose names become the same label are put together with `;`, in the order of their names.
    fn put_attributes(&mut self, attributes: &mut [(&'a [u8], Any<'a>)], others: &[&str]) -> Result<(), Fail> {
        attributes.sort_by_key(|(key, _)| *key);
        for &(key, any) in attributes.iter() {
            if others.iter().any(|other| other.as_bytes() == key) {
                continue;
            }
            let name = self.name(Cow::Borrowed(key)).map_err(|why| Fail::Point((RefusalReason::Labels, why)))?;
            let text = any.text(self.nesting_max)?;
            match find(&self.labels, &name) {
                Ok(at) => {
                    let joined = format!("{};{text}", self.labels[at].1.as_ref());
                    self.labels[at].1 = Text::Own(Cow::Owned(joined));
                }
                Err(_) if text.is_empty() => {}
                Err(at) => self.labels.insert(at, (name, Text::Own(text))),
            }
        }
        Ok(())
    }

    fn put_identity(&mut self) {
        for (label, value) in [("job", &self.job), ("instance", &self.instance)] {
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
                set(&mut self.labels, Rc::from(label), Text::Shared(Rc::clone(value)));
            }
        }
    }

    /// Adds the series of this name with the labels that were made, and another one.
    pub(super) fn series(
        &self,
        gather: &mut Gather<'_>,
        metric: &str,
        another: Option<(&str, &str)>,
    ) -> Result<u32, Refused> {
        gather.begin_series();
        let mut pending = [Some((NAME, metric)), another];
        let mut put = |gather: &mut Gather<'_>, before: Option<&str>| {
            let mut is_taken = false;
            for one in &mut pending {
                if let Some((name, value)) = *one
                    && before.is_none_or(|before| name <= before)
                {
                    gather.label(name.as_bytes(), value.as_bytes());
                    is_taken |= before == Some(name);
                    *one = None;
                }
            }
            is_taken
        };
        for (name, value) in &self.labels {
            let is_taken = put(gather, Some(name));
            if !is_taken {
                gather.label(name.as_bytes(), value.as_ref().as_bytes());
            }
        }
        put(gather, None);
        gather.end_series()
    }
}

fn find<T>(labels: &Sorted<T>, name: &str) -> Result<usize, usize> {
    labels.binary_search_by(|(other, _)| other.as_ref().cmp(name))
}

/// Sets a label; one without a value is taken away.
fn set<T: AsRef<str>>(labels: &mut Sorted<T>, name: Rc<str>, value: T) {
    match (find(labels, &name), value.as_ref().is_empty()) {
        (Ok(at), true) => drop(labels.remove(at)),
        (Ok(at), false) => labels[at].1 = value,
        (Err(_), true) => {}
        (Err(at), false) => labels.insert(at, (name, value)),
    }
}

/// The attributes of a `Resource`.
pub(super) fn resource_attributes(resource: &[u8]) -> Result<Vec<(&[u8], Any<'_>)>, DecodeError> {
    let mut attributes = Vec::new();
    each_pair(resource, 1, |key, any| {
        attributes.push((key, any));
        Ok(())
    })?;
    Ok(attributes)
}
