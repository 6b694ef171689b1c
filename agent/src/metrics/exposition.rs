//! Families of values that were read elsewhere, as the metrics library wants them.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};

/// Label names and values.
pub(super) type Labels = Vec<(&'static str, String)>;

/// One metric with all its samples.
#[derive(Debug)]
pub(super) struct Family {
    name: &'static str,
    help: &'static str,
    is_counter: bool,
    samples: Vec<(Labels, Value)>,
}

/// A value of a sample.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    Count(u64),
    Float(f64),
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl Family {
    /// The library adds `_total` to the name.
    pub(super) fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, help, is_counter: true, samples: Vec::new() }
    }

    pub(super) fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, help, is_counter: false, samples: Vec::new() }
    }

    pub(super) fn with<const N: usize>(
        self,
        labels: [(&'static str, String); N],
        value: impl Into<Value>,
    ) -> Self {
        self.with_all([(labels.into(), value.into())])
    }

    pub(super) fn with_all(mut self, samples: impl IntoIterator<Item = (Labels, Value)>) -> Self {
        self.samples.extend(samples);
        self
    }
}

impl Family {
    fn encode_value(&self, value: Value, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        match (self.is_counter, value) {
            (true, Value::Count(count)) => {
                encoder.encode_counter::<NoLabelSet, _, f64>(&count, None)
            }
            (true, Value::Float(value)) => {
                encoder.encode_counter::<NoLabelSet, _, f64>(&value, None)
            }
            (false, Value::Count(count)) => encoder.encode_gauge(&count),
            (false, Value::Float(value)) => encoder.encode_gauge(&value),
        }
    }
}

/// All families of one scrape.
#[derive(Debug)]
pub(super) struct Exposition {
    pub(super) families: Vec<Family>,
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in &self.families {
            let kind = if family.is_counter { MetricType::Counter } else { MetricType::Gauge };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for (labels, value) in &family.samples {
                if labels.is_empty() {
                    // Without the braces that an empty set of labels would be written with.
                    family.encode_value(*value, &mut metric)?;
                } else {
                    family.encode_value(*value, &mut metric.encode_family(labels)?)?;
                }
            }
        }
        Ok(())
    }
}
