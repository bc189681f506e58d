//! Values, after a link has handed them out.

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use replproto_core::value::{Dictionary, Event, JsonStyle, Profile, RawValue, ValueError};

use crate::data::Frames;

pub(crate) fn benches(criterion: &mut Criterion) {
    let records = Frames::read().records();
    let values: Vec<RawValue<'_>> = records
        .iter()
        .flatten()
        .filter_map(|record| record.value())
        .collect();
    let mut group = criterion.benchmark_group("typed structs");
    all(&mut group, &values);
    group.finish();

    // The same as records that bring their own field names.
    let own_names: Vec<Vec<u8>> = values
        .iter()
        .map(|value| value.decode().unwrap().encode(Profile::Table).unwrap())
        .collect();
    let dictionary = Dictionary::empty();
    let values: Vec<RawValue<'_>> = own_names
        .iter()
        .map(|value| RawValue::new(value, &dictionary))
        .collect();
    let mut group = criterion.benchmark_group("inline records");
    all(&mut group, &values);
    group.finish();
}

fn all(group: &mut BenchmarkGroup<'_, WallTime>, values: &[RawValue<'_>]) {
    group.throughput(Throughput::Elements(values.len() as u64));
    let mut bench = |name: &str, read: &mut dyn FnMut(&RawValue<'_>)| {
        group.bench_function(name, |bencher| {
            bencher.iter(|| values.iter().for_each(&mut *read))
        });
    };
    bench("one text", &mut |value| {
        let field = value.field("status").unwrap();
        black_box(field.as_ref().and_then(|field| field.as_str()));
    });
    bench("one number", &mut |value| {
        let field = value.field("count").unwrap();
        black_box(field.and_then(|field| field.as_f64()));
    });
    bench("every field, checked", &mut |value| {
        black_box(value.read_all().unwrap());
    });
    bench("every field, shown", &mut |value| {
        value
            .walk(|event| {
                match event {
                    Event::Name(name) => drop(black_box(name)),
                    Event::Text(text) => drop(black_box(text.as_str())),
                    other => drop(black_box(other)),
                }
                Ok::<(), ValueError>(())
            })
            .unwrap();
    });
    bench("tree", &mut |value| {
        black_box(value.decode().unwrap());
    });
    for (name, style) in [
        ("JSON, natural", JsonStyle::Natural),
        ("JSON, tagged", JsonStyle::Tagged),
    ] {
        let mut json = String::new();
        bench(name, &mut |value| {
            json.clear();
            value.write_json(&mut json, style).unwrap();
        });
    }
    #[cfg(feature = "serde")]
    bench("serde", &mut |value| {
        black_box(value.deserialize::<typed::Reading<'_>>().unwrap());
    });
}

#[cfg(feature = "serde")]
mod typed {
    use serde::Deserialize;

    /// Texts are borrowed from the value.
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    #[expect(dead_code, reason = "only to be filled")]
    pub(super) struct Reading<'a> {
        id: &'a str,
        name: &'a str,
        status: &'a str,
        note: &'a str,
        temperature: f64,
        pressure: f64,
        count: u64,
        updated_at: f64,
        #[serde(borrow)]
        location: Location<'a>,
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only to be filled")]
    struct Location<'a> {
        lat: f64,
        lng: f64,
        site: &'a str,
    }
}
